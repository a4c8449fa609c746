"""`thoracle train contrastive`: a configuration and a prepared cohort become a model folder."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from thoracle.cli.train import train
from thoracle.cli.train.options import Cohort, Config, Out, Resume


@train.command()
def contrastive(
    *,
    config: Config,
    cohort: Cohort = None,
    text_weights: Annotated[
        str | None, typer.Option(metavar="PATH", help="A BERT's weights, or a report classifier's folder; in place of the setting.")
    ] = None,
    out: Out = None,
    resume: Resume = False,
) -> None:
    """Align volumes with reports. Ends with DIR/model, which `thoracle detect` takes.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """
    from thoracle.cli.train.pairs import prepared_pairs
    from thoracle.cli.train.progress import follow
    from thoracle.training.config import read_config
    from thoracle.training.contrastive import ContrastiveConfig
    from thoracle.training.distributed import join
    from thoracle.training.runs import contrastive_run
    from thoracle.training.zeroshot import ZeroShot

    told = read_config(config, ContrastiveConfig)
    told = replace(told, cohort=str(cohort or told.cohort), out=str(out or told.out), text_weights=text_weights or told.text_weights)
    pairs, labelled = prepared_pairs(told, augmentation=told.augmentation)
    with join() as world:
        trainer = contrastive_run(
            told,
            pairs,
            world,
            words=lambda: [entry.report.text(told.section) for entry in pairs.entries],
            resume=resume,
            evaluate=(lambda task: ZeroShot(task, labelled, batch=told.chunk or told.batch)) if labelled is not None else None,
        )
        follow(trainer, quiet=world.rank > 0)
