"""A run of a head on tokens, on however many ranks the environment says: imported by tests, and run by them on two.

Arguments: a configuration's file, the cohort, the step after which it stops; `--resume`. Without dropout, of which each rank would draw
its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from thoracle.cohort.samples.dataset import CohortDataset
from thoracle.models.tokenclassifier import model as tokens
from thoracle.training.engine.config import load_config
from thoracle.training.engine.distributed import distributed_context
from thoracle.training.finetuning.classifier_run import classifier_run
from thoracle.training.finetuning.config import ClassifierConfig


def main(config: Path, cohort: Path, until: int, *, resume: bool) -> None:
    tokens._DROPOUT = 0.0
    torch.set_num_threads(1)
    data = CohortDataset(cohort, split="train")
    with distributed_context() as world:
        trainer = classifier_run(load_config(config, ClassifierConfig), data, None, world, resume=resume)
        for step in trainer.run():
            if step.step == until:
                return


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), resume="--resume" in sys.argv)
