"""Which conversations share a row: known before any is tokenised, full to the length, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from thoracle.cohort.vqa.question_file import Outline
from thoracle.training.chat import row_plan
from thoracle.training.chat.row_plan import RowPlan, plan_rows

STEM = np.array([10, 4])
LENGTH = 100


def _outline(count: int) -> tuple[Outline, np.ndarray]:
    """Half about one scan, half about none; each id is of 4 bytes, give or take one of eight."""
    rng = np.random.default_rng(0)
    own = rng.integers(5, 40, count)
    size = (4 * own * rng.uniform(0.9, 1.1, count)).astype(np.int32)
    return Outline(images=[("v",), ()], group_K=(np.arange(count) % 2).astype(np.int32), size_K=size), own


def _plan(count: int, monkeypatch: pytest.MonkeyPatch, *, sample: int) -> tuple[RowPlan, np.ndarray, list[int]]:
    outlined, own = _outline(count)
    measured: list[int] = []

    def measure(number: int) -> tuple[int, int]:
        measured.append(number)
        return int(own[number]), int(own[number] + STEM[number % 2])

    monkeypatch.setattr(row_plan, "_SAMPLE", sample)
    plan = plan_rows(outlined, measure, STEM, length=LENGTH, packed=True)
    assert plan is not None
    return plan, own, measured


def _lengths(plan: RowPlan, own: np.ndarray) -> list[int]:
    return [int(sum(own[tree].sum() + STEM[tree[0] % 2] for tree in plan.row(k))) for k in range(len(plan))]


def test_rows_of_measured_conversations_are_never_longer_and_hold_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, own, measured = _plan(500, monkeypatch, sample=500)
    assert measured == list(range(500))
    assert max(_lengths(plan, own)) <= LENGTH
    assert sorted(number for k in range(len(plan)) for tree in plan.row(k) for number in tree.tolist()) == list(range(500))
    assert all(len({number % 2 for number in tree.tolist()}) == 1 for k in range(len(plan)) for tree in plan.row(k))
    longest, most = plan.telling
    assert any(number == own.argmax() or own[number] == own.max() for tree in plan.row(longest) for number in tree.tolist())
    assert sum(map(len, plan.row(most))) == max(sum(map(len, plan.row(k))) for k in range(len(plan)))


def test_rows_of_estimated_conversations_are_about_as_full_and_a_part_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, own, measured = _plan(2000, monkeypatch, sample=100)
    exact, _, _ = _plan(2000, monkeypatch, sample=2000)
    assert len(set(measured)) == len(measured) < 500
    assert np.mean(np.array(_lengths(plan, own)) <= LENGTH) > 0.8
    assert max(_lengths(plan, own)) <= 1.1 * LENGTH
    assert len(plan) == pytest.approx(len(exact), rel=0.05)
    again, _, _ = _plan(2000, monkeypatch, sample=100)
    assert all(np.array_equal(getattr(plan, name), getattr(again, name)) for name in ("members", "tree_starts", "trees", "row_starts"))


def test_what_is_too_long_or_empty_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    outlined, _ = _outline(6)
    lengths = [(20, 30), (0, 0), (91, 101), (20, 24), (90, 100), (0, 0)]
    plan = plan_rows(outlined, lengths.__getitem__, STEM, length=LENGTH, packed=True)
    assert plan is not None
    assert sorted(plan.members.tolist()) == [0, 3, 4]
    assert "1 conversations have more than 100 ids and are left out" in caplog.text
    assert "2 conversations about no scan have nothing to be trained on" in caplog.text
    assert plan_rows(outlined, lambda _: (100, 110), STEM, length=LENGTH, packed=True) is None
    alone = plan_rows(outlined, lengths.__getitem__, STEM, length=LENGTH, packed=False)
    assert alone is not None
    assert [[tree.tolist() for tree in alone.row(k)] for k in range(len(alone))] == [[[0]], [[4]], [[3]]]
