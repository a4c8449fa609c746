"""Every shipped configuration, shrunk, and what its run begins with: `python shipped.py FOLDER [--stop|--resume]` runs them all.

On however many ranks the environment says. A configuration keeps all that is not a size, a length or a folder. With --stop each run is left
after its second step, with --resume it is gone on with.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.training.cohorts import write_cohort
from thoracle.cli.app import main as thoracle
from thoracle.cli.train import command
from thoracle.cohort.manifest import write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet, write_questions
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.config import CTCLIPConfig, CTViTConfig
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.config import TextConfig
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.chat.phantom_lm import build_phantom_lm, save_phantom_lm
from thoracle.training.chat.task import SmallLanguageConfig
from thoracle.training.engine.progress import TrainStep
from thoracle.types import ABNORMALITIES

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
STEPS, STOPPED = 3, 2
PREPROCESS = PreprocessConfig(spacing=(4.0, 4.0, 4.0), size=(64, 80, 80))
TEXT = TextConfig(vocab_size=512, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
CTVIT = CTViTConfig(
    dim=16, codebook_size=32, image_size=80, patch_size=20, temporal_patch_size=16, spatial_depth=1, temporal_depth=1, dim_head=8, heads=2
)
CLIP = CTCLIPConfig(ctvit=CTVIT, bert=TEXT, dim_latent=16, n_frames=64)
LANGUAGE = SmallLanguageConfig(vocab_size=600, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
RESNET = {"blocks": [1, 1, 1, 1], "widths": [4, 4, 8, 8], "bottleneck": False, "stride": 2}
#: Tokens of a scan, which a projector with places has as many of.
TOKENS = 4 * 4 * 4


def write_parts(folder: Path) -> None:
    """Write a cohort of noise, questions and a table of reports, a CT-CLIP, a text encoder and a language model."""
    torch.manual_seed(0)
    cohort = write_cohort(folder / "cohort", PREPROCESS, volumes=12)
    # Texts that are alike would not be each other's negatives.
    entries = [replace(entry, report=Report(findings=f"Lung nodule is present, {k} mm.")) for k, entry in enumerate(cohort.entries)]
    write_manifest(cohort.folder, entries)
    words = Tokenizer.from_words([*format_prompts(), "Lung nodule is present, mm.", *map(str, range(40))])
    facts: dict[str, Any] = {"labels": ABNORMALITIES, "tokenizer": words, "licence": "", "trained": False, "caution": ""}
    save_model(folder / "clip", kind="ct-clip", config=CLIP, preprocess=PREPROCESS, tensors=CTCLIP(CLIP).state_dict(), **facts)
    reader = TextClassifier(TEXT, n_labels=len(ABNORMALITIES)).state_dict()
    save_model(folder / "reader", kind="text-classifier", config=TEXT, preprocess=None, tensors=reader, **facts)
    asked = [
        QuestionSet(id=f"{entry.volume}:{name}", images=(entry.volume,), pairs=(_question(name),))
        for entry in cohort.entries
        for name in ABNORMALITIES[:4]
    ]
    write_questions(folder / "vqa.json", asked)
    language = build_phantom_lm(LANGUAGE, ["Is lung nodule present? Yes. No."], whole_words=[name.lower() for name in ABNORMALITIES])
    save_phantom_lm(folder / "language", language, dict(language.model.named_parameters()))
    with (folder / "reports.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["AccessionNo", "report_text", *ABNORMALITIES])
        writer.writerows([[k, f"{k} nodules.", *(k % (2 + number) == 0 for number in range(18))] for k in range(40)])


def _question(name: str) -> QuestionAnswer:
    return QuestionAnswer(question=f"Is {name.lower()} present?", answer="Yes.", task="short_answer", type="short_answer")


def shrunk(path: Path, folder: Path) -> dict[str, Any]:
    """The settings of a configuration, with the sizes of `write_parts` and three steps."""
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    values["out"] = str(folder / "runs" / path.stem)
    # bfloat16 is refused on a CPU, and compiling takes minutes
    values |= {"steps": STEPS, "epochs": 0, "batch_size": 2, "num_workers": 0, "save_every": 1, "precision": "float32", "compile": False}
    values["optimizer"] = {**values["optimizer"], "warmup_steps": min(1, values["optimizer"].get("warmup_steps", 0))}
    for name, most in (("eval_every", STEPS), ("gradient_cache_chunk", 1), ("gradient_accumulation_steps", 2), ("prompt_repeats", 1)):
        if values.get(name):
            values[name] = most
    if "reports" in values or values["task"] != "labeler" or "cohort" in values:
        values["cohort"] = str(folder / "cohort")
    if "section" in values:
        values["section"] = "both"
    return {**values, **_sized(values, folder)}


def _sized(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a task has beside: sizes of its model, and folders."""
    given = values.get("model") or {}
    match values["task"]:
        case "contrastive":
            return {"preprocess": config_to_mapping(PREPROCESS), "model": _ctclip(given), "init_text_encoder": str(folder / "reader")}
        case "medfinder":
            model = {**given, "size": list(PREPROCESS.size), "resnet": RESNET, "dim_latent": 8, "heads": 2}
            return {"preprocess": config_to_mapping(PREPROCESS), "model": model, "text": str(folder / "reader")}
        case "classifier" if given:
            return {"model": _ctclip(given)}
        case "vocabfine" | "classifier":
            return {"init_from": str(folder / "clip")}
        case "student":
            return {"init_from": str(folder / "clip"), "ctvit": config_to_mapping(replace(CTVIT, dim=8, heads=1))}
        case "labeler":
            sizes = replace(TEXT, cls_source=given.get("cls_source", "pooled"))
            return {"reports": str(folder / "reports.csv"), "model": config_to_mapping(sizes)}
    projector = {"num_queries": 4, "dim": 16, "attention_dim": 8, "heads": 8}
    if findings := (values.get("projector") or {}).get("num_findings"):
        projector |= {"num_findings": findings, "num_positions": TOKENS}
    folders = {name: str(folder / file) for name, file in (("vqa_file", "vqa.json"), ("encoder", "clip"), ("language_model", "language"))}
    adapter = {"adapter": {"rank": 2, "alpha": 4}} if values["stage"] == "lora" else {}
    return {**folders, "init_from": "", "projector": projector, "sequence_length": 64, **adapter}


def _ctclip(given: dict[str, Any]) -> dict[str, Any]:
    """Sizes of the image side, with what a configuration says of its patches."""
    shape = {**(given.get("ctvit") or {}), **config_to_mapping(CTVIT)}
    kept = {name: value for name, value in (given.get("ctvit") or {}).items() if name in ("hu_windows", "subpatches", "dim_cell")}
    return {**given, "ctvit": {**shape, **kept}, "dim_latent": 16, "n_frames": 64}


def main(folder: Path, *, stop: bool, resume: bool) -> None:
    """Run each configuration by its command; write for each what its steps gave, by rank."""
    steps: list[TrainStep] = []

    def follow(trainer: Any, *, quiet: bool) -> None:
        steps.extend(islice(trainer.run(), STOPPED if stop else None))
        if stop:
            sys.exit()  # before the model is written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "follow", follow)
        patch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
        port = int(os.environ.get("MASTER_PORT", "29500"))
        for number, path in enumerate(CONFIGS, start=1):
            patch.setenv("MASTER_PORT", str(port + number))  # a store of its own, which knows nothing of the run before
            values = shrunk(path, folder)
            config = folder / f"rank-{os.environ['RANK']}" / path.name
            config.parent.mkdir(exist_ok=True)
            config.write_text(yaml.safe_dump(values))
            steps.clear()
            patch.setattr(sys, "argv", ["thoracle", "train", values["task"], "--config", str(config), *(["--resume"] if resume else [])])
            try:
                thoracle()
            except SystemExit as end:
                if end.code not in (None, 0):
                    raise
            (folder / f"{path.stem}.{os.environ['RANK']}.json").write_text(json.dumps([[step.step, step.loss] for step in steps]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), stop="--stop" in sys.argv, resume="--resume" in sys.argv)
