"""Decide labels from a report classifier's logits, by settings kept beside its weights for `classifier` and `auto`.

MODEL/labelling.json holds for each abnormality how the network's logit and the rules' answer are added up, from which probability the
label is 1, and how well both alone did on the reports this was fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from thoracle.errors import ModelFolderInvalid
from thoracle.files.json_file import read_json_object, write_json
from thoracle.models.bundle.model_folder import LABELLING
from thoracle.types import ABNORMALITIES, RESEARCH_USE

FORMAT: Final = "thoracle.labelling/1"
_HINT: Final = "Remove it, or make it again with `thoracle evaluate labeler --backend classifier --save-decision-rule`."


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Decide one abnormality from the classifier's logit and the rule.

    Attributes:
        offset, logit, rule: the probability is the sigmoid of offset + logit x the network's logit + rule x the rules' 0 or 1.
        threshold: from which probability the label is 1.
        f1_classifier, f1_rules: of either, on reports that the numbers above were not fitted on.
    """

    offset: float
    logit: float
    rule: float
    threshold: float
    f1_classifier: float
    f1_rules: float

    def probability(self, logit: float, rule: int) -> float:
        """Return the probability that the report states the abnormality."""
        total = max(-700.0, min(700.0, self.offset + self.logit * logit + self.rule * rule))
        return 1 / (1 + math.exp(-total))


#: Of a classifier as published: the sigmoid of its logit, from one half.
AS_PUBLISHED: Final = Decision(offset=0.0, logit=1.0, rule=0.0, threshold=0.5, f1_classifier=0.0, f1_rules=0.0)


@dataclass(frozen=True, kw_only=True)
class LabelerDecisionRule:
    """Hold the decisions of one classifier.

    Attributes:
        weights_sha256: of the weights it was fitted to; it is used with no others.
        rules: the fingerprint of the rules it was fitted with.
        fitted_on: in words.
        decisions: by abnormality.
    """

    weights_sha256: str
    rules: str
    fitted_on: str
    decisions: Mapping[str, Decision]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"format": FORMAT, "notice": RESEARCH_USE, **asdict(self)}


def save_decision_rule(folder: Path, labelling: LabelerDecisionRule) -> None:
    """Write the decision rule beside the weights; whole or not at all."""
    write_json(folder / LABELLING, labelling.as_dict(), indent=1)


def read_decision_rule(folder: Path, *, weights_sha256: str) -> LabelerDecisionRule | None:
    """Read the decision rule beside a classifier; None where there is none.

    Raises:
        ModelFolderInvalid: damaged, or fitted to other weights.
    """
    path = folder / LABELLING
    if not path.is_file():
        return None
    labelling = read_json_object(
        path, parse=_parse, refusal=ModelFolderInvalid, detail="is no labelling", hint=_HINT, tag=("format", FORMAT)
    )
    if labelling.weights_sha256 != weights_sha256:
        raise ModelFolderInvalid("was fitted to other weights than this folder's", hint=_HINT, source=path)
    return labelling


def _parse(values: Mapping[str, Any]) -> LabelerDecisionRule:
    fields = {name: value for name, value in values.items() if name not in ("format", "notice")}
    decisions = {name: _decision(fields["decisions"][name]) for name in ABNORMALITIES}
    return LabelerDecisionRule(**{**fields, "decisions": decisions})


def _decision(values: Mapping[str, Any]) -> Decision:
    decision = Decision(**{name: float(value) for name, value in values.items()})
    if not all(map(math.isfinite, asdict(decision).values())):
        raise ValueError("numbers that cannot be")
    return decision
