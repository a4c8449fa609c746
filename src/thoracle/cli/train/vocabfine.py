"""`thoracle train vocabfine`: a CT-CLIP learns a cohort's labels as prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.train import train
from thoracle.cli.train.options import Cohort, Config, Out, Resume


@train.command()
def vocabfine(
    *,
    config: Config,
    start: Annotated[Path | None, typer.Option(metavar="DIR", help="CT-CLIP model folder to go on from; in place of the setting.")] = None,
    cohort: Cohort = None,
    out: Out = None,
    resume: Resume = False,
) -> None:
    """Teach a CT-CLIP the labels of a cohort as prompts; it stays open to any words. Ends with DIR/model.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """
    from thoracle.cli.train.progress import follow
    from thoracle.cohort.dataset import CohortDataset
    from thoracle.training.config import read_config
    from thoracle.training.distributed import join
    from thoracle.training.runs import vocabfine_run
    from thoracle.training.vocabfine import VocabFineConfig
    from thoracle.training.zeroshot import ZeroShot

    told = read_config(config, VocabFineConfig)
    told = replace(told, cohort=str(cohort or told.cohort), out=str(out or told.out), start=str(start or told.start))
    volumes = CohortDataset(told.cohort, split="train", needs=["labels"], augmentation=told.augmentation, seed=told.seed)
    labelled = CohortDataset(told.cohort, split="valid", needs=["labels"]) if told.evaluate_every else None
    with join() as world:
        trainer = vocabfine_run(
            told,
            volumes,
            world,
            preprocess=volumes.cohort.preprocess,
            resume=resume,
            evaluate=(lambda task: ZeroShot(task, labelled, batch=told.batch)) if labelled is not None else None,
        )
        follow(trainer, quiet=world.rank > 0)
