"""Whether a language model computes in packed rows what it computes of each conversation alone, tried on the rows of a run.

Masks for packed rows are built from what a family's configuration says of its layers. What it does not say (recurrent layers, positions
that attention adds by itself) shows here, and such a family is trained unpacked: one conversation a row, as it is answered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from thoracle.errors import CapabilityMissing
from thoracle.models.chat.causal_model import RAISED, CausalModel
from thoracle.models.chat.language_model import ChatModel
from thoracle.training.chat.packing import (
    ChatBatch,
    PackedCollator,
    PackedDataset,
    PackedSequence,
    SharedPrefix,
    attention_mask,
    one_by_one,
)

#: Of the largest logit: rounding differs by less between a packed row and one conversation, and a wrong mask by far more. Numbers of
#: 16 bits round by parts in a hundred.
TOLERANCE, _OF_16_BITS = 1e-4, 0.05
_log = logging.getLogger(__name__)


def trains_packed(model: ChatModel, rows: PackedDataset, collate: PackedCollator, *, read: Callable[[Tensor], Tensor]) -> bool:
    """Tell whether packed rows train what answering computes; the log says why not.

    Args:
        model: on the device that it is trained on.
        rows: packed.
        collate: makes a batch of rows.
        read: as `ChatTask` has it.

    Raises:
        CapabilityMissing: the language model computes nothing from embeddings, so that it is not trained at all.
    """
    training = model.training
    try:
        with torch.no_grad():
            reason = next(filter(None, (_difference(model.eval(), row, collate, read) for row in rows.telling())), "")
    finally:
        model.train(training)
    if reason:
        family = CausalModel(model.language).family
        _log.warning("language models of the family %s are trained unpacked, one conversation a row: %s", family, reason)
    return not reason


def _alone(trees: Sequence[SharedPrefix]) -> list[SharedPrefix]:
    return [tree for grown in trees for tree in one_by_one(grown)]


def _difference(model: ChatModel, row: PackedSequence, collate: PackedCollator, read: Callable[[Tensor], Tensor]) -> str:
    """What a packed row gives that its longest and its last conversation alone do not; "" where nothing."""
    trees = _alone(row.trees)
    counts = [sum(tree.continuations[0].loss_mask[1:]) for tree in trees]
    try:
        packed_SV, failed = _logits(model, collate([row]), read, packed=True), None
    except RAISED as error:
        packed_SV, failed = None, error
    for number in {max(range(len(trees)), key=lambda k: len(trees[k])), len(trees) - 1}:
        try:
            alone_SV = _logits(model, collate([PackedSequence(trees=(trees[number],))]), read, packed=False)
        except RAISED as error:
            detail = f"language models of the family {CausalModel(model.language).family} are not trained here ({_words(error)})"
            raise CapabilityMissing(detail, hint="Give a language model of another family.") from error
        if packed_SV is None:
            return f"a packed row fails ({_words(failed)})"
        first = sum(counts[:number])
        largest = float((packed_SV[first : first + counts[number]] - alone_SV).abs().max() / alone_SV.abs().max())
        if not largest <= (TOLERANCE if packed_SV.dtype == torch.float32 else _OF_16_BITS):
            return f"a packed row gives other logits than one conversation, by {largest:.1e} of the largest"
    return ""


def _logits(model: ChatModel, batch: ChatBatch, read: Callable[[Tensor], Tensor], *, packed: bool) -> Tensor:
    batch = batch.to(next(model.parameters()).device)
    tokens = None if batch.scans_I is None else read(batch.scans_I)
    masks: dict[str, Any] = {"mask_B1NN": attention_mask(batch), "positions_BN": batch.positions_BN} if packed else {}
    logits_SV: Tensor = model(batch.ids_BN, tokens, batch.kept_K, batch.scored_2S, **masks)
    return logits_SV


def _words(error: object) -> str:
    return " ".join(str(error).split())[:160]
