"""The opponents of `thoracle demo`: models that read reports, a linear map on one of them, and the same encoder from labels alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from thoracle.cli.demo.chat import Stage
    from thoracle.evaluation.demo.opponents import Opponents
    from thoracle.evaluation.detection.results_json import EvaluationRun
    from thoracle.evaluation.detection.summary import Scores
    from thoracle.training.engine.config import RunConfig

#: The run that needs nothing of the others, and takes a process of its own beside them.
BESIDE: Final = "supervised"


@dataclass(frozen=True, kw_only=True)
class DemoOpponents:
    """Hold what the demo's opponents need.

    Attributes:
        configs: of the runs, in the order of training: contrastive and vocabfine; lipro and supervised, or neither.
        out: the demo's folder.
    """

    configs: Mapping[str, RunConfig]
    out: Path

    @contextmanager
    def training_beside(self, stage: Stage) -> Iterator[None]:
        """Train the supervised model, where there is one, in a process of its own meanwhile; each of both has half of the cores.

        Args:
            stage: of the demo, which waits for the process at the end.

        Raises:
            typer.Exit: the process failed; what it said is printed.
        """
        import torch

        from thoracle.training.engine.config import write_config

        if BESIDE not in self.configs:
            yield
            return
        config, settings, log = self.configs[BESIDE], self.out / f"{BESIDE}.yaml", self.out / f"{BESIDE}.log"
        arguments = ["train", config.TASK, "--config", str(settings), *(["--resume"] if Path(config.out).exists() else [])]
        write_config(config, settings)
        typer.echo(f"\nMeanwhile, in a process of its own ({log}):\n$ thoracle {' '.join(arguments)}")
        threads = torch.get_num_threads()
        half = max(1, threads // 2)
        environment = {**os.environ, "OMP_NUM_THREADS": str(half), "MKL_NUM_THREADS": str(half)}
        with log.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "thoracle", *arguments], stdout=said, stderr=subprocess.STDOUT, env=environment
            )
        torch.set_num_threads(max(1, threads - half))
        try:
            yield
            with stage(f"train {BESIDE}", ""):
                process.wait()
        finally:
            process.terminate()  # its state is saved; nothing where it has ended
            process.wait()
            torch.set_num_threads(threads)
        if process.returncode:
            typer.echo(log.read_text("utf-8", errors="replace"), err=True, nl=False)
            raise typer.Exit(process.returncode)

    @property
    def scores(self) -> dict[str, Scores]:
        """Return what each model says of held-out scans, by the page's word for the model."""
        return {title: evaluated.scores for title, evaluated in self._evaluations.items()}

    @property
    def sentences(self) -> list[str]:
        """Write the differences as sentences; none without a supervised model."""
        from thoracle.evaluation.demo.opponents import sentences

        return sentences(self._measured) if BESIDE in self.configs else []

    @property
    def section(self) -> list[str]:
        """Build the parts of the demo's page; none without a supervised model."""
        from thoracle.evaluation.demo.opponents import section

        if BESIDE not in self.configs:
            return []
        volumes = {self._titles[name]: config.steps * config.batch_size for name, config in self.configs.items()}
        return section(self._measured, volumes=volumes)

    @property
    def _titles(self) -> dict[str, str]:
        from thoracle.evaluation.demo.page import CONTRASTIVE, LIPRO, SUPERVISED, TUNED

        titles = {"contrastive": CONTRASTIVE, "vocabfine": TUNED, "lipro": LIPRO, "supervised": SUPERVISED}
        return {name: titles[name] for name in self.configs}

    @cached_property
    def _evaluations(self) -> dict[str, EvaluationRun]:
        from thoracle.evaluation.detection.results_json import read_run

        return {title: read_run(self.out / f"evaluation-{name}" / "results.json") for name, title in self._titles.items()}

    @cached_property
    def _measured(self) -> Opponents:
        from thoracle.evaluation.demo.opponents import compare_opponents

        return compare_opponents(self._evaluations)
