"""What VocabFine's tests begin with: labelled volumes, a CT-CLIP whose words are the prompts', a short configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from tests.training import steps
from tests.training.memory_volumes import MemoryVolume
from thoracle.cohort.samples.dataset import LazyVolume, Sample
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.config import OptimizerConfig
from thoracle.training.finetuning.vocabfine import VocabFineConfig
from thoracle.types import ABNORMALITIES

PREPROCESS = PreprocessConfig(size=(20, 40, 40))


class Volumes:
    """Eight volumes; where there is an abnormality, a slice of its own is bright."""

    def __len__(self) -> int:
        return 8

    def set_epoch(self, epoch: int) -> None:
        pass

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(index)
        labels = (torch.rand(18, generator=generator) < 0.4).float()
        volume = torch.randn(1, 20, 40, 40, generator=generator) * 0.1
        for number in labels.nonzero().flatten().tolist():
            volume[0, number, : 4 + number, 20:] += 1
        stored = MemoryVolume(volume)
        return Sample(stored=stored, report="", labels=labels, volume=f"v{index}", scan=str(index), patient=str(index))

    def stored_volume(self, index: int, epoch: int) -> LazyVolume:
        return self[index].stored


def write_start(folder: Path, *, seed: int = 1) -> Path:
    """Write a random CT-CLIP whose words are the prompts'."""
    torch.manual_seed(seed)  # another than a run's seed, whose random weights would be these
    model = replace(steps.MODEL, bert=replace(steps.MODEL.bert, vocab_size=512))
    facts = {"licence": "Theirs alone", "trained": False, "caution": "Knows only noise."}
    save_model(
        folder,
        kind="ct-clip",
        config=model,
        preprocess=PREPROCESS,
        labels=ABNORMALITIES,
        tensors=CTCLIP(model).state_dict(),
        tokenizer=Tokenizer.from_words(format_prompts()),
        **facts,
    )
    return folder


def config(start: Path, out: Path, **more: object) -> VocabFineConfig:
    """Configure six steps; `more` replaces settings."""
    optimizer = OptimizerConfig(lr=1e-2, max_grad_norm=1.0, warmup_steps=2)
    settings = {"steps": 6, "batch_size": 4, "num_workers": 0, "save_every": 1, "optimizer": optimizer, **more}
    return VocabFineConfig(init_from=str(start), out=str(out), **settings)
