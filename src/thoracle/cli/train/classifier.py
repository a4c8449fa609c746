"""`thoracle train classifier`: LiPro or another head on a CT-CLIP, frozen or not, for a cohort's labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.train import train
from thoracle.cli.train.options import Cohort, Config, Out, Overrides, Resume


@train.command()
def classifier(
    *,
    config: Config,
    start: Annotated[Path | None, typer.Option(metavar="DIR", help="CT-CLIP or classifier model folder; in place of the setting.")] = None,
    cohort: Cohort = None,
    out: Out = None,
    overrides: Overrides = None,
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
    from thoracle.training.config import load_config
    from thoracle.training.distributed import join

    settings = load_config(config, ClassifierConfig, overrides=overrides or ())
    settings = replace(
        settings, cohort=str(cohort or settings.cohort), out=str(out or settings.out), init_from=str(start or settings.init_from)
    )
    volumes = CohortDataset(settings.cohort, split="train", needs=["labels"])
    labelled = CohortDataset(settings.cohort, split="valid", needs=["labels"]) if settings.eval_every else None
    with join() as world:
        with encoding(quiet=world.rank > 0) as encoded:
            trainer = classifier_run(settings, volumes, labelled, world, resume=resume, encoded=encoded)
        follow(trainer, quiet=world.rank > 0)
