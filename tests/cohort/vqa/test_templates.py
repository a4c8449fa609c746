"""Questions by templates: balanced, deterministic, true to labels, facts and masks, and through the published file unchanged."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cohort.vqa.scans import drawn_case, fixed_cases
from thoracle.cohort.vqa.attributes import FindingAttributes, facts_in, facts_of_mask, keyword_evidence
from thoracle.cohort.vqa.case import Case
from thoracle.cohort.vqa.question_file import open_questions
from thoracle.cohort.vqa.templates import make_questions
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet, write_questions
from thoracle.errors import InputError, MetadataError
from thoracle.types import ABNORMALITIES

LOWER = ("right lower lobe", "left lower lobe")


def test_presence_is_balanced_for_each_abnormality_and_true() -> None:
    scans = fixed_cases(60)
    labels = {case.volume: dict(zip(ABNORMALITIES, case.labels, strict=True)) for case in scans}
    made = list(make_questions(scans, seed=1))
    assert made == list(make_questions(scans, seed=1))
    assert made != list(make_questions(scans, seed=2))
    assert len({one.id for one in made}) == len(made)
    count: Counter[tuple[str, str]] = Counter()
    for one in made:
        for pair in one.pairs:
            if pair.topic == "presence":
                assert labels[one.images[0]][pair.about] == (pair.answer == "Yes.")
                count[pair.about, pair.answer] += 1
    assert all(count[name, "Yes."] == count[name, "No."] > 0 for name in ABNORMALITIES)


def test_changes_compare_two_scans_of_a_patient() -> None:
    scans = fixed_cases(60)
    labels = {case.volume: dict(zip(ABNORMALITIES, case.labels, strict=True)) for case in scans}
    changes = [(one.images, one.pairs[0]) for one in make_questions(scans) if one.pairs[0].topic == "change"]
    assert len({images for images, _ in changes}) == 30
    for images, pair in changes:
        before, after = (labels[name][pair.about] for name in images)
        assert pair.answer == {(0, 1): "New.", (1, 0): "Gone.", (1, 1): "Still there.", (0, 0): "Still absent."}[before, after]


@given(st.lists(drawn_case(), min_size=1, max_size=4, unique_by=lambda case: case.volume))
@settings(max_examples=40, deadline=None)
def test_no_two_questions_of_a_scan_ask_for_the_same_fact_in_the_same_task(scans: list[Case]) -> None:
    facts: Counter[tuple[str, ...]] = Counter()
    words: Counter[tuple[str, ...]] = Counter()
    for one in make_questions(scans, seed=5):
        for pair in one.pairs:
            facts[*one.images, pair.task, pair.topic, pair.about] += 1
            words[*one.images, pair.task, pair.question] += 1
    assert set(facts.values()) == set(words.values()) == {1}
    assert all(case.volume in {volume for volume, *_ in facts} for case in scans)


def test_a_scan_whose_labels_are_known_gives_a_hundred_pairs_a_third_of_them_with_long_answers() -> None:
    scans = fixed_cases(100, prevalence=0.19)  # as CT-RATE's
    pairs = [pair for one in make_questions(scans) for pair in one.pairs]
    tasks = Counter(pair.task for pair in pairs)
    assert 105 <= len(pairs) / len(scans) <= 130
    assert 0.29 < tasks["long_answer"] / len(pairs) < 0.4
    assert tasks["report_generation"] == len(scans)


def test_fewer_pairs_are_drawn_in_turn_of_topics_beside_presence_and_the_report() -> None:
    scans = fixed_cases(40)
    every = [(one.images, pair.topic, pair.question, pair.answer) for one in make_questions(scans) for pair in one.pairs]
    drawn = [(one.images, pair.topic, pair.question, pair.answer) for one in make_questions(scans, num_pairs=30) for pair in one.pairs]
    assert set(drawn) <= set(every)
    always = {entry for entry in every if entry[1] in ("presence", "report", "change")}
    assert always == {entry for entry in drawn if entry[1] in ("presence", "report", "change")}
    of_scan = Counter(images for images, topic, *_ in drawn if topic != "change")
    assert set(of_scan.values()) == {30}
    for case in scans:
        topics = Counter(topic for images, topic, *_ in drawn if images == (case.volume,) and topic not in ("presence", "report"))
        offered = Counter(topic for images, topic, *_ in every if images == (case.volume,) and topic not in ("presence", "report"))
        turns = max(topics.values())
        assert all(topics[topic] >= min(turns - 1, count) for topic, count in offered.items()), "each topic has its turn"


def test_four_questions_of_a_scan_are_turns_of_one_conversation_and_are_asked_nowhere_else() -> None:
    made = list(make_questions(fixed_cases(20)))
    alone = {(one.images, pair.question) for one in made if len(one.pairs) == 1 for pair in one.pairs}
    talks = [one for one in made if len(one.pairs) > 1]
    assert len(talks) == 20
    for one in talks:
        assert len({pair.question for pair in one.pairs}) == 4
        assert not {(one.images, pair.question) for pair in one.pairs} & alone
        assert {pair.type for pair in one.pairs} == {"conversation"}


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
    made = list(make_questions(fixed_cases(6)))
    write_questions(tmp_path / "vqa.json", iter(made))
    assert list(open_questions(tmp_path / "vqa.json")) == made
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
