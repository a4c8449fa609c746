"""Plan which conversations share a row before any is tokenised: by lengths that are measured of a sample and estimated of the rest.

Of a file of millions, a sample's lengths say how many ids a text of so many bytes has. What is too long, or might be, is measured itself.
A row is full by its estimate, so that it may be a few ids longer than planned; which conversations it holds never changes.

Shapes: K conversations, T trees, R rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thoracle.cohort.vqa.question_file import Outline

#: So many conversations are measured: a quarter of a minute.
_SAMPLE: Final = 1 << 14
#: More than what is estimated, so that few rows become longer than planned.
_MARGIN: Final = 1.02
#: Of the longest length; what is estimated to be shorter is not longer than the whole.
_SURELY_SHORT: Final = 0.75
_log = logging.getLogger(__name__)
Numbers = NDArray[np.int64]
#: Ids of a conversation that it shares with no other, and of its longest sequence, by its number.
Measure = Callable[[int], tuple[int, int]]


@dataclass(frozen=True, kw_only=True, eq=False)
class RowPlan:
    """Say which trees a row holds, and which conversations a tree.

    Attributes:
        members: numbers of conversations, tree after tree.
        tree_starts: where each tree begins among them, and their end.
        trees: numbers of trees, row after row.
        row_starts: where each row begins among them, and their end.
        telling: the row of the longest conversation, and the row of most conversations.
    """

    members: Numbers
    tree_starts: Numbers
    trees: Numbers
    row_starts: Numbers
    telling: tuple[int, int]

    def __len__(self) -> int:
        return len(self.row_starts) - 1

    def row(self, index: int) -> list[Numbers]:
        """Return the conversations of each tree of a row."""
        trees = self.trees[self.row_starts[index] : self.row_starts[index + 1]]
        return [self.members[self.tree_starts[tree] : self.tree_starts[tree + 1]] for tree in trees]


def plan_rows(conversations: Outline, measure: Measure, stem_G: Numbers, *, length: int, packed: bool) -> RowPlan | None:
    """Fill rows of about `length` ids; None where no conversation is short enough.

    Conversations that are longer than a row, or in which nothing is trained on, are left out, and counted in the log.

    Args:
        conversations: all that there are.
        measure: tokenises one of them.
        stem_G: ids that all about the same images begin with, by the number of these.
        length: the most ids of a row.
        packed: fill rows with as many as fit; otherwise each conversation is one.
    """
    own_K, longest_K = _lengths(conversations, measure, stem_G, length)
    too_long, empty = int((longest_K > length).sum()), int((longest_K == 0).sum())
    if too_long:
        _log.warning("%d conversations have more than %d ids and are left out", too_long, length)
    if empty:
        _log.warning("%d conversations about no scan have nothing to be trained on here and are left out", empty)
    short = np.flatnonzero((longest_K <= length) & (longest_K > 0))
    if not len(short):
        return None
    members = short[np.argsort(conversations.group_K[short], kind="stable")]
    groups = conversations.group_K[members]
    starts = _tree_starts(groups, own_K[members], stem_G, length) if packed else np.arange(len(members))
    length_T = np.add.reduceat(own_K[members], starts) + stem_G[groups[starts]]
    rows = _filled(length_T, length) if packed else [[tree] for tree in range(len(starts))]
    tree_starts = np.append(starts, len(members))
    trees, row_starts = np.array([tree for row in rows for tree in row]), np.cumsum([0, *map(len, rows)])
    most_R = np.add.reduceat(np.diff(tree_starts)[trees], row_starts[:-1])
    longest_R = np.maximum.reduceat(np.maximum.reduceat(longest_K[members], starts)[trees], row_starts[:-1])
    telling = (int(longest_R.argmax()), int(most_R.argmax()))
    return RowPlan(members=members, tree_starts=tree_starts, trees=trees, row_starts=row_starts, telling=telling)


def _lengths(conversations: Outline, measure: Measure, stem_G: Numbers, length: int) -> tuple[Numbers, Numbers]:
    """Ids of each conversation that are its own, and of its longest sequence."""
    count, size_K = len(conversations.size_K), conversations.size_K
    own_K, longest_K, estimated_K = np.zeros(count, np.int64), np.zeros(count, np.int64), np.ones(count, bool)

    def measured(numbers: Sequence[int]) -> None:
        for number in numbers:
            own_K[number], longest_K[number] = measure(number)
        estimated_K[numbers] = False

    sample = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(int))
    measured(sample.tolist())
    if estimated_K.any():
        slope, offset = np.polyfit(size_K[sample].astype(float), own_K[sample], 1)
        own_K[estimated_K] = np.maximum(1, np.ceil(_MARGIN * (slope * size_K[estimated_K] + offset)))
        longest_K[estimated_K] = own_K[estimated_K] + stem_G[conversations.group_K[estimated_K]]
        measured(np.flatnonzero(estimated_K & (longest_K > _SURELY_SHORT * length)).tolist())
    return own_K, longest_K


def _tree_starts(groups: NDArray[Any], own: Numbers, stem_G: Numbers, length: int) -> Numbers:
    """Where trees begin in conversations that are sorted by group: as few as hold them, in order."""
    starts: list[int] = []
    borders = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(groups)]
    for first, last in pairwise(borders):
        stem, used = int(stem_G[groups[first]]), length + 1
        for position, more in enumerate(own[first:last].tolist(), start=first):
            if used + more > length:
                starts.append(position)
                used = stem
            used += more
    return np.array(starts)


def _filled(length_T: Numbers, length: int) -> list[list[int]]:
    """Each tree, longest first, into the fullest row that has room for it."""
    room: dict[int, list[list[int]]] = {}
    spaces = 1 << length  # a bit for each space that a row has; the last is a new row's
    for tree in np.argsort(-length_T, kind="stable").tolist():
        size = min(int(length_T[tree]), length)
        enough = spaces >> size
        space = size + (enough & -enough).bit_length() - 1
        row = room[space].pop() if room.get(space) else []
        if space < length and not room[space]:
            spaces ^= 1 << space
        row.append(tree)
        room.setdefault(space - size, []).append(row)
        spaces |= 1 << (space - size)
    return [row for space in sorted(room) for row in room[space]]
