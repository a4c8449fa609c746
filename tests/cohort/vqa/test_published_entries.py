"""Entries of the published layout are noted as going through them one by one notes them, or not at all."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.cohort.vqa import published_entries, question_file
from thoracle.cohort.vqa.published_entries import note_published

TURNS = [{"from": "human", "value": "Is it there? <short_answer>", "type": "short_answer"}, {"from": "gpt", "value": "Yes."}]
ENTRY: dict[str, Any] = {"id": "q", "image": "v.nii.gz", "conversations": TURNS}
#: Letters that could be taken for structure, escapes, and letters of one to four bytes.
TEXT = st.lists(st.sampled_from(['"', "\\", "{", "}", "[", "]", ",", ":", '}, {"id":', "\n", "ß", "肺", "😀", "a"]), max_size=8).map(
    "".join
)
TURN_PAIR = st.builds(lambda asked, said: [{**TURNS[0], "value": asked}, {**TURNS[1], "value": said}], TEXT, TEXT)
PUBLISHED = st.builds(
    lambda name, image, pairs, order: dict(
        sorted(
            {"id": name, "conversations": [turn for pair in pairs for turn in pair], **image}.items(), key=lambda item: order.index(item[0])
        )
    ),
    TEXT,
    st.sampled_from([{}, {"image": "v"}, {"image": ["v", "w"]}, {"image": ""}, {"image": None}]),
    st.lists(TURN_PAIR, min_size=1, max_size=3),
    st.permutations(["id", "image", "conversations"]),
)
#: Forms that only going through entries one by one takes, or refuses.
OTHER = st.sampled_from(
    [
        {**ENTRY, "id": 3},
        {**ENTRY, "seen": [{"id": 1}, {"id": 2}]},
        {"first": [ENTRY, ENTRY], **ENTRY},
        {"first": 1, "id": "q", "conversations": [{**TURNS[0], "seen": {"id": 1}}, TURNS[1]]},
        {**ENTRY, "conversations": TURNS[:1]},
        {**ENTRY, "conversations": TURNS[::-1]},
        {**ENTRY, "conversations": []},
        {**ENTRY, "conversations": [TURNS[0], {"from": "gpt", "value": "x" * 26_000}]},
        {**ENTRY, "conversations": [TURNS[0], {"from": "gpt", "value": "x" * 51_000}]},
        {**ENTRY, "conversations": [TURNS[0], {"from": "gpt", "value": "\ud800"}]},
        {**ENTRY, "id": float("nan")},
        {**ENTRY, "image": [1]},
        [],
        7,
    ]
)


def _noted_alike(content: bytes) -> bool:
    """Whether it is noted at all; what is noted must be what going through it one by one notes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vqa.json"
        path.write_bytes(content)
        part = range(1, len(content) - 1)
        published = note_published(path, part)
        if published is None:
            return False
        images, notes_K = question_file._note_any(path, part)
    assert published[0] == images
    assert np.array_equal(published[1], notes_K)
    assert published[1].dtype == notes_K.dtype
    return True


@given(st.lists(PUBLISHED, min_size=1, max_size=6), st.sampled_from([None, 1]), st.booleans(), st.integers(0, 3))
def test_published_entries_are_noted_to_the_byte(entries: list[object], indent: int | None, ascii_only: bool, blank: int) -> None:
    listed = json.dumps(entries, indent=indent, ensure_ascii=ascii_only)
    assert _noted_alike(f"[{' ' * blank}{listed[1:-1]}{' ' * blank}]".encode())


@given(st.lists(PUBLISHED, max_size=2), OTHER, st.lists(PUBLISHED, max_size=2))
def test_one_entry_of_another_form_leaves_all(before: list[object], other: object, after: list[object]) -> None:
    assert not _noted_alike(json.dumps([*before, other, *after]).encode())


@given(st.data())
def test_bytes_that_were_changed_are_noted_alike_or_left(data: st.DataObject) -> None:
    content = bytearray(json.dumps([ENTRY, {**ENTRY, "id": "ß"}, ENTRY], ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(1, len(content) - 2))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b'"', b"\\", b"}", b"{", b",", b"\xff", b"\0", b" ", b'},{"id":'])
        )
    _noted_alike(bytes(content))


@pytest.mark.parametrize("block", [1, 700, 1 << 17])
def test_entries_lie_across_blocks(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_entries, "_BLOCK", block)
    content = json.dumps([{**ENTRY, "id": str(k), "image": f"v{k % 7}"} for k in range(100)]).encode()
    assert _noted_alike(content) == (block > 1), "an entry longer than a block is left"
