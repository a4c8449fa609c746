"""What do int8, ONNX and a student cost and keep? `python bench/edge.py MODEL --cohort COHORT --student STUDENT --out DIR`.

Each form of the model answers for the scans of a split in a process of its own, on one thread: bytes on the disk, CPU seconds a scan, the
process's highest memory, and AUROC beside float32, by draws of the same patients. The ONNX forms are run by onnxruntime and numpy alone.
What was done is not done again. A student is what `thoracle train student` gives.

    python bench/edge.py MODEL --full-size --out DIR    # minutes, and 6 GB of memory

is of random weights of CT-CLIP's size, on one volume of noise: costs, and how far probabilities are from float32's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from thoracle.cohort.manifest import CohortEntry, open_cohort
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import OutputConflict
from thoracle.files.json_file import load_json
from thoracle.files.run_settings import check_or_write_settings
from thoracle.metrics.bootstrap import bootstrap, paired_difference, percentile_interval
from thoracle.metrics.classification import auroc

REFERENCE = "float32, torch"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("--student", type=Path)
    parser.add_argument("--full-size", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="valid")
    parser.add_argument("--limit", type=int, help="volumes, the first by name")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)  # the process of one form
    options = parser.parse_args()
    entries: list[CohortEntry] = []
    if not options.full_size:
        entries = [entry for entry in open_cohort(options.cohort).entries if entry.split == options.split and None not in entry.labels]
        entries = entries[: options.limit]
    if options.answer is not None:
        volumes = [noise()] if options.full_size else (read_volume(options.cohort / entry.cache) for entry in entries)
        answer(options.answer, volumes, options.out)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    check_same_run(options)
    forms = full_size_forms(options.model, options.out) if options.full_size else write_forms(options.model, options.student, options.out)
    for name, path in forms.items():
        if not (options.out / f"{name}.json").exists():
            command = [sys.executable, *sys.argv, "--answer", str(path), "--out", str(options.out / name)]
            subprocess.run(command, check=True)
    if options.full_size:
        differences(forms, options.out)
    else:
        table(forms, entries, options.out, resamples=options.resamples)


def check_same_run(options: argparse.Namespace) -> None:
    """Raise OutputConflict where the folder holds what was measured of other models or scans."""
    from thoracle.models.bundle.model_folder import open_model

    folders = {"model": options.model, "student": options.student}
    settings = {
        **{name: open_model(folder).weights_sha256 for name, folder in folders.items() if folder},
        "full_size": options.full_size,
        "cohort": options.cohort and str(options.cohort.resolve()),
        "split": options.split,
        "limit": options.limit,
    }
    hint = "Give another --out."
    check_or_write_settings(
        options.out / "settings.json", settings=settings, read=load_json, refusal=OutputConflict, hint=hint, source=options.out
    )


def noise() -> Any:
    """A volume of CT-CLIP's size, made without a larger one in between."""
    return np.random.default_rng(0).random(PreprocessConfig().size, dtype=np.float32) * 2 - 1


def full_size_forms(model: Path, out: Path) -> dict[str, Path]:
    """Write a LiPro of CT-CLIP's sizes but for its text encoder, which is the model's and stands in no graph; of random weights.

    Not a CT-CLIP: random latents agree with all prompts alike, and answers that are all 0.5 compare nothing.
    """
    forms = {REFERENCE: out / "model", "float32, ONNX": out / "float32.onnx", "int8, ONNX": out / "int8.onnx"}
    if forms["int8, ONNX"].exists():
        return forms
    import torch

    from thoracle.inference.export.onnx import onnx_model, quantize_onnx
    from thoracle.inference.model import load
    from thoracle.models.bundle.model_folder import open_model, save_model
    from thoracle.models.ctclip.classifier import build_classifier
    from thoracle.models.ctclip.config import CTCLIPConfig

    folder = open_model(model)
    config = CTCLIPConfig(bert=folder.config.bert)
    torch.manual_seed(0)
    facts: dict[str, Any] = {"preprocess": PreprocessConfig(), "labels": folder.labels, "tokenizer": folder.tokenizer()}
    tensors = build_classifier(config).state_dict()
    save_model(forms[REFERENCE], kind="ct-clip-classifier", config=config, tensors=tensors, licence="", trained=False, **facts)
    content = onnx_model(load(forms[REFERENCE], device="cpu"))
    forms["float32, ONNX"].write_bytes(content)
    forms["int8, ONNX"].write_bytes(quantize_onnx(content))
    return forms


def write_forms(model: Path, student: Path, out: Path) -> dict[str, Path]:
    """Write the forms that are absent; return all by name."""
    forms = {REFERENCE: model, "int8 on the disk, torch": out / "int8-folder", "student, torch": student}
    forms |= {f"{name}{precision}, ONNX": out / f"{name}{precision}.onnx" for name in ("", "student ") for precision in ("float32", "int8")}
    from thoracle.inference.export.onnx import onnx_model, quantize_onnx
    from thoracle.inference.export.quantized import export_quantized
    from thoracle.inference.model import load

    for name, folder in (("", model), ("student ", student)):
        if not (out / f"{name}int8.onnx").exists():
            content = onnx_model(load(folder, device="cpu"))
            (out / f"{name}float32.onnx").write_bytes(content)
            (out / f"{name}int8.onnx").write_bytes(quantize_onnx(content))
    if not forms["int8 on the disk, torch"].exists():
        export_quantized(load(model, device="cpu"), forms["int8 on the disk, torch"], "int8", summary="")
    return forms


def answer(form: Path, volumes: Iterable[Any], out: Path) -> None:
    """Write probabilities of each volume, and what they cost."""
    detect = onnx_detect(form) if form.suffix == ".onnx" else torch_detect(form)
    rows, seconds = [], []
    for volume in volumes:
        began = time.process_time()
        rows.append(detect(volume))
        seconds.append(time.process_time() - began)
    # Not getrusage's, which counts what the process was before it ran this program.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    size = (form if form.is_file() else form / "model.safetensors").stat().st_size
    np.save(out.with_name(f"{out.name}.npy"), np.array(rows, dtype=np.float64))
    out.with_name(f"{out.name}.json").write_text(json.dumps({"seconds": float(np.median(seconds)), "peak": peak, "bytes": size}))


def onnx_detect(file: Path) -> Any:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda volume: session.run(None, {"volume": volume[None, None]})[0][0]


def torch_detect(folder: Path) -> Any:
    import torch

    from thoracle.inference.model import load

    torch.set_num_threads(1)
    model = load(folder, device="cpu")
    return lambda volume: model.detect(volume).probabilities


def differences(forms: dict[str, Path], out: Path) -> None:
    """Print each form's costs, and how far its probabilities are from the reference's."""
    exact_NK = np.load(out / f"{REFERENCE}.npy")
    for name in forms:
        difference_NK = np.abs(np.load(out / f"{name}.npy") - exact_NK)
        print(f"{costs_line(name, out)}  differs by {difference_NK.max():.1e} at most (spread {exact_NK.std():.1e})")


def costs_line(name: str, out: Path) -> str:
    costs = json.loads((out / f"{name}.json").read_text())
    return f"{name:26}{costs['bytes'] / 1e6:9.2f}{costs['seconds']:9.4f}{costs['peak'] / 2**20:7.0f}"


def table(forms: dict[str, Path], entries: list[CohortEntry], out: Path, *, resamples: int) -> None:
    """Print each form's costs and its AUROC beside the reference's."""
    truth_NK = np.array([entry.labels for entry in entries], dtype=np.float64)
    patients = [entry.patient for entry in entries]
    print(f"{len(entries):,} volumes of {len({*patients}):,} patients; AUROC with 95% over patients")
    print(f"{'':26}{'MB':>9}{'CPU s':>9}{'MiB':>7}  {'AUROC':26}less {REFERENCE}")
    draws = {}
    for name in forms:
        scores_NK = np.load(out / f"{name}.npy")
        draws[name] = (macro(scores_NK, truth_NK), bootstrap(partial(macro, scores_NK, truth_NK), patients, resamples=resamples))
        own = percentile_interval(*draws[name])[0]
        (value, drawn), (before, drawn_before) = draws[name], draws[REFERENCE]
        change = paired_difference(value, before, drawn, drawn_before)[0]
        text = f"{own.value:.4f} ({own.low:.4f} to {own.high:.4f})"
        print(f"{costs_line(name, out)}  {text:26}", end="")
        print("" if name == REFERENCE else f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})")


def macro(scores_NK: Any, truth_NK: Any, weights_RN: Any = None) -> Any:
    return np.nanmean(auroc(scores_NK, truth_NK, weights_RN=weights_RN), axis=-1)


if __name__ == "__main__":
    main()
