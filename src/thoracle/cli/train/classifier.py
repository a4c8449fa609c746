"""`thoracle train classifier`: LiPro or another head on a CT-CLIP, frozen or not, for a cohort's labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.train import train
from thoracle.cli.train.options import Cohort, Config, Out, Resume


@train.command()
def classifier(
    *,
    config: Config,
    start: Annotated[Path | None, typer.Option(metavar="DIR", help="CT-CLIP or classifier model folder; in place of the setting.")] = None,
    cohort: Cohort = None,
    out: Out = None,
    resume: Resume = False,
) -> None:
    """Train a classifier of 18 abnormalities on a CT-CLIP (LiPro, ClassFine). Ends with DIR/model, which `thoracle detect` takes.

    What a frozen encoder gives is computed once and kept: a run that was stopped while it encoded goes on where it was, and another seed
    begins at once.
    """
    from thoracle.cli.train.progress import encoding, follow
    from thoracle.cohort.dataset import CohortDataset
    from thoracle.training.classifier import ClassifierConfig
    from thoracle.training.classifier_run import classifier_run
    from thoracle.training.config import read_config
    from thoracle.training.distributed import join

    told = read_config(config, ClassifierConfig)
    told = replace(told, cohort=str(cohort or told.cohort), out=str(out or told.out), start=str(start or told.start))
    volumes = CohortDataset(told.cohort, split="train", needs=["labels"])
    labelled = CohortDataset(told.cohort, split="valid", needs=["labels"]) if told.evaluate_every else None
    with join() as world:
        with encoding(quiet=world.rank > 0) as encoded:
            trainer = classifier_run(told, volumes, labelled, world, resume=resume, encoded=encoded)
        follow(trainer, quiet=world.rank > 0)
