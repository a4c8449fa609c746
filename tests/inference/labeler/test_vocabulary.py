from __future__ import annotations

import re
from pathlib import Path

import pytest

from thoracle.errors import InputError
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.inference.labeler.vocabulary import builtin_vocabulary, fingerprint, read_vocabulary
from thoracle.types import ABNORMALITIES

OWN = """
abnormalities:
  - abnormality: Pneumothorax
    about: Air in the pleural space.
    rules:
      - id: pneumothorax
        find: ['pneumothora\\w+', 'ptx']
  - abnormality: Rib fracture
    rules:
      - id: fracture
        find: ['fractures?']
        require: ['ribs?']
        exclude: ['vertebra\\w*']
        anchor: ['ribs?']
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    return path


def test_every_abnormality_has_rules_and_every_rule_a_name() -> None:
    rules = builtin_vocabulary().rules
    assert {rule.abnormality for rule in rules} == set(range(len(ABNORMALITIES)))
    names = [rule.name for rule in rules]
    assert len(set(names)) == len(names)


def test_every_abnormality_is_found_by_its_own_name() -> None:
    for number, name in enumerate(ABNORMALITIES):
        assert any(rule.abnormality == number and rule.find.search(name.lower()) for rule in builtin_vocabulary().rules), name


def test_rules_are_told_from_other_rules(tmp_path: Path) -> None:
    assert re.fullmatch("[0-9a-f]{64}", fingerprint())
    own = read_vocabulary(written(tmp_path, OWN)).fingerprint
    other = read_vocabulary(written(tmp_path, OWN.replace("ptx", "ptxs"))).fingerprint
    assert len({fingerprint(), own, other}) == 3


def test_abnormalities_of_ones_own_are_labelled(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(written(tmp_path, OWN))
    labeller = RuleLabeller(vocabulary)
    reports = ["Pneumothorax: none. Old fracture of the left seventh rib.", "Small right pneumothorax, no rib fracture.", "Fracture of T8."]
    labels = labeller.label(reports)
    assert labeller.abnormalities == ("Pneumothorax", "Rib fracture")
    assert [row.values for row in labels] == [(0, 1), (1, 0), (0, 0)]
    assert [row.states for row in labels] == [("denied", "stated"), ("stated", "denied"), ("not mentioned", "not mentioned")]
    assert list(labels[0].as_dict()["labels"]) == ["Pneumothorax", "Rib fracture"]
    assert labeller.label(["Kein Pneumothorax."])[0].values == (None, None)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("[1, 2", "is not YAML"),
        ("rules: []", "expected one key, abnormalities"),
        ("abnormalities: []", "abnormalities: expected a list"),
        (OWN.replace("abnormality: Rib fracture", "name: Rib fracture"), r"abnormalities\[1\]: expected the keys"),
        (OWN.replace("Rib fracture", "Pneumothorax"), r"abnormalities\[1\]\.abnormality: expected a name that no other has"),
        (
            OWN.replace("id: fracture", "id: fracture\n        finds: [a]"),
            r"abnormalities\[1\]\.rules\[0\]: expected id, find.*not 'finds'",
        ),
        (OWN.replace("['fractures?']", "fractures?"), r"abnormalities\[1\]\.rules\[0\]\.find: expected a list, is 'fractures\?'"),
        (OWN.replace("'ptx'", "'(ptx'"), r"rules\[0\]\.find\[1\]: '\(ptx' is no expression"),
        (OWN.replace("'ptx'", "7"), r"rules\[0\]\.find\[1\]: expected an expression, is 7"),
        (OWN.replace("'ptx'", "'x*'"), r"rules\[0\]\.find\[1\]: 'x\*' matches nothing at all"),
        (OWN.replace("exclude:", "window: page\n        exclude:"), r"rules\[0\]\.window: expected phrase, clause, sentence, is 'page'"),
        (OWN.replace("exclude:", "split: few\n        exclude:"), r"rules\[0\]\.split: expected a whole number of words, is 'few'"),
        (OWN.replace("exclude:", "topic: 3\n        exclude:"), r"rules\[0\]\.topic: expected true or false"),
        (OWN.replace("exclude:", "positive: [yes]\n        exclude:"), r"rules\[0\]\.positive: expected some of affirmed"),
    ],
)
def test_what_is_wrong_with_a_file_of_rules_is_named(text: str, detail: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=detail) as caught:
        read_vocabulary(written(tmp_path, text))
    assert "docs/label.md" in caught.value.hint


def test_a_file_of_rules_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_vocabulary(tmp_path / "none.yaml")
