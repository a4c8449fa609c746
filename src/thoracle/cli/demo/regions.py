"""The regions of `thoracle demo`: findings read place by place on its encoder, and whether their maps beat where findings usually lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thoracle.cli.demo.chat import Stage
    from thoracle.evaluation.demo.page import Example
    from thoracle.evaluation.demo.regions import RegionQuality
    from thoracle.evaluation.detection.summary import Scores


@dataclass(frozen=True, kw_only=True)
class DemoRegions:
    """Hold the paths of what the demo's regions need.

    Attributes:
        encoder: the model folder whose patches are read.
        out: the demo's folder.
        stage: as `Stage`.
    """

    encoder: Path
    out: Path
    stage: Stage

    @property
    def model(self) -> Path:
        """Return the model folder."""
        return self.out / "regions"

    @property
    def maps(self) -> Path:
        """Return the folder of the evaluation of maps."""
        return self.out / "evaluation-maps"

    def fit(self) -> None:
        """Fit where no model is.

        Raises:
            InputError: the cohort is too small.
        """
        from thoracle.cli.train.regions import regions

        cohort = self.out / "cohort"
        with self.stage("train regions", f"train regions {self.encoder} {cohort} --out {self.model}"):
            if not (self.model / "config.json").is_file():
                regions(self.encoder, cohort, out=self.model)

    def evaluate_maps(self) -> None:
        """Measure maps on split dev beside atlases, and keep beside the model by how much they lead, and it where commands find it."""
        from thoracle.cli.evaluate.explanation import explanation
        from thoracle.inference.demo.locations import keep_demo_regions

        cohort, masks = self.out / "cohort", self.out / "phantoms"
        options = f"--masks {masks} --method regions --split dev --save-localization --out {self.maps}"
        with self.stage("evaluate maps", f"evaluate explanation {self.model} {cohort} {options}"):
            explanation(self.model, cohort, masks=masks, method="regions", split="dev", save_localization=True, out=self.maps)
        keep_demo_regions(self.model)

    def quality(self, *, prompts: Scores, regions: Scores) -> RegionQuality:
        """Read what was measured, beside detection with prompts."""
        from thoracle.evaluation.demo.regions import read_quality

        return read_quality(self.maps / "explanation.json", prompts=prompts, regions=regions)

    def section(self, quality: RegionQuality, examples: Sequence[Example]) -> list[str]:
        """Build the parts of the demo's page."""
        from thoracle.cohort.manifest import open_cohort
        from thoracle.evaluation.demo.regions import map_pictures, section
        from thoracle.evaluation.explanation.atlas import ATLASES_FILE
        from thoracle.inference.model import load

        cohort, phantoms = open_cohort(self.out / "cohort"), self.out / "phantoms"
        return section(quality, map_pictures(examples, load(self.model), cohort, phantoms=phantoms, atlases=self.maps / ATLASES_FILE))
