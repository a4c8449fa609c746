"""Calibrate a model's probabilities, by settings kept beside its weights.

MODEL/calibration.json holds, for each abnormality, how a probability is mended (sigmoid of slope x logit + offset), and beyond which
mended probability an answer is ruled in or out with a stated coverage; what lies between is "cannot tell".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from thoracle.errors import ModelFolderInvalid
from thoracle.files.json_file import read_json_object, write_json
from thoracle.models.bundle.model_folder import CALIBRATION
from thoracle.types import RESEARCH_USE

Verdict = Literal["present", "absent", "cannot tell"]

FORMAT: Final = "thoracle.calibration/2"
#: Probabilities are held this far from 0 and 1, where a logit ends.
EDGE: Final = 1e-7
_HINT: Final = "Remove it, or make it again with `thoracle evaluate detection --save-calibration`."


@dataclass(frozen=True, kw_only=True)
class LabelCalibration:
    """Calibrate the probability of one abnormality.

    Attributes:
        slope: above 0, so that the order of scans stays.
        offset: of the logit.
        rule_in_at: the least mended probability at which "present" is not ruled out.
        rule_out_at: the highest at which "absent" is not ruled out.
    """

    slope: float
    offset: float
    rule_in_at: float
    rule_out_at: float

    def probability(self, raw: float) -> float:
        """Calibrate one probability."""
        clipped = min(max(raw, EDGE), 1 - EDGE)
        return 1 / (1 + math.exp(-(self.slope * math.log(clipped / (1 - clipped)) + self.offset)))

    def decision(self, mended: float) -> Verdict:
        """Return the one answer that is not ruled out; "cannot tell" where that is both or neither."""
        present, absent = mended >= self.rule_in_at, mended <= self.rule_out_at
        return "cannot tell" if present == absent else "present" if present else "absent"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Calibrate the probabilities of one model.

    Attributes:
        weights_sha256: of the weights it was fitted to; it is used with no others.
        prompts: templates it was fitted with.
        method: "temperature" or "platt".
        coverage: the share of scans with, and of scans without a finding whose verdict is not the wrong one.
        fitted_on: in words.
        mendings: by abnormality.
    """

    weights_sha256: str
    prompts: tuple[str, ...]
    method: str
    coverage: float
    fitted_on: str
    mendings: Mapping[str, LabelCalibration]

    def probabilities(self, names: Sequence[str], raw: Sequence[float]) -> tuple[float, ...]:
        """Calibrate the probabilities of names with a calibration; the others pass unchanged."""
        return tuple(self.mendings[name].probability(p) if name in self.mendings else p for name, p in zip(names, raw, strict=True))

    def verdicts(self, names: Sequence[str], mended: Sequence[float]) -> tuple[Verdict | None, ...]:
        """Compare calibrated probabilities with thresholds; None for a name without a calibration."""
        return tuple(self.mendings[name].decision(p) if name in self.mendings else None for name, p in zip(names, mended, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"format": FORMAT, "notice": RESEARCH_USE, **asdict(self)}


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Write the calibration beside the weights; whole or not at all."""
    write_json(folder / CALIBRATION, calibration.as_dict(), indent=1)


def read_calibration(folder: Path, *, weights_sha256: str, prompts: Sequence[str]) -> Calibration | None:
    """Read the calibration beside a model; None where there is none.

    Raises:
        ModelFolderInvalid: damaged, or fitted to other weights or prompts.
    """
    path = folder / CALIBRATION
    if not path.is_file():
        return None
    calibration = read_json_object(
        path, parse=_parse, refusal=ModelFolderInvalid, detail="is no calibration", hint=_HINT, tag=("format", FORMAT)
    )
    if calibration.weights_sha256 != weights_sha256 or calibration.prompts != tuple(prompts):
        raise ModelFolderInvalid("was fitted to other weights or prompts than this folder's", hint=_HINT, source=path)
    return calibration


def _parse(values: Mapping[str, Any]) -> Calibration:
    fields = {name: value for name, value in values.items() if name not in ("format", "notice")}
    mendings = {str(name): _mending(mending) for name, mending in fields.pop("mendings").items()}
    return Calibration(**{**fields, "prompts": tuple(fields["prompts"])}, mendings=mendings)


def _mending(values: Mapping[str, Any]) -> LabelCalibration:
    calibration = LabelCalibration(**{name: float(value) for name, value in values.items()})
    if not all(map(math.isfinite, asdict(calibration).values())) or calibration.slope <= 0:
        raise ValueError("numbers that cannot be")
    return calibration
