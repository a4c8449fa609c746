"""A run on the terminal, whatever its task: loss, samples a second, memory, time left; a line for each evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from thoracle.training.trainer import Trainer


def follow(trainer: Trainer, *, quiet: bool) -> None:
    """Run it to its end; `quiet` on ranks but the first."""
    config, console = trainer.config, Console(stderr=True, highlight=False, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console) as bar:
        shown = bar.add_task("begin", total=config.steps, completed=trainer.done)
        for one in trainer.run():
            text = f"loss {one.loss:.4f}  {one.samples_per_second:.1f} samples/s  {one.memory / 2**30:.1f} GiB"
            bar.update(shown, description=text, completed=one.step)
            if one.scores:
                console.print(f"step {one.step}: " + ", ".join(f"{escape(name)} {value:.3f}" for name, value in one.scores.items()))
    console.print(f"{config.steps} steps done: {escape(str(Path(config.out) / 'model'))}")
