"""Question files of any size: read by place, noted once, the same on any number of processes, and refused where they are hostile."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from thoracle.cohort.vqa import question_file
from thoracle.cohort.vqa.question_file import open_questions, outline
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet, parse_entry, write_questions
from thoracle.errors import InputError, MetadataError

TURNS = [{"from": "human", "value": "Is it there?"}, {"from": "gpt", "value": "Yes."}]


def _entry(number: int) -> dict[str, object]:
    """Every fourth is about no scan, every fifth holds brackets, quotes and letters that are not ASCII."""
    said = 'Seen, }, {"id": 3}, [ "quoted" \\ größer als 5 mm 肺' if number % 5 == 0 else f"Answer {number}."
    image = {} if number % 4 == 0 else {"image": f"v{number % 7}.nii.gz"}
    return {"id": f"q{number}", **image, "conversations": [TURNS[0], {"from": "gpt", "value": said}]}


ENTRIES = [_entry(number) for number in range(400)]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_in_parts_is_what_it_is_as_a_whole(
    ascii_only: bool, indent: int | None, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vqa.json"
    path.write_text(f" \n{json.dumps(ENTRIES, ensure_ascii=ascii_only, indent=indent)}\n")
    whole = open_questions(path)
    monkeypatch.setattr(question_file, "_PART", 4096)
    monkeypatch.setattr(question_file, "_LONGEST", 1024)
    assert len(question_file._parts(path)) > 8
    parts = open_questions(path, workers=workers)
    assert list(parts) == list(whole) == [parse_entry(entry) for entry in ENTRIES]
    assert parts.images == whole.images
    assert np.array_equal(parts.notes_K, whole.notes_K)
    assert outline(parts).names == {f"v{k}.nii.gz" for k in range(7)}


def test_what_is_noted_is_kept_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = tmp_path / "vqa.json", tmp_path / "notes"
    path.write_text(json.dumps(ENTRIES))
    first = list(open_questions(path, cache=cache))
    with monkeypatch.context() as patch:
        patch.setattr(question_file, "_go_through", lambda *_: pytest.fail("it was gone through again"))
        again = open_questions(path, cache=cache)
    assert list(again) == first
    assert isinstance(again.notes_K, np.memmap), "ranks share its pages"
    assert {file.stat().st_mode & 0o077 for file in cache.iterdir()} == {0}, "names of volumes are the owner's"
    path.write_text(json.dumps(ENTRIES[:3]))
    assert len(open_questions(path, cache=cache)) == 3
    with pytest.raises(MetadataError, match="an entry changed while it was used"):
        again[399]


def test_some_of_them_are_chosen_by_number_mask_and_slice(tmp_path: Path) -> None:
    path = tmp_path / "vqa.json"
    path.write_text(json.dumps(ENTRIES))
    questions = open_questions(path)
    assert [one.id for one in questions.select(np.array([3, 1]))] == ["q3", "q1"]
    about_none = questions.select(np.array([not questions.images[k] for k in questions.notes_K["images"]]))
    assert [one.id for one in about_none[:3]] == ["q0", "q4", "q8"]
    assert outline(list(questions)).names == outline(questions).names


def test_an_empty_list_is_a_file_of_no_questions(tmp_path: Path) -> None:
    write_questions(tmp_path / "vqa.json", [])
    assert len(open_questions(tmp_path / "vqa.json")) == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "no list"),
        ("{}", "no list"),
        ("", "no list"),
        ("[", "cannot be read"),
        ("[{]", "entry 0: it cannot be read"),
        ("[" * 100_000 + "]" * 100_000, "entry 0: it cannot be read"),
        ('[{"id": 1, "image": "v", "conversations": []}]', "entry 0: it is of another form"),
        ('[{"id": 1, "image": "v", "conversations": [{"from": "gpt", "value": "x"}, {"from": "gpt", "value": "y"}]}]', "human"),
        ('[{"id": 1, "image": 3, "conversations": []}]', "entry 0"),
        ('[{"id": 1, "image": [3], "conversations": [1, 2]}]', "entry 0"),
        (f'[{json.dumps({"id": 1, "conversations": TURNS})} {json.dumps({"id": 2, "conversations": TURNS})}]', "entry 1.*no comma"),
        (f'[{json.dumps({"id": 1, "conversations": TURNS})},]', "entry 1: it cannot be read"),
        (f'[{json.dumps({"id": 1, "conversations": TURNS})}, 7]', "entry 1"),
        (f'[{json.dumps({"conversations": TURNS})}]', "entry 0.*needs an id"),
        (f'[{{"id": 1, "n": {"9" * 5000}}}]', "entry 0"),
        (f'[{{"id": "{"x" * (5 << 20)}"}}]', "entry 0"),
        (f'[{json.dumps({"id": 1, "conversations": [TURNS[0], {"from": "gpt", "value": "x" * 60_000}]})}]', "more than 50,000 characters"),
    ],
)  # fmt: skip
def test_another_form_is_refused_with_its_entry(content: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "vqa.json").write_text(content)
    with pytest.raises(MetadataError, match=why):
        open_questions(tmp_path / "vqa.json")


def test_bytes_that_are_no_text_and_files_that_are_absent_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_questions(tmp_path / "absent.json")
    (tmp_path / "vqa.json").write_bytes(b'[{"id": "\xff\xfe", "conversations": []}]')
    with pytest.raises(MetadataError, match="entry 0"):
        open_questions(tmp_path / "vqa.json")


def test_a_fault_in_a_later_part_is_named_by_its_place_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question_file, "_PART", 4096)
    monkeypatch.setattr(question_file, "_LONGEST", 1024)
    (tmp_path / "vqa.json").write_text(json.dumps([*ENTRIES[:300], {"id": 1, "conversations": []}, *ENTRIES[300:]]))
    with pytest.raises(MetadataError, match="entry 300: it is of another form"):
        open_questions(tmp_path / "vqa.json", workers=2)


def test_a_part_that_begins_within_an_entry_is_found_out_and_the_whole_is_gone_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects within an entry that look like entries."""
    entries = [{**_entry(k), "seen": [{"id": 1}, {"id": 2}, {"id": 3}]} for k in range(200)]
    (tmp_path / "vqa.json").write_text(json.dumps(entries))
    monkeypatch.setattr(question_file, "_PART", 4096)
    monkeypatch.setattr(question_file, "_LONGEST", 1024)
    assert [one.id for one in open_questions(tmp_path / "vqa.json")] == [f"q{k}" for k in range(200)]


def test_a_list_is_outlined_as_a_file_is() -> None:
    pair = QuestionAnswer(question="12345", answer="678", task="short_answer", type="short_answer")
    listed = outline([QuestionSet(id="a", images=("v",), pairs=(pair, pair)), QuestionSet(id="b", images=(), pairs=(pair,))])
    assert (listed.images, listed.group_K.tolist(), listed.size_K.tolist()) == ([("v",), ()], [0, 1], [16, 8])
