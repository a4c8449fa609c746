"""`thoracle train vocabfine`: a CT-CLIP learns a cohort's labels as prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.train import train
from thoracle.cli.train.options import Cohort, Config, Out, Overrides, Resume


@train.command()
def vocabfine(
    *,
    config: Config,
    start: Annotated[Path | None, typer.Option(metavar="DIR", help="CT-CLIP model folder to go on from; in place of the setting.")] = None,
    cohort: Cohort = None,
    out: Out = None,
    overrides: Overrides = None,
    resume: Resume = False,
) -> None:
    """Teach a CT-CLIP the labels of a cohort as prompts; it stays open to any words. Ends with DIR/model.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """
    from thoracle.cli.train.progress import follow
    from thoracle.cohort.dataset import CohortDataset
    from thoracle.training.config import load_config
    from thoracle.training.distributed import join
    from thoracle.training.runs import vocabfine_run
    from thoracle.training.vocabfine import VocabFineConfig
    from thoracle.training.zeroshot import ZeroShot

    settings = load_config(config, VocabFineConfig, overrides=overrides or ())
    settings = replace(
        settings, cohort=str(cohort or settings.cohort), out=str(out or settings.out), init_from=str(start or settings.init_from)
    )
    volumes = CohortDataset(settings.cohort, split="train", needs=["labels"], augmentation=settings.augmentation, seed=settings.seed)
    labelled = CohortDataset(settings.cohort, split="valid", needs=["labels"]) if settings.eval_every else None
    with join() as world:
        trainer = vocabfine_run(
            settings,
            volumes,
            world,
            preprocess=volumes.cohort.preprocess,
            resume=resume,
            evaluate=(lambda task: ZeroShot(task, labelled, batch=settings.batch_size)) if labelled is not None else None,
        )
        follow(trainer, quiet=world.rank > 0)
