"""Show a training run on the terminal: loss, samples a second, memory, time left; a line for each evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from thoracle.cli.progress import ProgressBar

if TYPE_CHECKING:
    from thoracle.training.engine.trainer import Trainer


@contextmanager
def encoding(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield what to call with the number of encoded volumes, and of all; `quiet` on ranks but the first."""
    with ProgressBar("encode", console=Console(stderr=True, highlight=False, quiet=quiet)) as bar:
        yield lambda count, total: bar.update(count, total=total)


def follow(trainer: Trainer, *, quiet: bool) -> None:
    """Run a trainer to its end; `quiet` on ranks but the first."""
    config, console = trainer.config, Console(stderr=True, highlight=False, quiet=quiet)
    for note in trainer.notes:
        console.print(note, markup=False)
    with ProgressBar("begin", console=console, total=config.steps, completed=trainer.done, rate="") as bar:
        for step in trainer.run():
            # No more than this: a terminal of 80 columns would cut the time left.
            speed = f"{step.samples_per_second:.1f} samples/s  waits {step.data_wait:.1f} s"
            text = f"loss {step.loss:.4f}  {speed}  {step.memory / 2**30:.1f} GiB"
            bar.update(step.step, description=f"{text}  {step.skipped} skipped" if step.skipped else text)
            if step.scores:
                scores = ", ".join(f"{escape(name)} {score:.3f}" for name, score in step.scores.items())
                console.print(f"step {step.step}: {scores}")
    console.print(f"{config.steps} steps done: {escape(str(Path(config.out) / 'model'))}")
