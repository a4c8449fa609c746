"""From a cohort to a chat model by the commands: what tests of several commands begin with."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from thoracle.cli.app import main
from thoracle.cohort.manifest import CohortEntry, claim, write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import pack
from thoracle.config_reader import config_to_mapping
from thoracle.inference.demo.assets import write_model, write_scan
from thoracle.models.bundle.model_folder import open_model

SPLITS = ("train", "train", "valid", "dev")
CONFIG = {
    "disclaimer": "Knows only noise.",
    "language_model": "set below",
    "projector": {"num_queries": 4, "dim": 8, "attention_dim": 8, "heads": 8, "num_positions": 216, "num_findings": 18},
    "phantom_lm": {"vocab_size": 600, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2},
    "adapter": {"rank": 4, "alpha": 8},
    "sequence_length": 512,
    "steps": 3,
    "batch_size": 1,
    "num_workers": 0,
    "loss_weight": "sqrt_length",
    "eval_every": 3,
    "num_eval_conversations": 8,
    "optimizer": {"lr": 1.0e-3, "max_grad_norm": 1.0},
}


@dataclass(frozen=True, kw_only=True)
class TrainedChat:
    """Where everything lies: the stages in `base`, `projector` and `lora` of the folder, beside `config.yaml` and `vqa.json`."""

    folder: Path
    cohort: Path
    encoder: Path
    scan: Path

    @property
    def chat(self) -> Path:
        """The last stage's."""
        return self.folder / "lora" / "model"


def _run(*arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["thoracle", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code in (None, 0), arguments


def train_chat(folder: Path) -> TrainedChat:
    """Eight volumes of noise, two patients of train, one of valid, one of dev; questions about them; three steps of each stage."""
    encoder = write_model(folder / "encoder").path
    preprocess = open_model(encoder).preprocess
    assert preprocess is not None
    cohort, rng, entries = folder / "cohort", np.random.default_rng(0), []
    claim(cohort, {"preprocess": config_to_mapping(preprocess)})
    for k in range(8):
        labels = tuple((k + number) % 2 for number in range(18))
        volume = rng.normal(-0.5, 0.1, preprocess.size).astype(np.float32)
        content = pack(volume, scale=preprocess.intensity_scale)
        (cohort / "cache").mkdir(exist_ok=True)
        (cohort / "cache" / f"{k}.vol").write_bytes(content)
        ids: dict[str, Any] = {"volume": f"v{k}.nii.gz", "scan": f"s{k}", "patient": f"p{k // 2}", "split": SPLITS[k // 2]}
        hashes = {"source_sha256": "0" * 64, "cache": f"cache/{k}.vol", "cache_sha256": f"{k}" * 64}
        entries.append(CohortEntry(**ids, **hashes, report=Report(findings="Lung nodule is present, 8 mm."), labels=labels))
    write_manifest(cohort, entries)
    _run("vqa", cohort, "--out", folder / "vqa.json")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    shared = ("--config", folder / "config.yaml", "--cohort", cohort, "--questions", folder / "vqa.json", "--encoder", encoder)
    base = ("--base", folder / "base" / "model")
    _run("train", "chat", *shared, "--stage", "base", "--out", folder / "base")
    _run("train", "chat", *shared, *base, "--stage", "projector", "--out", folder / "projector")
    _run("train", "chat", *shared, *base, "--stage", "lora", "--start", folder / "projector" / "model", "--out", folder / "lora")
    return TrainedChat(folder=folder, cohort=cohort, encoder=encoder, scan=write_scan(folder / "chest.nii.gz"))
