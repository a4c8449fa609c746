"""Calibrate a model's probabilities, by settings kept beside its weights.

MODEL/calibration.json holds, for each abnormality, how a probability is mended (sigmoid of slope x logit + offset, and of other
abnormalities' logits where they were fitted together), and beyond which mended probability an answer is ruled in or out with a stated
coverage; what lies between is "cannot tell".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
        slope: above 0, so that the order of scans stays where no other abnormality counts.
        offset: of the logit.
        rule_in_at: the least mended probability at which "present" is not ruled out.
        rule_out_at: the highest at which "absent" is not ruled out.
        others: slopes of other abnormalities' logits, by name.
    """

    slope: float
    offset: float
    rule_in_at: float
    rule_out_at: float
    others: Mapping[str, float] = field(default_factory=dict)

    def probability(self, raw: float, others: Mapping[str, float] | None = None) -> float:
        """Calibrate one probability; `others` has those of the other abnormalities, uncalibrated."""
        logit = self.slope * _logit(raw) + self.offset
        logit += sum(slope * _logit((others or {})[name]) for name, slope in self.others.items())
        return 1 / (1 + math.exp(-logit))

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
        method: "temperature", "platt" or "joint".
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

    def required(self, names: Sequence[str]) -> list[str]:
        """List the abnormalities, not among these, whose probabilities those of these are calibrated with."""
        others = (label for name in names if name in self.mendings for label in self.mendings[name].others)
        return [name for name in dict.fromkeys(others) if name not in names]

    def probabilities(self, names: Sequence[str], raw: Sequence[float]) -> tuple[float, ...]:
        """Calibrate the probabilities of names with a calibration; the others pass unchanged. `required` must be among the names."""
        every = dict(zip(names, raw, strict=True))
        return tuple(self.mendings[name].probability(p, every) if name in self.mendings else p for name, p in zip(names, raw, strict=True))

    def weights(self, names: Sequence[str]) -> tuple[list[list[float]], list[float]]:
        """Return what the logits of names are multiplied by (K, K), a row for each calibrated one, and offsets (K,).

        Without a calibration a name keeps its logit.
        """
        rows, offsets = [], []
        for name in names:
            mending = self.mendings.get(name, _UNCHANGED)
            slopes = {**mending.others, name: mending.slope}
            rows.append([slopes.get(column, 0.0) for column in names])
            offsets.append(mending.offset)
        return rows, offsets

    def verdicts(self, names: Sequence[str], mended: Sequence[float]) -> tuple[Verdict | None, ...]:
        """Compare calibrated probabilities with thresholds; None for a name without a calibration."""
        return tuple(self.mendings[name].decision(p) if name in self.mendings else None for name, p in zip(names, mended, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"format": FORMAT, "notice": RESEARCH_USE, **asdict(self)}


_UNCHANGED: Final = LabelCalibration(slope=1.0, offset=0.0, rule_in_at=0.0, rule_out_at=1.0)


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
    if unknown := {label for mending in mendings.values() for label in mending.others} - mendings.keys():
        raise ValueError(f"slopes of {', '.join(sorted(unknown))}, which it does not calibrate")
    return Calibration(**{**fields, "prompts": tuple(fields["prompts"])}, mendings=mendings)


def _mending(values: Mapping[str, Any]) -> LabelCalibration:
    numbers = {name: float(value) for name, value in values.items() if name != "others"}
    others = {str(name): float(slope) for name, slope in values.get("others", {}).items()}
    calibration = LabelCalibration(**numbers, others=others)
    if not all(map(math.isfinite, (*numbers.values(), *others.values()))) or calibration.slope <= 0:
        raise ValueError("numbers that cannot be")
    return calibration


def _logit(probability: float) -> float:
    clipped = min(max(probability, EDGE), 1 - EDGE)
    return math.log(clipped / (1 - clipped))
