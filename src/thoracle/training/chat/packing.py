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
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from thoracle.cohort.vqa.question_file import outline
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.errors import InputError
from thoracle.models.chat.chat_template import Encoded
from thoracle.models.chat.prompt import IGNORE_INDEX, IMAGE_TOKEN_INDEX, SYSTEM, Message, question_text
from thoracle.training.chat.row_plan import Numbers, plan_rows
from thoracle.training.engine.task import PinnedBatch

_log = logging.getLogger(__name__)


class AnswerEncoder(Protocol):
    """Encode a conversation whose answers are trained on: as one sequence, or as one for each answer."""

    def encode_answers(self, messages: Sequence[Message], /) -> tuple[Encoded, ...]: ...  # noqa: D102


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
    """Feed packed sequences of about `length` ids, always the same from the same conversations; these are read and tokenised when they are
    needed.

    Args:
        conversations: a list, or a file's.
        prompter: writes them.
        length: the most ids of a conversation, and about the most of a sequence.
        packed: fill sequences with as many as fit; otherwise each tree of one is to be read alone.

    Raises:
        InputError: no conversation is short enough.
    """

    def __init__(self, conversations: Sequence[QuestionSet], prompter: AnswerEncoder, *, length: int, packed: bool = True) -> None:
        self._conversations, self._prompter, self._length, self.packed = conversations, prompter, length, packed
        outlined = outline(conversations)
        stem = {count: _stem(prompter, count) for count in {len(group) for group in outlined.images}}
        stem_G = np.array([stem[len(group)] for group in outlined.images])

        def measure(number: int) -> tuple[int, int]:
            lengths = [len(sequence) for sequence in prompter.encode_answers(to_messages(conversations[number]))]
            return sum(lengths) - stem_G[outlined.group_K[number]] * len(lengths), max(lengths, default=0)

        plan = plan_rows(outlined, measure, stem_G, length=length, packed=packed)
        if plan is None:
            raise InputError(f"no conversation has {length} ids or fewer", hint="Raise length, or shorten the questions.", source="config")
        self._plan = plan

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> PackedSequence:
        trees = [tree for members in self._plan.row(index) for tree in self._read(members)]
        if not trees:  # all of it was estimated shorter than it is
            return self[(index + 1) % len(self)]
        return PackedSequence(trees=tuple(trees if self.packed else (alone for tree in trees for alone in one_by_one(tree))))

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: nothing changes from epoch to epoch."""

    def telling(self) -> list[PackedSequence]:
        """Return the sequence of the longest conversation, which windows matter to most, and that of the most conversations."""
        return [self[index] for index in self._plan.telling]

    def _read(self, members: Numbers) -> list[SharedPrefix]:
        return group_by_prefix([self._conversations[number] for number in members.tolist()], self._prompter, length=self._length)


def to_messages(conversation: QuestionSet) -> list[Message]:
    """Write the turns as they are asked of scans, with our system prompt."""
    turns = [Message(role="system", content=SYSTEM)]
    for number, pair in enumerate(conversation.pairs):
        question = question_text(pair.question, task=pair.task, images=0 if number else len(conversation.images))
        turns += [Message(role="user", content=question), Message(role="assistant", content=pair.answer)]
    return turns


def group_by_prefix(conversations: Iterable[QuestionSet], prompter: AnswerEncoder, *, length: int) -> list[SharedPrefix]:
    """Group conversations on the same scans to a tree each; sequences of more than `length` ids are left out, and counted in the log."""
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
    return [_tree(images, group) for images, group in together.items()]


class PackedCollator:
    """Collate rows to a batch.

    Args:
        scans: gives one by its name.
        pad: id that fills rows.
        weigh: `loss_weight` of `ChatConfig`.
        packed: whether the trees of a row share it.
        stand_in: a scan for batches about none. No row reads it, and the projector, which ranks wait for, gets a gradient of zero.
    """

    def __init__(self, scans: Callable[[str], Tensor], *, pad: int, weigh: str, packed: bool = True, stand_in: str | None = None) -> None:
        self._scans, self._pad, self._weigh, self._packed, self._stand_in = scans, pad, weigh, packed, stand_in

    def __call__(self, rows: Sequence[PackedSequence]) -> ChatBatch:
        """Collate them, padded to the longest row; where rows are not packed, each tree is one."""
        if not self._packed:
            rows = [PackedSequence(trees=(tree,)) for row in rows for tree in row.trees]
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
        read = names if names or self._stand_in is None else (self._stand_in,)
        scans = torch.stack([self._scans(name) for name in read]) if read else None
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


def _tree(images: tuple[str, ...], group: Sequence[Encoded]) -> SharedPrefix:
    stem = min(_most(sequence) for sequence in group)
    for sequence in group[1:]:
        stem = _alike(group[0].ids[:stem], sequence.ids[:stem])
    rest = tuple(Encoded(ids=sequence.ids[stem:], loss_mask=sequence.loss_mask[stem:]) for sequence in group)
    has_scans = any(IMAGE_TOKEN_INDEX in sequence.ids for sequence in group)
    return SharedPrefix(images=images if has_scans else (), prefix=group[0].ids[:stem], continuations=rest)


def _stem(prompter: AnswerEncoder, images: int) -> int:
    """How many ids all conversations on so many scans begin with."""
    texts = (("A", "A"), ("B", "B"))
    pairs = (QuestionAnswer(question=question, answer=answer, task="short_answer", type="short_answer") for question, answer in texts)
    dummies = [QuestionSet(id="", images=("",) * images, pairs=(pair,)) for pair in pairs]
    first, second = (prompter.encode_answers(to_messages(conversation)) for conversation in dummies)
    return _alike(first[0].ids[: _most(first[0])], second[0].ids) if first else 0


def _most(sequence: Encoded) -> int:
    """A stem ends before the first answer begins: what is scored has what it follows from in its own branch."""
    return sequence.loss_mask.index(True) - 1


def _alike(first: Sequence[int], second: Sequence[int]) -> int:
    return next((index for index, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
