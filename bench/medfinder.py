"""Does each part of MedFinder help? Runs of one length on phantoms at half their resolution, and how well held-out ones are found.

    python bench/medfinder.py COHORT --text LABELER --out DIR              # as `thoracle demo` leaves them; three seeds, all variants
    python bench/medfinder.py COHORT --text LABELER --out DIR --seeds 1    # one seed; what was stopped goes on, what is done is done
    python bench/medfinder.py COHORT --out DIR --seeds                     # the table of what DIR holds

Everything but the part that is named is alike: the data in their order, the steps, the rate. Two views cost twice the encoder of one, so
that one view is also given twice the steps. Figures are of `thoracle evaluate retrieval`, over the split `valid`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from thoracle.cohort.samples.augment import Augmentation
from thoracle.cohort.samples.dataset import CohortDataset, Sample
from thoracle.cohort.sources import Split
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.evaluation.retrieval.tasks import Gallery, run_tasks
from thoracle.inference.model import load
from thoracle.training.contrastive.medfinder import MedFinderRunConfig
from thoracle.training.contrastive.run import medfinder_run
from thoracle.training.engine.config import load_config
from thoracle.training.engine.distributed import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
#: What is unlike, of the run and of its model.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one view, not changed": ({"views": 1, "augmentation": Augmentation(probability=0.0)}, {"cross_attention": False}),
    "one view": ({"views": 1}, {"cross_attention": False}),
    "one view, twice the steps": ({"views": 1, "steps": 2}, {"cross_attention": False}),
    "one view, attention to itself": ({"views": 1}, {"cross_attention": True}),
    "two views": ({"views": 2}, {"cross_attention": False}),
    "two views, cross-attention": ({"views": 2}, {"cross_attention": True}),
}
SHOWN = (("report to volume", "R@10"), ("report to volume", "MdR"), ("volume to report", "R@10"), ("words to volume", "MAP@10"))


@dataclass(frozen=True, eq=False)
class HalvedVolume:
    """A volume in memory, of which there is nothing to read."""

    volume_ZHW: Tensor

    @property
    def size(self) -> tuple[int, int, int]:
        z, height, width = self.volume_ZHW.shape
        return z, height, width

    def read_into(self, hu_ZHW: Tensor) -> None: ...

    def write_input(self, hu_ZHW: Tensor, input_ZHW: Tensor) -> None:
        input_ZHW.copy_(self.volume_ZHW)


@dataclass(frozen=True, kw_only=True, eq=False)
class Halved:
    """A split in memory, each two voxels along an axis averaged; reports as the cohort gives them."""

    volumes_V1ZHW: Tensor
    cohort: CohortDataset

    @classmethod
    def of(cls, path: Path, split: Split, config: MedFinderRunConfig, *, excerpt: int, cache: Path) -> Halved:
        """Kept in a file, for reading takes as long as a short run."""
        cohort = CohortDataset(path, split=split, section=config.section, needs=["report"], excerpt=excerpt, seed=config.seed)
        if not cache.exists():
            torch.save(torch.stack([F.avg_pool3d(cohort[index].read_volume(), 2).half() for index in range(len(cohort))]), cache)
        return cls(volumes_V1ZHW=torch.load(cache, weights_only=True), cohort=cohort)

    def __len__(self) -> int:
        return len(self.cohort)

    def set_epoch(self, epoch: int) -> None:
        self.cohort.set_epoch(epoch)

    def stored_volume(self, index: int, epoch: int) -> HalvedVolume:
        return HalvedVolume(self.volumes_V1ZHW[index, 0])

    def __getitem__(self, index: int) -> Sample:
        entry = self.cohort.entries[index]
        return Sample(
            stored=self.stored_volume(index, 0),
            report=self.cohort.report(entry),
            labels=torch.zeros(18),
            volume=entry.volume,
            scan=entry.scan,
            patient=entry.patient,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--text", type=Path, help="the frozen text encoder: demo/labeler/model; without it a random one learns")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    todo = [(seed, name) for seed in options.seeds for name in options.variants if not _file(options.out, seed, name).exists()]
    if todo:
        shipped = load_config(Path("phantom-medfinder"), MedFinderRunConfig)
        shipped = replace(shipped, text=str(options.text or ""), freeze_text_encoder=bool(options.text), batch_size=options.batch_size)
        base = halved(shipped, options.steps)
        train = Halved.of(options.cohort, "train", base, excerpt=base.crop_words, cache=options.out / "train.pt")
        valid = Halved.of(options.cohort, "valid", base, excerpt=0, cache=options.out / "valid.pt")
    for seed, name in todo:
        scores = measure(replace(base, seed=seed), name, train, valid, out=options.out)
        _file(options.out, seed, name).write_text(json.dumps(scores, indent=1) + "\n")
        print(seed, name, scores, flush=True)
    print_table(options.out)


def halved(config: MedFinderRunConfig, steps: int) -> MedFinderRunConfig:
    """The shipped configuration for half the voxels along each axis."""
    assert config.model.resnet is not None
    assert isinstance(config.preprocess, PreprocessConfig)
    z, x, y = config.preprocess.size
    size = (z // 2, x // 2, y // 2)
    model = replace(config.model, size=size, resnet=replace(config.model.resnet, stride=max(1, config.model.resnet.stride // 2)))
    step_z, step_x, step_y = config.preprocess.spacing
    spacing = (2 * step_z, 2 * step_x, 2 * step_y)
    preprocess = replace(config.preprocess, size=size, spacing=spacing)
    return replace(config, model=model, preprocess=preprocess, steps=steps, save_every=25, keep_checkpoints=1)


def measure(config: MedFinderRunConfig, name: str, train: Halved, valid: Halved, *, out: Path) -> dict[str, Any]:
    """Train one variant, and find held-out volumes with it."""
    run, model = VARIANTS[name]
    run = {**run, "steps": config.steps * run.get("steps", 1)}
    config = replace(config, **run, model=replace(config.model, **model), out=str(out / f"run-{config.seed}-{_slug(name)}"))
    for _ in medfinder_run(config, train, ALONE, words=list, resume=True).run():
        pass
    finder, entries = load(Path(config.out) / "model"), valid.cohort.entries
    texts = [entry.report.text(config.section) for entry in entries]
    gallery = Gallery(
        latents_NL=np.concatenate([finder.volume_latent(volume[0].float())[None] for volume in valid.volumes_V1ZHW]).astype(float),
        labels_NC=np.array([[-1 if label is None else label for label in entry.labels] for entry in entries], np.int_),
        scans=tuple(entry.scan for entry in entries),
        patients=tuple(entry.patient for entry in entries),
        texts=tuple(texts),
        voxels=tuple(entry.cache_sha256 for entry in entries),
    )
    prompts_CL = finder.encode_text([f"{label}." for label in finder.folder.labels]).numpy().astype(float)
    texts_NL = finder.encode_text(texts).numpy().astype(float)
    results, _ = run_tasks(gallery, protocol="bimcv-r", texts_NL=texts_NL, words_CL=prompts_CL, resamples=10, seed=0)
    figures = {f"{task}, {figure}": (results[task].metrics[figure].value, results[task].random[figure]) for task, figure in SHOWN}
    shutil.rmtree(config.out)
    return {"figures": figures, "held_out": len(entries), "steps": config.steps}


def print_table(out: Path) -> None:
    """Mean over seeds, and least and most, of what is there."""
    columns = [f"{task}, {figure}" for task, figure in SHOWN]
    print("| variant | seeds |", " | ".join(columns), "|\n| --- | --- |", " --- |" * len(columns))
    for name in VARIANTS:
        runs = [json.loads(path.read_text()) for path in sorted(out.glob(f"*-{_slug(name)}.json"))]
        if runs:
            cells = [_cell([run["figures"][column][0] for run in runs]) for column in columns]
            print(f"| {name} | {len(runs)} |", " | ".join(cells), "|")
            chance = runs[0]["figures"]
    print("| chance | |", " | ".join(f"{chance[column][1]:.3g}" for column in columns), "|")


def _cell(values: list[float]) -> str:
    return f"{np.mean(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def _file(out: Path, seed: int, name: str) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    return out / f"{seed}-{_slug(name)}.json"


def _slug(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


if __name__ == "__main__":
    main()
