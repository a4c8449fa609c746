"""`thoracle train medfinder`: a configuration and a prepared cohort become a model folder that is searched with."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from thoracle.cli.train import train
from thoracle.cli.train.options import Cohort, Config, Out, Overrides, Resume


@train.command()
def medfinder(
    *,
    config: Config,
    cohort: Cohort = None,
    text: Annotated[
        str | None, typer.Option(metavar="DIR|NAME", help="Pretrained text encoder, or its name on the hub; in place of the setting.")
    ] = None,
    out: Out = None,
    overrides: Overrides = None,
    resume: Resume = False,
) -> None:
    """Align two views of volumes with reports. Ends with DIR/model, which `thoracle index` and `thoracle detect` take.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """
    from thoracle.cli.train.encoder import fetched
    from thoracle.cli.train.pairs import prepared_pairs
    from thoracle.cli.train.progress import follow
    from thoracle.training.config import load_config
    from thoracle.training.distributed import join
    from thoracle.training.medfinder import MedFinderRunConfig
    from thoracle.training.runs import medfinder_run
    from thoracle.training.zeroshot import ZeroShot

    settings = load_config(config, MedFinderRunConfig, overrides=overrides or ())
    settings = replace(settings, cohort=str(cohort or settings.cohort), out=str(out or settings.out), text=fetched(text or settings.text))
    pairs, labelled = prepared_pairs(settings, excerpt=settings.crop_words)
    with join() as world:
        trainer = medfinder_run(
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
