from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoracle.errors import ModelFolderInvalid
from thoracle.inference.labeler.decision import AS_PUBLISHED, LabelerDecisionRule, read_decision_rule, save_decision_rule
from thoracle.models.bundle.model_folder import LABELLING
from thoracle.types import ABNORMALITIES

RULE = LabelerDecisionRule(
    weights_sha256="a" * 64, rules="r", fitted_on="200 reports", decisions=dict.fromkeys(ABNORMALITIES, AS_PUBLISHED)
)


def test_a_rule_belongs_to_one_classifiers_weights(tmp_path: Path) -> None:
    assert read_decision_rule(tmp_path, weights_sha256="a" * 64) is None
    save_decision_rule(tmp_path, RULE)
    assert read_decision_rule(tmp_path, weights_sha256="a" * 64) == RULE
    with pytest.raises(ModelFolderInvalid, match="other weights"):
        read_decision_rule(tmp_path, weights_sha256="b" * 64)


@pytest.mark.parametrize("change", [{"decisions": {}}, {"format": "other"}])
def test_a_damaged_rule_is_refused(change: dict, tmp_path: Path) -> None:
    (tmp_path / LABELLING).write_text(json.dumps({**RULE.as_dict(), **change}))
    with pytest.raises(ModelFolderInvalid):
        read_decision_rule(tmp_path, weights_sha256="a" * 64)


def test_as_published_the_logit_alone_decides() -> None:
    assert AS_PUBLISHED.probability(0.0, 1) == 0.5
    assert AS_PUBLISHED.probability(1e6, 0) == pytest.approx(1.0)
    assert AS_PUBLISHED.probability(-1e6, 0) == pytest.approx(0.0)
