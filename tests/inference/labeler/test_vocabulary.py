from __future__ import annotations

import re

from thoracle.inference.labeler.vocabulary import fingerprint, rules
from thoracle.types import ABNORMALITIES


def test_every_abnormality_has_rules_and_every_rule_a_name() -> None:
    assert {rule.abnormality for rule in rules()} == set(range(len(ABNORMALITIES)))
    names = [rule.name for rule in rules()]
    assert len(set(names)) == len(names)


def test_every_abnormality_is_found_by_its_own_name() -> None:
    for number, name in enumerate(ABNORMALITIES):
        assert any(rule.abnormality == number and rule.find.search(name.lower()) for rule in rules()), name


def test_rules_are_told_from_other_rules() -> None:
    assert re.fullmatch("[0-9a-f]{64}", fingerprint())
