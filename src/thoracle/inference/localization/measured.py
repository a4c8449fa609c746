"""Keep beside a model how its maps were found to place findings, by comparison with where these usually lie.

MODEL/localization.json holds, for each method and finding, the lead over the better of two atlases by each score, and how often side and
lobe of the strongest place were right. It is measured on phantoms, which alone have masks (`thoracle evaluate explanation`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from thoracle.errors import ModelFolderInvalid
from thoracle.files.json_file import read_json_object, write_json
from thoracle.inference.localization.strongest_place import LOBAR, StrongestPlace
from thoracle.models.bundle.model_folder import LOCALIZATION
from thoracle.types import RESEARCH_USE

FORMAT: Final = "thoracle.localization/1"
NOT_MEASURED: Final = "not measured against where it usually lies"
STRONGEST_SLICE: Final = "strongest slice"
NO_BETTER: Final = "no better than where this finding usually lies"
_HINT: Final = "Remove it, or make it again with `thoracle evaluate explanation --save-localization`."


@dataclass(frozen=True, kw_only=True)
class Lead:
    """Hold a score's lead over the better of two atlases.

    Attributes:
        value: of the lead.
        low, high: bounds of its interval; None where that is not defined.
        score: of the maps themselves; None where it was not kept.
    """

    value: float
    low: float | None
    high: float | None
    score: float | None = None

    @property
    def above_zero(self) -> bool:
        """Tell whether the interval lies above zero."""
        return self.low is not None and self.low > 0


@dataclass(frozen=True, kw_only=True)
class PlaceRate:
    """Count scans in which a side or a lobe that was named is one of the finding's, those left out in which every answer is right.

    Attributes:
        scans: that were asked.
        correct: of the method.
        atlas_correct: of the atlas in the body's frame.
    """

    scans: int
    correct: int
    atlas_correct: int


@dataclass(frozen=True, kw_only=True)
class MeasuredFinding:
    """Hold what was measured of one finding.

    Attributes:
        volumes: with the finding in their mask.
        lead: by score.
        side, lobe: how often they were right; None where no truth tells.
    """

    volumes: int
    lead: Mapping[str, Lead]
    side: PlaceRate | None
    lobe: PlaceRate | None


@dataclass(frozen=True, kw_only=True)
class MeasuredMethod:
    """Hold what was measured of one method.

    Attributes:
        measured_on: in words.
        findings: by name.
    """

    measured_on: str
    findings: Mapping[str, MeasuredFinding]


def save_localization(folder: Path, *, weights_sha256: str, method: str, measured: MeasuredMethod) -> None:
    """Write what was measured of a method beside the weights, and keep what stands there of others.

    Raises:
        ModelFolderInvalid: what stands there is damaged, or of other weights.
    """
    methods = {**read_localization(folder, weights_sha256=weights_sha256), method: measured}
    documents = {name: asdict(values) for name, values in methods.items()}
    head = {"format": FORMAT, "notice": RESEARCH_USE, "weights_sha256": weights_sha256}
    write_json(folder / LOCALIZATION, {**head, "methods": documents}, indent=1)


def read_localization(folder: Path, *, weights_sha256: str) -> dict[str, MeasuredMethod]:
    """Read what was measured, by method; nothing where there is no file.

    Raises:
        ModelFolderInvalid: damaged, or of other weights.
    """
    path = folder / LOCALIZATION
    if not path.is_file():
        return {}
    detail = "does not say how maps place findings"
    sha256, methods = read_json_object(path, parse=_parse, refusal=ModelFolderInvalid, detail=detail, hint=_HINT, tag=("format", FORMAT))
    if sha256 != weights_sha256:
        raise ModelFolderInvalid("was measured of other weights than this folder's", hint=_HINT, source=path)
    return methods


def lead_statement(finding: MeasuredFinding | None) -> str:
    """Say by which scores a map of a finding is better than where the finding usually lies."""
    if finding is None:
        return NOT_MEASURED
    ahead = [metric for metric, lead in finding.lead.items() if lead.above_zero]
    behind = [metric for metric in finding.lead if metric not in ahead]
    if not ahead:
        return NO_BETTER
    words = f"by {', '.join(ahead)} better than where this finding usually lies"
    return f"{words}; by {', '.join(behind)} {NO_BETTER}" if behind else words


def slice_statement(finding: MeasuredFinding | None) -> str:
    """Say how often the strongest slice holds a finding, and whether that is more than the slice where it usually lies."""
    lead = None if finding is None else finding.lead.get(STRONGEST_SLICE)
    if lead is None:
        return "how often the strongest slice holds it was not measured"
    rate = "" if lead.score is None else f" holds it in {lead.score:.0%} of phantom scans with it"
    comparison = f"{100 * lead.value:.0f} points more than where it usually lies" if lead.above_zero else NO_BETTER
    return f"the strongest slice{rate}: {comparison}"


def place_statement(name: str, location: StrongestPlace | None, finding: MeasuredFinding | None) -> str:
    """Say on which side, and in which lobe, a map is strongest, and how often that was right on phantoms."""
    if location is None:
        return "side not named: nothing speaks for it, or no lungs were found"
    side, lobe = (None, None) if finding is None else (finding.side, finding.lobe)
    if name not in LOBAR:
        return f"strongest on the {location.side} ({_rate(side, 'side')})"
    return f"strongest in the {location.lobe} ({_rate(side, 'side')}; {_rate(lobe, 'lobe')})"


def _rate(rate: PlaceRate | None, subject: str) -> str:
    if rate is None:
        return f"how often the {subject} is right was not measured"
    return f"{subject} right in {rate.correct} of {rate.scans} phantom scans, {rate.atlas_correct} by the usual place"


def _parse(values: Mapping[str, Any]) -> tuple[str, dict[str, MeasuredMethod]]:
    methods = {
        str(name): MeasuredMethod(
            measured_on=str(method["measured_on"]),
            findings={str(finding): _finding(document) for finding, document in method["findings"].items()},
        )
        for name, method in values["methods"].items()
    }
    return str(values["weights_sha256"]), methods


def _finding(values: Mapping[str, Any]) -> MeasuredFinding:
    return MeasuredFinding(
        volumes=int(values["volumes"]),
        lead={str(metric): _lead(lead) for metric, lead in values["lead"].items()},
        side=_place_rate(values["side"]),
        lobe=_place_rate(values["lobe"]),
    )


def _lead(values: Mapping[str, Any]) -> Lead:
    low, high = (None if bound is None else float(bound) for bound in (values["low"], values["high"]))
    score = values.get("score")
    return Lead(value=float(values["value"]), low=low, high=high, score=None if score is None else float(score))


def _place_rate(values: Mapping[str, Any] | None) -> PlaceRate | None:
    return None if values is None else PlaceRate(**{name: int(count) for name, count in values.items()})
