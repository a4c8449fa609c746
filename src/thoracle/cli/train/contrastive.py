"""`thoracle train contrastive`: a configuration and a prepared cohort become a model folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from thoracle.cli.train import train

if TYPE_CHECKING:
    from thoracle.training.trainer import Progress


@train.command()
def contrastive(
    *,
    config: Annotated[Path, typer.Option(metavar="YAML", help="Settings, as in `configs/`.")],
    cohort: Annotated[Path | None, typer.Option(metavar="DIR", help="What `thoracle prepare` wrote; in place of the setting.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The run's folder; in place of the setting.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")] = False,
) -> None:
    """Align volumes with reports. Ends with DIR/model, which `thoracle detect` takes.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """
    from thoracle.cohort.dataset import CohortDataset
    from thoracle.errors import InputError
    from thoracle.training.config import read_config
    from thoracle.training.contrastive import ContrastiveConfig
    from thoracle.training.distributed import join
    from thoracle.training.runs import contrastive_run
    from thoracle.training.zeroshot import ZeroShot

    told = read_config(config, ContrastiveConfig)
    told = replace(told, cohort=str(cohort or told.cohort), out=str(out or told.out))
    pairs = CohortDataset(
        told.cohort, split="train", section=told.section, needs=["report"], augmentation=told.augmentation, seed=told.seed
    )
    if pairs.cohort.preprocess != told.preprocess:
        raise InputError("was prepared with another preprocessing than the configuration's", cure="Prepare it again.", source=told.cohort)
    labelled = CohortDataset(told.cohort, split="valid", needs=["labels"]) if told.evaluate_every else None
    with join() as world:
        trainer = contrastive_run(
            told,
            pairs,
            world,
            words=lambda: [entry.report.text(told.section) for entry in pairs.entries],
            resume=resume,
            evaluate=(lambda task: ZeroShot(task, labelled, batch=told.chunk or told.batch)) if labelled is not None else None,
        )
        follow(trainer.run(), done=trainer.done, steps=told.steps, out=Path(told.out), quiet=world.rank > 0)


def follow(run: Iterator[Progress], *, done: int, steps: int, out: Path, quiet: bool) -> None:
    """Show loss, samples a second, memory and time left as the run goes on, and a line for each evaluation."""
    console = Console(stderr=True, highlight=False, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console) as bar:
        shown = bar.add_task("begin", total=steps, completed=done)
        for one in run:
            text = f"loss {one.loss:.4f}  {one.samples_per_second:.1f} samples/s  {one.memory / 2**30:.1f} GiB"
            bar.update(shown, description=text, completed=one.step)
            if one.scores:
                console.print(f"step {one.step}: " + ", ".join(f"{escape(name)} {value:.3f}" for name, value in one.scores.items()))
    console.print(f"{steps} steps done: {escape(str(out / 'model'))}")
