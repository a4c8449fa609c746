"""Questions by templates: balanced, deterministic, true to labels, facts and masks, and through the published file unchanged."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from thoracle.cohort.vqa.attributes import FindingAttributes, facts_in, facts_of_mask, keyword_evidence
from thoracle.cohort.vqa.question_file import open_questions
from thoracle.cohort.vqa.templates import Case, make_questions
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet, write_questions
from thoracle.errors import InputError, MetadataError
from thoracle.types import ABNORMALITIES

LOWER = ("right lower lobe", "left lower lobe")


def cases(n: int) -> list[Case]:
    rng = np.random.default_rng(0)
    made = []
    for k in range(n):
        labels = tuple(int(label) for label in rng.random(18) < 0.3)
        facts = {
            name: FindingAttributes(side="left", lobes=("left upper lobe",), size_mm=12.0, count="two")
            for name, label in zip(ABNORMALITIES, labels, strict=True)
            if label
        }
        made.append(Case(volume=f"v{k}", patient=f"p{k // 2}", visit=1 + k % 2, labels=labels, facts=facts, report=f"Report {k}."))
    return made


def test_presence_is_balanced_for_each_abnormality_and_true() -> None:
    scans = cases(60)
    labels = {case.volume: dict(zip(ABNORMALITIES, case.labels, strict=True)) for case in scans}
    made = make_questions(scans, seed=1)
    assert made == make_questions(scans, seed=1)
    assert made != make_questions(scans, seed=2)
    assert len({one.id for one in made}) == len(made)
    count: Counter[tuple[str, str]] = Counter()
    for one in made:
        for pair in one.pairs:
            if pair.topic == "presence":
                assert labels[one.images[0]][pair.about] == (pair.answer == "Yes.")
                count[pair.about, pair.answer] += 1
    assert all(count[name, "Yes."] == count[name, "No."] > 0 for name in ABNORMALITIES)


def test_choices_have_one_right_answer_that_moves_and_changes_compare_two_scans_of_a_patient() -> None:
    scans = cases(60)
    labels = {case.volume: dict(zip(ABNORMALITIES, case.labels, strict=True)) for case in scans}
    letters: Counter[str] = Counter()
    lower = {name.lower(): name for name in ABNORMALITIES}
    for one in make_questions(scans):
        pair = one.pairs[0]
        if pair.topic == "choice":
            options = dict(part.split(") ") for part in pair.question.split("? ")[1].replace(" (", "\n(").split("\n"))
            right = [letter for letter, name in options.items() if labels[one.images[0]][lower[name]]]
            assert right == [pair.answer.split(")")[0]]
            letters[right[0]] += 1
        if pair.topic == "change":
            before, after = (labels[name][pair.about] for name in one.images)
            assert pair.answer == {(0, 1): "New.", (1, 0): "Gone.", (1, 1): "Still there.", (0, 0): "Still absent."}[before, after]
    assert len(letters) == 4
    assert max(letters.values()) - min(letters.values()) <= 3


def test_a_talk_asks_again_in_turn_what_was_asked_alone() -> None:
    made = make_questions(cases(20))
    alone = {(one.images, pair.question, pair.answer) for one in made if len(one.pairs) == 1 for pair in one.pairs}
    talks = [one for one in made if len(one.pairs) > 1]
    assert len(talks) == 20
    for one in talks:
        assert len({pair.question for pair in one.pairs}) == 4
        assert all((one.images, pair.question, pair.answer) in alone for pair in one.pairs)
        assert {pair.topic for pair in one.pairs} == {"conversation"}, "presence stays balanced"


@pytest.mark.parametrize(
    ("sentence", "facts"),
    [
        ("A 1.2 cm nodule is seen in the right upper lobe.", FindingAttributes(side="right", lobes=("right upper lobe",), size_mm=12.0)),
        ("Two nodules of 8x6 mm in the lower lobes of both lungs.", FindingAttributes(side="both", lobes=LOWER, size_mm=8.0, count="two")),
        ("Bilateral pleural effusion.", FindingAttributes(side="both")),
        ("Emphysema is present.", FindingAttributes()),
    ],
)  # fmt: skip
def test_sentences_tell_side_lobe_size_and_number(sentence: str, facts: FindingAttributes) -> None:
    assert facts_in([sentence]) == facts


def test_sentences_that_deny_are_no_evidence() -> None:
    found = keyword_evidence("No lung nodule is seen. A nodule of 5 mm is seen in the left lower lobe. No effusion.")
    assert found["Lung nodule"] == ["A nodule of 5 mm is seen in the left lower lobe."]


def test_masks_tell_side_number_and_size() -> None:
    mask = np.zeros((20, 10, 10), dtype=bool)
    assert facts_of_mask(mask, spacing=(2, 2, 4), midline=10) == FindingAttributes()
    mask[12:15, 2:4, 2:4] = True
    assert facts_of_mask(mask, spacing=(2, 2, 4), midline=10) == FindingAttributes(side="left", size_mm=8.0, count="one")
    mask[2:6, 2:4, 6:8] = True
    assert facts_of_mask(mask, spacing=(2, 2, 4), midline=10) == FindingAttributes(side="both", size_mm=8.0, count="two")


def test_the_published_form_goes_in_and_out(tmp_path: Path) -> None:
    made = make_questions(cases(6))
    write_questions(tmp_path / "vqa.json", made)
    assert tuple(open_questions(tmp_path / "vqa.json")) == made
    entry = json.loads((tmp_path / "vqa.json").read_text())[0]
    assert set(entry) == {"id", "image", "conversations"}
    assert entry["conversations"][0]["value"].startswith("<image>\n")
    published = [
        {
            "id": 7,
            "image": "valid_1_a_1.nii.gz",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat is seen? <long_answer>", "type": "free_response"},
                {"from": "gpt", "value": "An effusion."},
            ],
        }
    ]
    (tmp_path / "p.json").write_text(json.dumps(published))
    pair = QuestionAnswer(question="What is seen?", answer="An effusion.", task="long_answer", type="free_response", topic="long")
    assert tuple(open_questions(tmp_path / "p.json")) == (QuestionSet(id="7", images=("valid_1_a_1.nii.gz",), pairs=(pair,)),)


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"id": 1, "image": "a", "conversations": [{"from": "gpt", "value": "x"}]}]'])
def test_another_form_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "vqa.json").write_text(text)
    with pytest.raises(MetadataError, match="is no file of questions"):
        open_questions(tmp_path / "vqa.json")
    with pytest.raises(InputError, match="no such file"):
        open_questions(tmp_path / "absent.json")
