from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from thoracle.inference.labeler.negation_scope import AssertionScope


def judged(sentence: str) -> tuple[str, str]:
    """How the words in [brackets] are meant, and the cue."""
    start, end = sentence.index("["), sentence.index("]") - 1
    judgement = AssertionScope(sentence.replace("[", "").replace("]", "")).classify(start, end)
    return judgement.assertion, judgement.cue


@pytest.mark.parametrize(
    ("sentence", "assertion", "cue"),
    [
        ("There is a [nodule] in the lingula", "affirmed", ""),
        ("No [nodule], mass or cavity", "negated", "no"),
        ("No nodule, mass or [cavity]", "negated", "no"),
        ("A [nodule] or a cavity was not found on either side", "negated", "was not found"),
        ("The lungs are clear without [effusion]", "negated", "without"),
        ("The airways are free of [stenosis]", "negated", "free of"),
        ("There is no hernia, and a [nodule] is seen in the lingula", "affirmed", ""),
        ("There is no hernia but a [nodule] in the lingula", "affirmed", ""),
        ("A nodule is present and [effusion] is not seen", "negated", "is not seen"),
        ("A [nodule] is present and effusion is not seen", "affirmed", ""),
        ("The [nodule], which was seen in March, is no longer visible", "negated", "is no longer visible"),
        ("A [nodule] that was not seen in the previous scan has come up", "affirmed", ""),
        ("There is no change in the [nodule]", "affirmed", ""),
        ("No significant difference in size of the [nodules] was found", "affirmed", ""),
        ("Scanned without contrast, and [effusion] is seen", "affirmed", ""),
        ("Nodes that are not pathological in size: [nodes] of 4 mm", "affirmed", ""),
        ("A [thrombus] cannot be excluded", "uncertain", "cannot be excluded"),
        ("Possible [pneumonia] in the lingula", "uncertain", "possible"),
        ("A faint [nodule]?", "uncertain", "?"),
        ("History of [sarcoidosis]", "historical", "history of"),
        ("Family history of [emphysema]", "other person", "family history of"),
        ("His mother had [emphysema]", "other person", "his mother had"),
        ("The [effusion] has completely resolved", "negated", "has completely resolved"),
        ("The [catheter] was removed", "negated", "was removed"),
        ("Pericardial [effusion] - no thickening was seen", "negated", "- no"),
    ],
)
def test_how_a_mention_is_meant(sentence: str, assertion: str, cue: str) -> None:
    assert judged(sentence) == (assertion, cue)


def test_negation_of_real_clinical_sentences(data_dir: Path) -> None:
    """Issue 5's floor; the concept is written in capitals, and found by that where it occurs twice."""
    with (data_dir / "reports" / "negex_sentences.txt").open(encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    truth, said = [], []
    for _, concept, sentence, negation in rows:
        found = list(re.finditer(r"\s+".join(map(re.escape, concept.split())), sentence, re.IGNORECASE))
        at = next((one for one in found if one.group().isupper()), found[0] if found else None)
        truth.append(negation == "Negated")
        said.append(at is not None and AssertionScope(sentence).classify(at.start(), at.end()).assertion == "negated")
    assert len(rows) == 1188
    assert sum(a == b for a, b in zip(truth, said, strict=True)) / len(rows) >= 0.98
    assert sum(a and b for a, b in zip(truth, said, strict=True)) / sum(truth) >= 0.96
