"""A whole run on pairs of noise, on however many ranks the environment says: imported by tests, and run by them on two."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from typing import Any

import torch

from tests.training.memory_volumes import MemoryVolume
from tests.training.steps import CONFIG, FINDER, MODEL
from thoracle.cohort.samples.dataset import Sample
from thoracle.config_reader import config_from_mapping, config_to_mapping
from thoracle.models.medfinder.config import ViTConfig
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.contrastive.gradient_cache import PairConfig
from thoracle.training.contrastive.medfinder import MedFinderRunConfig
from thoracle.training.contrastive.run import contrastive_run, medfinder_run
from thoracle.training.engine.distributed import World, distributed_context
from thoracle.training.engine.trainer import Trainer
from thoracle.types import ABNORMALITIES

PAIRS = 24
_WORDS = replace(MODEL.bert, vocab_size=256)
_RUN = {"steps": 3, "batch_size": 4, "save_every": 1}
CASES: dict[str, PairConfig] = {
    "ct-clip": replace(CONFIG, model=replace(MODEL, bert=_WORDS), **_RUN),
    "resnet": replace(FINDER, model=replace(FINDER.model, bert=_WORDS), **_RUN),
    "vit": replace(
        FINDER,
        model=replace(FINDER.model, resnet=None, vit=ViTConfig(patch_size=20, dim=16, depth=2, heads=2, mlp=16), bert=_WORDS),
        **_RUN,
    ),
}
CASES["vit"] = replace(CASES["vit"], preprocess=replace(CASES["vit"].preprocess, size=(20, 40, 40)))


class Pairs:
    """Pairs of noise, always the same."""

    def __len__(self) -> int:
        return PAIRS

    def set_epoch(self, epoch: int) -> None: ...

    def stored_volume(self, index: int, epoch: int) -> MemoryVolume:
        return MemoryVolume(torch.randn(1, 20, 40, 40, generator=torch.Generator().manual_seed(index)).clamp(-1, 1))

    def __getitem__(self, index: int) -> Sample:
        stored = self.stored_volume(index, 0)
        report = f"There is {ABNORMALITIES[index % 18].lower()}, number {index}."
        labels = (torch.arange(18) == index % 18).float()
        return Sample(stored=stored, report=report, labels=labels, volume=f"train_{index}", scan=str(index), patient=str(index))


def words() -> list[str]:
    return [Pairs()[index].report for index in range(PAIRS)]


def trainer(config: PairConfig, world: World, *, resume: bool = False) -> Trainer:
    """Make the run of a configuration."""
    if isinstance(config, MedFinderRunConfig):
        return medfinder_run(config, Pairs(), world, words=words, resume=resume)
    assert isinstance(config, ContrastiveConfig)
    return contrastive_run(config, Pairs(), world, words=words, resume=resume)


def settings(config: PairConfig, **changes: Any) -> list[str]:
    """Say a configuration to `main`."""
    return [type(config).TASK, json.dumps(config_to_mapping(replace(config, **changes)))]


def main(task: str, values: str, *, resume: bool, slow: bool) -> None:
    """Run to the end, `slow` enough to be stopped before; the first rank prints what the run begins with and each step's loss."""
    cls = {cls.TASK: cls for cls in (ContrastiveConfig, MedFinderRunConfig)}[task]
    torch.set_num_threads(1)
    with distributed_context() as world:
        run = trainer(config_from_mapping(cls, json.loads(values), source="settings"), world, resume=resume)
        if world.rank == 0:
            print(json.dumps({"notes": run.notes}), flush=True)
        for step in run.run():
            if world.rank == 0:
                print(json.dumps({"step": step.step, "loss": step.loss}), flush=True)
            time.sleep(0.2 * slow)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], resume="--resume" in sys.argv, slow="--slow" in sys.argv)
