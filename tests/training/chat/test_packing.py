"""Packed conversations: each has the loss that it would have alone, and a scan is read once for all that is asked of it."""

from __future__ import annotations

import pytest
import torch

from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.errors import InputError
from thoracle.models.chat.chat_template import ChatTemplate
from thoracle.models.chat.language_model import ChatModel
from thoracle.models.chat.prompt import IGNORE_INDEX, IMAGE_TOKEN_INDEX
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.training.chat.packing import (
    PackedCollator,
    PackedDataset,
    PackedSequence,
    attention_mask,
    group_by_prefix,
    one_by_one,
    to_messages,
)
from thoracle.training.chat.phantom_lm import build_phantom_lm
from thoracle.training.chat.task import ChatConfig, ChatTask, SmallLanguageConfig
from thoracle.training.engine.distributed import World

WORLD = World(rank=0, size=1, device=torch.device("cpu"))
SMALL = SmallLanguageConfig(vocab_size=400, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)


def pair(question: str, answer: str) -> QuestionAnswer:
    return QuestionAnswer(question=question, answer=answer, task="short_answer", type="short_answer")


TALKS = [
    QuestionSet(id=f"{scan}:{k}", images=(scan,), pairs=(pair(f"Is {what} there?", answer),))
    for scan, answers in {"a": ("Yes.", "No, it is not.", "Yes."), "b": ("No.", "No.", "It is on the left.")}.items()
    for k, (what, answer) in enumerate(zip(("effusion", "a nodule", "emphysema"), answers, strict=True))
]
TALKS.append(QuestionSet(id="ab", images=("a", "b"), pairs=(pair("What changed?", "Nothing."), pair("Surely?", "Yes."))))
CODES = {"a": torch.arange(4).view(1, 2, 2), "b": torch.arange(4, 8).view(1, 2, 2)}


@pytest.fixture(scope="module")
def task() -> ChatTask:
    torch.manual_seed(0)
    language = build_phantom_lm(SMALL, [p.question + p.answer for one in TALKS for p in one.pairs])
    projector = Projector(ProjectorConfig(num_queries=3, dim=8, dim_context=6, attention_dim=8, heads=2, hidden_size=16))
    made = ChatTask(
        ChatModel(language.model, projector),
        ChatConfig(language_model="x"),
        WORLD,
        read=torch.randn(8, 6).__getitem__,
        save=lambda *_: None,
    )
    made.prompter = ChatTemplate(language.tokenizer, rows=3)  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("weigh", ["token", "sqrt_length"])
def test_conversations_packed_lose_what_they_lose_alone(task: ChatTask, weigh: str) -> None:
    prompter = task.prompter  # type: ignore[attr-defined]
    collate = PackedCollator(CODES.__getitem__, pad=0, weigh=weigh)
    packed = PackedDataset(TALKS, prompter, length=400)
    batch = collate([packed[k] for k in range(len(packed))])
    assert len(packed) < len(TALKS)
    assert (batch.ids_BN == IMAGE_TOKEN_INDEX).sum() == 4 * 3, "a, b, and both for what changed"
    alone = [collate([PackedSequence(trees=tuple(group_by_prefix([one], prompter, length=400)))]) for one in TALKS]
    with torch.no_grad():
        parts = [(task.loss(one), one.weights_BN.sum()) for one in alone]
        expected = sum(loss * weight for loss, weight in parts) / sum(weight for _, weight in parts)
        torch.testing.assert_close(task.loss(batch), expected, rtol=1e-5, atol=1e-6)
    if weigh == "sqrt_length":
        lengths = [
            sum(encoded.loss_mask) for encoded in (encoded for one in TALKS for encoded in prompter.encode_answers(to_messages(one)))
        ]
        assert batch.weights_BN.sum() == pytest.approx(sum(length**0.5 for length in lengths))


def test_branches_do_not_see_each_other_and_padding_sees_only_padding(task: ChatTask) -> None:
    prompter = task.prompter  # type: ignore[attr-defined]
    batch = PackedCollator(CODES.__getitem__, pad=0, weigh="token")(
        [PackedSequence(trees=tuple(group_by_prefix(TALKS[:3], prompter, length=400))), _short(prompter)]
    )
    seen = attention_mask(batch)[:, 0]
    first, second = ((batch.branch_BN[0] == k).nonzero().flatten() for k in (1, 2))
    assert not seen[0][second][:, first].any()
    assert seen[0][second][:, batch.branch_BN[0] == 0].all()
    padding = batch.tree_BN[1] == -1
    assert padding.any()
    assert not seen[1][~padding][:, padding].any()
    assert seen[1].any(dim=1).all(), "a row that sees nothing would be no number"
    assert (batch.targets_BN[1][padding] == IGNORE_INDEX).all()


def _short(prompter: ChatTemplate) -> PackedSequence:
    return PackedSequence(trees=tuple(group_by_prefix(TALKS[:1], prompter, length=400)))


def test_rows_hold_whole_trees_and_long_conversations_are_left_out(task: ChatTask) -> None:
    prompter = task.prompter  # type: ignore[attr-defined]
    whole = max(len(encoded) for one in TALKS[:6] for encoded in prompter.encode_answers(to_messages(one)))
    rows = PackedDataset(TALKS[:6], prompter, length=whole)
    assert all(len(rows[k]) <= whole for k in range(len(rows)))
    assert sum(len(tree.continuations) for k in range(len(rows)) for tree in rows[k].trees) == 6
    with pytest.raises(InputError, match="no conversation has 10 ids or fewer"):
        PackedDataset(TALKS, prompter, length=10)
    assert [rows[k] for k in range(len(rows))] == [rows[k] for k in range(len(rows))], "the same each time that it is read"
    longest, most = rows.telling()
    assert max(map(len, (alone for tree in longest.trees for alone in one_by_one(tree)))) == whole
    assert sum(len(tree.continuations) for tree in most.trees) == max(
        sum(len(tree.continuations) for tree in rows[k].trees) for k in range(len(rows))
    )


def test_unpacked_each_conversation_is_a_row_of_its_own(task: ChatTask) -> None:
    prompter = task.prompter  # type: ignore[attr-defined]
    rows = PackedDataset(TALKS, prompter, length=400, packed=False)
    assert [len(rows[k].trees) for k in range(len(rows))] == [1] * len(TALKS)
    two = PackedSequence(trees=(*rows[0].trees, *rows[1].trees))
    batch = PackedCollator(CODES.__getitem__, pad=0, weigh="token", packed=False)([two])
    assert len(batch.ids_BN) == 2, "what may not share a row does not"


def test_a_batch_about_no_scan_gives_the_projector_a_gradient_of_zero(task: ChatTask) -> None:
    """Ranks wait for it: a rank without one would stop them all."""
    general = [QuestionSet(id="g", images=(), pairs=(pair("What is a nodule?", "It is round."),))]
    rows = PackedDataset(general, task.prompter, length=400)  # type: ignore[attr-defined]
    batch = PackedCollator(CODES.__getitem__, pad=0, weigh="token", stand_in="a")([rows[0]])
    alone = PackedCollator(CODES.__getitem__, pad=0, weigh="token")([rows[0]])
    assert batch.names == ()
    assert not (batch.ids_BN == IMAGE_TOKEN_INDEX).any()
    assert task.accumulate_gradients([batch]).item() == task.loss(alone).item()
    gradients = [parameter.grad for parameter in task.model.projector.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
