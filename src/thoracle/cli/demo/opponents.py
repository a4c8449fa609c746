"""The opponents of `thoracle demo`: models that read reports, a linear map on one of them, and the same encoder from labels alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thoracle.cli.demo.commands import evaluation, training

if TYPE_CHECKING:
    from thoracle.cli.demo.beside import Beside
    from thoracle.evaluation.demo.opponents import Opponents
    from thoracle.evaluation.detection.results_json import EvaluationRun
    from thoracle.evaluation.detection.summary import Scores
    from thoracle.training.engine.config import RunConfig

#: What is compared with the models that read reports, and trained beside them.
OPPONENTS: Final = ("lipro", "supervised")


@dataclass(frozen=True, kw_only=True)
class DemoOpponents:
    """Hold what the demo's opponents need.

    Attributes:
        configs: of the runs, in the order of training: contrastive and vocabfine; lipro and supervised, or neither.
        out: the demo's folder.
    """

    configs: Mapping[str, RunConfig]
    out: Path

    def train(self, name: str, beside: Beside) -> None:
        """Train an opponent, where it is among the runs, and evaluate it."""
        if config := self.configs.get(name):
            beside.run(f"train {name}", training(name, config, self.out))
            beside.run(f"evaluate {name}", evaluation(name, Path(config.out) / "model", self.out))

    @property
    def scores(self) -> dict[str, Scores]:
        """Return what each model says of held-out scans, by the page's word for the model."""
        return {title: evaluated.scores for title, evaluated in self._evaluations.items()}

    @property
    def sentences(self) -> list[str]:
        """Write the differences as sentences; none without a supervised model."""
        from thoracle.evaluation.demo.opponents import sentences

        return sentences(self._measured) if "supervised" in self.configs else []

    @property
    def section(self) -> list[str]:
        """Build the parts of the demo's page; none without a supervised model."""
        from thoracle.evaluation.demo.opponents import section

        if "supervised" not in self.configs:
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
