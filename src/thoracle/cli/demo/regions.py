"""The regions of `thoracle demo`: findings read place by place on its encoder, and whether their maps beat where findings usually lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thoracle.cli.demo.commands import evaluation

if TYPE_CHECKING:
    from thoracle.cli.demo.beside import Beside
    from thoracle.evaluation.demo.page import Example
    from thoracle.evaluation.demo.regions import RegionQuality
    from thoracle.evaluation.detection.summary import Scores


@dataclass(frozen=True, kw_only=True)
class DemoRegions:
    """Hold the paths of what the demo's regions need.

    Attributes:
        encoder: the model folder whose patches are read.
        out: the demo's folder.
    """

    encoder: Path
    out: Path

    @property
    def model(self) -> Path:
        """Return the model folder."""
        return self.out / "regions"

    @property
    def maps(self) -> Path:
        """Return the folder of the evaluation of maps."""
        return self.out / "evaluation-maps"

    def measure(self, beside: Beside) -> None:
        """Fit where no model is; score findings, and on split dev maps beside atlases, by how much they lead them being kept."""
        cohort, masks = str(self.out / "cohort"), str(self.out / "phantoms")
        if not (self.model / "config.json").is_file():
            beside.run("train regions", ["train", "regions", str(self.encoder), cohort, "--out", str(self.model)])
        beside.run("evaluate regions", evaluation("regions", self.model, self.out))
        options = ["--masks", masks, "--method", "regions", "--split", "dev", "--save-localization", "--out", str(self.maps)]
        beside.run("evaluate maps", ["evaluate", "explanation", str(self.model), cohort, *options])

    def quality(self, *, prompts: Scores, regions: Scores) -> RegionQuality:
        """Put the model where commands find it, and read what was measured, beside detection with prompts."""
        from thoracle.evaluation.demo.regions import read_quality
        from thoracle.inference.demo.locations import keep_demo_regions

        keep_demo_regions(self.model)
        return read_quality(self.maps / "explanation.json", prompts=prompts, regions=regions)

    def section(self, quality: RegionQuality, examples: Sequence[Example]) -> list[str]:
        """Build the parts of the demo's page."""
        from thoracle.cohort.manifest import open_cohort
        from thoracle.evaluation.demo.regions import map_pictures, section
        from thoracle.evaluation.explanation.atlas import ATLASES_FILE
        from thoracle.inference.model import load

        cohort, phantoms = open_cohort(self.out / "cohort"), self.out / "phantoms"
        return section(quality, map_pictures(examples, load(self.model), cohort, phantoms=phantoms, atlases=self.maps / ATLASES_FILE))
