"""`thoracle train contrastive`: a configuration and a prepared cohort become a model folder."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from thoracle.cli.train import train
from thoracle.cli.train.options import Cohort, Config, Out, Overrides, Resume


@train.command()
def contrastive(
    *,
    config: Config,
    cohort: Cohort = None,
    text_weights: Annotated[
        str | None, typer.Option(metavar="PATH", help="A BERT's weights, or a report classifier's folder; in place of the setting.")
    ] = None,
    out: Out = None,
    overrides: Overrides = None,
    resume: Resume = False,
) -> None:
    """Align volumes with reports. Ends with DIR/model, which `thoracle detect` takes.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """
    from thoracle.cli.train.pairs import prepared_pairs
    from thoracle.cli.train.progress import follow
    from thoracle.training.config import load_config
    from thoracle.training.contrastive import ContrastiveConfig
    from thoracle.training.distributed import join
    from thoracle.training.runs import contrastive_run
    from thoracle.training.zeroshot import ZeroShot

    settings = load_config(config, ContrastiveConfig, overrides=overrides or ())
    settings = replace(
        settings,
        cohort=str(cohort or settings.cohort),
        out=str(out or settings.out),
        init_text_encoder=text_weights or settings.init_text_encoder,
    )
    pairs, labelled = prepared_pairs(settings, augmentation=settings.augmentation)
    with join() as world:
        trainer = contrastive_run(
            settings,
            pairs,
            world,
            words=lambda: [entry.report.text(settings.section) for entry in pairs.entries],
            resume=resume,
            evaluate=(lambda task: ZeroShot(task, labelled, batch=settings.gradient_cache_chunk or settings.batch_size))
            if labelled is not None
            else None,
        )
        follow(trainer, quiet=world.rank > 0)
