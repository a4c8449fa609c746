"""Conversations packed for training: what is asked about a scan shares the scan's rows, and rows of ids are filled to one length.

A tree is the beginning that several conversations have in common (system prompt, scan) and a branch for each rest. A branch sees the
beginning and itself, and its positions go on from there, so that each conversation gets the loss it would have alone, while a scan is
read once for all that is asked about it. Rows hold as many trees as fit; trees do not see each other.

Shapes: B rows, N ids of a row, I scans of all rows in their order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from thoracle.cohort.vqa.vqa_file import QuestionSet
from thoracle.errors import InputError
from thoracle.models.chat.chat_template import ChatTemplate, Encoded
from thoracle.models.chat.prompt import IGNORE_INDEX, IMAGE_TOKEN_INDEX, SYSTEM, Message, question_text
from thoracle.training.engine.task import PinnedBatch

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SharedPrefix:
    """Hold conversations on the same scans.

    Attributes:
        images: names of the scans.
        prefix: ids that all begin with.
        continuations: what follows in each.
    """

    images: tuple[str, ...]
    prefix: tuple[int, ...]
    continuations: tuple[Encoded, ...]

    def __len__(self) -> int:
        return len(self.prefix) + sum(map(len, self.continuations))


@dataclass(frozen=True, kw_only=True)
class PackedSequence:
    """Hold trees that are read side by side."""

    trees: tuple[SharedPrefix, ...]

    def __len__(self) -> int:
        return sum(map(len, self.trees))


@dataclass(frozen=True, kw_only=True, eq=False)
class ChatBatch(PinnedBatch):
    """Hold rows as the model takes them.

    Attributes:
        ids_BN: with `IMAGE_TOKEN_INDEX` where a scan's rows stand.
        targets_BN: the id that follows; `IGNORE_INDEX` where it is not an answer's.
        weights_BN: of each target in the loss.
        tree_BN, branch_BN: which tree and branch an id is of; branch 0 is the stem; tree -1 is padding.
        positions_BN: in its own conversation.
        scans_I: as `ScanTokens` keeps them; None where there are none.
        names: of the scans.
    """

    ids_BN: Tensor
    targets_BN: Tensor
    weights_BN: Tensor
    tree_BN: Tensor
    branch_BN: Tensor
    positions_BN: Tensor
    scans_I: Tensor | None
    names: tuple[str, ...]

    def to(self, device: torch.device) -> ChatBatch:
        """Move the batch to a device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


class PackedDataset:
    """Feed packed sequences of at most `length` ids, always the same from the same conversations; the longest conversation first.

    Args:
        trees: the conversations.
        length: the most ids of a sequence.
        packed: fill sequences with as many as fit; otherwise each conversation is one.
    """

    def __init__(self, trees: Iterable[SharedPrefix], *, length: int, packed: bool = True) -> None:
        trees = trees if packed else (tree for grown in trees for tree in one_by_one(grown))
        longest_first = sorted(trees, key=lambda tree: -len(tree))
        self._rows = _filled(longest_first, length) if packed else [PackedSequence(trees=(tree,)) for tree in longest_first]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> PackedSequence:
        return self._rows[index]

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: nothing changes from epoch to epoch."""


def to_messages(conversation: QuestionSet) -> list[Message]:
    """Write the turns as they are asked of scans, with our system prompt."""
    turns = [Message(role="system", content=SYSTEM)]
    for number, pair in enumerate(conversation.pairs):
        question = question_text(pair.question, task=pair.task, images=0 if number else len(conversation.images))
        turns += [Message(role="user", content=question), Message(role="assistant", content=pair.answer)]
    return turns


def group_by_prefix(conversations: Iterable[QuestionSet], prompter: ChatTemplate, *, length: int) -> list[SharedPrefix]:
    """Group conversations to trees of at most `length` ids; longer conversations are left out, and counted in the log.

    Raises:
        InputError: none is short enough.
    """
    together: dict[tuple[str, ...], list[Encoded]] = {}
    too_long = 0
    for conversation in conversations:
        for encoded in prompter.encode_answers(to_messages(conversation)):
            if len(encoded) <= length:
                together.setdefault(conversation.images, []).append(encoded)
            else:
                too_long += 1
    if too_long:
        _log.warning("%d conversations have more than %d ids and are left out", too_long, length)
    trees = [tree for images, group in together.items() for tree in _trees(images, group, length)]
    if not trees:
        raise InputError(f"no conversation has {length} ids or fewer", hint="Raise length, or shorten the questions.", source="config")
    return trees


class PackedCollator:
    """Collate rows to a batch, with the scans as `scans` gives them by name; `weigh` is `loss_weight` of `ChatConfig`."""

    def __init__(self, scans: Callable[[str], Tensor], *, pad: int, weigh: str) -> None:
        self._scans, self._pad, self._weigh = scans, pad, weigh

    def __call__(self, rows: Sequence[PackedSequence]) -> ChatBatch:
        """Padded to the longest row."""
        size = (len(rows), max(map(len, rows)))
        ids, targets = torch.full(size, self._pad), torch.full(size, IGNORE_INDEX)
        weights, positions = torch.zeros(size), torch.zeros(size, dtype=torch.long)
        tree, branch = torch.full(size, -1), torch.zeros(size, dtype=torch.long)
        for b, row in enumerate(rows):
            at = 0
            for number, shared_prefix in enumerate(row.trees):
                parts = [
                    (0, Encoded(ids=shared_prefix.prefix, loss_mask=(False,) * len(shared_prefix.prefix))),
                    *enumerate(shared_prefix.continuations, start=1),
                ]
                for k, part in parts:
                    span = slice(at, at + len(part))
                    first = len(shared_prefix.prefix) if k else 0
                    ids[b, span] = torch.tensor(part.ids)
                    tree[b, span], branch[b, span] = number, k
                    positions[b, span] = torch.arange(first, first + len(part))
                    targets[b, span], weights[b, span] = self._scored(part)
                    at += len(part)
        names = tuple(name for row in rows for tree in row.trees for name in tree.images)
        scans = torch.stack([self._scans(name) for name in names]) if names else None
        return ChatBatch(
            ids_BN=ids,
            targets_BN=targets,
            weights_BN=weights,
            tree_BN=tree,
            branch_BN=branch,
            positions_BN=positions,
            scans_I=scans,
            names=names,
        )

    def _scored(self, part: Encoded) -> tuple[Tensor, Tensor]:
        """What follows each id, and how much it counts."""
        scored = torch.tensor([*part.loss_mask[1:], False])
        targets = torch.tensor([*part.ids[1:], IGNORE_INDEX]).where(scored, IGNORE_INDEX)
        count = int(scored.sum())
        return targets, scored.float() / (count**0.5 if self._weigh == "sqrt_length" and count else 1)


def attention_mask(batch: ChatBatch) -> Tensor:
    """Build (B, 1, N, N) bool: each id sees its own continuation and its prefix, up to itself; padding sees itself."""
    tree, branch, N = batch.tree_BN, batch.branch_BN, batch.ids_BN.shape[1]
    same = tree[:, :, None] == tree[:, None]
    near = (branch[:, :, None] == branch[:, None]) | (branch[:, None] == 0)
    before = torch.ones(N, N, dtype=torch.bool, device=tree.device).tril()
    return (same & near & before)[:, None]


def one_by_one(tree: SharedPrefix) -> Iterator[SharedPrefix]:
    """Yield each conversation of a tree as a tree of its own."""
    return (replace(tree, continuations=(continuation,)) for continuation in tree.continuations)


def _trees(images: tuple[str, ...], encoded: Sequence[Encoded], length: int) -> Iterator[SharedPrefix]:
    """As few as hold them, in order."""
    images = images if any(IMAGE_TOKEN_INDEX in sequence.ids for sequence in encoded) else ()
    group: list[Encoded] = []
    stem = 0
    for sequence in encoded:
        shared = _alike(group[0].ids[:stem], sequence.ids[: _most(sequence)]) if group else _most(sequence)
        if group and shared + sum(len(member) - shared for member in (*group, sequence)) > length:
            yield _tree(images, group, stem)
            group, shared = [], _most(sequence)
        group.append(sequence)
        stem = shared
    yield _tree(images, group, stem)


def _most(sequence: Encoded) -> int:
    """A stem ends before the first answer begins: what is scored has what it follows from in its own branch."""
    return sequence.loss_mask.index(True) - 1


def _alike(first: Sequence[int], second: Sequence[int]) -> int:
    return next((index for index, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))


def _tree(images: tuple[str, ...], group: Sequence[Encoded], stem: int) -> SharedPrefix:
    rest = tuple(Encoded(ids=sequence.ids[stem:], loss_mask=sequence.loss_mask[stem:]) for sequence in group)
    return SharedPrefix(images=images, prefix=group[0].ids[:stem], continuations=rest)


def _filled(trees: Sequence[SharedPrefix], length: int) -> list[PackedSequence]:
    """Each tree, longest first, into the fullest row that has room for it."""
    room: dict[int, list[list[SharedPrefix]]] = {}
    for tree in trees:
        left = next((space for space in range(len(tree), length + 1) if room.get(space)), None)
        row = room[left].pop() if left is not None else []
        row.append(tree)
        room.setdefault((length if left is None else left) - len(tree), []).append(row)
    return [PackedSequence(trees=tuple(row)) for space in sorted(room) for row in room[space]]
