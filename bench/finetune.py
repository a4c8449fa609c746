"""Which way from a CT-CLIP to the 18 labels does best on phantoms: `python bench/finetune.py --start MODEL --cohort COHORT --out DIR`.

Each variant is trained for each seed on split train, and scored once on split valid; what there is already is not run again, so that it may
be run in parts. With `--tune`, settings are tried instead on a fifth of the patients of split train, which are then not trained on.
Intervals are over patients, of the mean AUROC over labels and seeds; of all labels, and of those that are smaller than a patch.

With `--published-pool` the start is given the published pool, the mean of its codes along slices, flattened, and a projection (ridge
regression) that comes nearest to its own latents first. The demo's model reads its grid by place, and slices weigh little there.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from thoracle.cohort.manifest import Cohort, open_cohort
from thoracle.cohort.samples.dataset import CohortDataset
from thoracle.inference.model import load
from thoracle.metrics.bootstrap import bootstrap, paired_difference, percentile_interval
from thoracle.metrics.classification import auroc
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.ctclip.model import CTCLIP
from thoracle.training.engine.config import OptimizerConfig
from thoracle.training.engine.distributed import World
from thoracle.training.finetuning.classifier_run import classifier_run
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.frozen_features import encode_frozen_features, expand_tokens
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
#: Settings that were chosen with `--tune`; what begins with LiPro's model of the same seed says so.
VARIANTS: dict[str, dict[str, Any]] = {
    "lipro": {"steps": 600, "batch_size": 64, "lr": 1e-1},
    "pool": {"steps": 600, "batch_size": 64, "lr": 1e-1, "slice_pool": "attention"},
    "labels": {"steps": 600, "batch_size": 64, "lr": 1e-3, "head": "label-attention"},
    "labels-meet": {"steps": 600, "batch_size": 64, "lr": 1e-3, "head": "label-attention", "label_self_attention": True},
    "lora": {"steps": 140, "batch_size": 32, "lr": 2e-3, "encoder": "lora", "start": "lipro"},
    "full": {"steps": 140, "batch_size": 32, "lr": 1e-3, "encoder": "full", "start": "lipro"},
}


#: Findings of which a phantom has less than a patch of the demo's encoder in the median (51 ml; over masks of 160 moving phantoms).
SMALL = (
    *("Coronary artery wall calcification", "Arterial wall calcification", "Lung nodule"),
    *("Medical material", "Atelectasis", "Lymphadenopathy"),
)


def main() -> None:
    """Run what is asked for and not there, then print a table of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--lr", type=float, help="with --tune, in place of a variant's")
    parser.add_argument("--steps", type=int, help="with --tune, in place of a variant's")
    parser.add_argument("--batch-size", type=int, help="with --tune, in place of a variant's")
    parser.add_argument("--published-pool", action="store_true", help="give the start the published pool first")
    options = parser.parse_args()
    cohort = open_cohort(options.cohort)
    cohort = _held_out(cohort) if options.tune else cohort
    if options.published_pool:
        options.start = _published(options.start, cohort, options.out)
    valid = CohortDataset(cohort, split="valid", needs=["labels"])
    for name in options.variants:
        for seed in options.seeds:
            settings = VARIANTS[name] | {
                key: getattr(options, key) for key in ("lr", "steps", "batch_size") if options.tune and getattr(options, key)
            }
            label = f"{name}-lr{settings['lr']}-steps{settings['steps']}" if options.tune else name
            _run(options.out / f"{label}-{seed}", dict(settings), seed, options, cohort, valid)
    patients, truth_NK = [entry.patient for entry in valid.entries], _labels(valid)
    for title, labels in (("all labels", ABNORMALITIES), ("labels smaller than a patch", SMALL)):
        print(f"{title} ({len(labels)})")
        _table(options.out, patients, truth_NK, [ABNORMALITIES.index(label) for label in labels])


def _published(start: Path, cohort: Cohort, out: Path) -> Path:
    """Write a CT-CLIP of the published pool, whose projection comes nearest to the start's latents, and return its folder."""
    if (out / "published").exists():
        return out / "published"
    folder, volumes = open_model(start), CohortDataset(cohort, split="train", needs=["labels"])
    config = replace(folder.config, spatial_pool="mean")
    network, clip = CTCLIP(folder.config), CTCLIP(config)
    network.load_state_dict(load_state_dict(folder))
    shapes = {name: tensor.shape for name, tensor in clip.state_dict().items()}
    clip.load_state_dict({n: t for n, t in network.state_dict().items() if shapes.get(n) == t.shape}, strict=False)
    keys, latents = [entry.cache_sha256 for entry in volumes.entries], str(out / "latents")
    facts: dict[str, Any] = {"keys": keys, "model_sha256": folder.weights_sha256, "folder": Path(latents), "batch": 16}
    target_VL = encode_frozen_features(network, volumes, ALONE, feature="latents", **facts).double()
    codes_V = encode_frozen_features(clip, volumes, ALONE, feature="tokens", **facts)
    pooled_VD = torch.cat([expand_tokens(clip, part).mean(dim=1).flatten(1) for part in codes_V.split(64)]).double()
    fifth = torch.tensor([_in_fifth(entry.patient) for entry in volumes.entries])
    errors = {}
    for penalty in (1.0, 10.0, 100.0, 1000.0, 10000.0):
        given_VL = F.normalize(pooled_VD[fifth] @ _ridge(pooled_VD[~fifth], target_VL[~fifth], penalty), dim=1)
        errors[penalty] = float((1 - (given_VL * target_VL[fifth]).sum(dim=1)).mean())
    penalty = min(errors, key=lambda value: errors[value])
    print(f"published pool: 1 less the cosine to the start's latents, by penalty, on a fifth of the patients of split train: {errors}")
    with torch.no_grad():
        clip.to_visual_latent.weight.copy_(_ridge(pooled_VD, target_VL, penalty).T)
    about: dict[str, Any] = {"preprocess": folder.preprocess, "labels": folder.labels, "tokenizer": folder.tokenizer()}
    save_model(out / "published", kind=folder.kind, config=config, tensors=clip.state_dict(), licence="", trained=True, **about)
    return out / "published"


def _ridge(given_VD: torch.Tensor, target_VL: torch.Tensor, penalty: float) -> torch.Tensor:
    """(D, L), by the products of volumes, of which there are fewer than numbers."""
    gram_VV = given_VD @ given_VD.T + penalty * torch.eye(len(given_VD), dtype=given_VD.dtype)
    return given_VD.T @ torch.linalg.solve(gram_VV, target_VL)


def _run(out: Path, settings: dict[str, Any], seed: int, options: argparse.Namespace, cohort: Cohort, valid: CohortDataset) -> None:
    if (out / "valid.npy").is_file():
        return
    since, cpu = time.perf_counter(), time.process_time()
    before, lr = settings.pop("start", ""), settings.pop("lr")
    start = next(options.out.glob(f"{before}*-{seed}")) / "model" if before else options.start
    optimizer = OptimizerConfig(lr=lr, betas=(0.9, 0.98), weight_decay=0.05, max_grad_norm=1.0, warmup_steps=20)
    facts: dict[str, Any] = {
        "feature_cache": str(options.out / "latents"),
        "encode_batch_size": 16,
        "num_workers": 0,
        "save_every": 50,
        "seed": seed,
        "optimizer": optimizer,
    }
    config = ClassifierConfig(out=str(out), init_from=str(start), **facts, **settings)
    train = CohortDataset(cohort, split="train", needs=["labels"])
    for step in classifier_run(config, train, None, ALONE, resume=out.exists()).run():
        if step.step % 100 == 0:
            print(f"{out.name} step {step.step} loss {step.loss:.4f}", flush=True)
    took, used = time.perf_counter() - since, time.process_time() - cpu
    model = load(out / "model", device="cpu")
    rows = [model.detect(valid[index].read_volume()[0]).probabilities for index in range(len(valid))]
    np.save(out / "valid.npy", np.array(rows))
    (out / "seconds.txt").write_text(f"{took:.0f} s, {used:.0f} CPU s")


def _table(out: Path, patients: list[str], truth_NK: np.ndarray, columns: list[int]) -> None:
    truth_NK = truth_NK[:, columns]
    names = sorted({path.parent.name.rpartition("-")[0] for path in out.glob("*/valid.npy")}, key=lambda name: (name != "lipro", name))
    draws = {}
    for name in names:
        runs = sorted(out.glob(f"{name}-[0-9]*/valid.npy"))
        scores = [np.load(path)[:, columns] for path in runs]
        means = [float(np.nanmean(auroc(probabilities_NK, truth_NK))) for probabilities_NK in scores]
        draws[name] = (np.mean(means), bootstrap(partial(_means, scores, truth_NK), patients))
        interval = percentile_interval(*draws[name])[0]
        text = f"{name:28} {interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})  seeds {min(means):.4f} to {max(means):.4f}"
        if name != "lipro" and "lipro" in draws:
            difference = paired_difference(draws[name][0], draws["lipro"][0], draws[name][1], draws["lipro"][1])[0]
            text += f"  beside lipro {difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
        print(text, "|", "; ".join((path.parent / "seconds.txt").read_text() for path in runs), flush=True)


def _means(scores: list[np.ndarray], truth_NK: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    return np.mean([np.nanmean(auroc(probabilities_NK, truth_NK, weights_RN=weights_RN), axis=-1) for probabilities_NK in scores], axis=0)


def _labels(valid: CohortDataset) -> np.ndarray:
    return np.array([[float(label or 0) for label in entry.labels] for entry in valid.entries])


def _held_out(cohort: Cohort) -> Cohort:
    """Split train alone, a fifth of its patients as split valid."""
    entries = [entry for entry in cohort.entries if entry.split == "train"]
    return replace(cohort, entries=tuple(replace(e, split="valid") if _in_fifth(e.patient) else e for e in entries))


def _in_fifth(patient: str) -> bool:
    return int(hashlib.sha256(patient.encode()).hexdigest(), 16) % 5 == 0


if __name__ == "__main__":
    main()
