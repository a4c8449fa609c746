"""Packed rows are tried at each start: what differs from one conversation alone is trained unpacked, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.language_families import write_family
from tests.training.chat_parts import question
from thoracle.errors import CapabilityMissing
from thoracle.models.chat.causal_model import CausalModel
from thoracle.models.chat.chat_template import ChatTemplate
from thoracle.models.chat.language_model import ChatModel, load_language_model
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.training.chat.packing import PackedCollator, PackedDataset
from thoracle.training.chat.packing_check import trains_packed

TALKS = [question(1, "a"), question(2, "a", answer="No, there is none."), question(3, "b", answer="It is on the left.")]
CODES = {name: torch.randn(1, 2, 2, 6, generator=torch.Generator().manual_seed(k)) for k, name in enumerate("ab")}


def _tried(family: str, folder: Path, *, change: Any = lambda model: None) -> tuple[bool, ChatModel]:
    language = load_language_model(write_family(family, folder))
    model = ChatModel(language.model, Projector(ProjectorConfig(num_queries=4, dim=8, dim_context=6, attention_dim=8, hidden_size=32)))
    change(language.model)
    collate = PackedCollator(CODES.__getitem__, pad=1, weigh="token")
    rows = PackedDataset(TALKS, ChatTemplate(language.tokenizer, rows=4), length=300)
    return trains_packed(model.train(), rows, collate, read=torch.clone), model


def test_a_family_whose_masks_are_known_is_packed_and_goes_on_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    packed, model = _tried("gemma 2", tmp_path)
    assert packed
    assert model.training
    assert not caplog.text


@pytest.mark.parametrize(
    ("family", "reason"), [("qwen 3.5", "layers of linear_attention"), ("bloom", "too many values"), ("falcon, alibi", "too many values")]
)
def test_a_family_that_packed_rows_fail_for_is_trained_unpacked_and_says_why(
    family: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packed, _ = _tried(family, tmp_path)
    assert not packed
    assert "one conversation a row" in caplog.text
    assert reason in caplog.text


def test_a_window_that_the_masks_leave_out_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The finding itself: a mask of all that comes before, for layers that see eight ids."""
    monkeypatch.setattr(CausalModel, "_layer_types", lambda self: ["full_attention"])
    packed, _ = _tried("mistral, window", tmp_path)
    assert not packed
    assert "gives other logits than one conversation" in caplog.text


def test_rows_that_leak_between_conversations_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "thoracle.training.chat.packing_check.attention_mask",
        lambda batch: torch.ones(len(batch.ids_BN), 1, batch.ids_BN.shape[1], batch.ids_BN.shape[1], dtype=torch.bool).tril(),
    )
    assert not _tried("llama", tmp_path)[0]


def test_a_model_that_computes_nothing_from_a_conversation_is_refused_by_name(tmp_path: Path) -> None:
    def broken(model: Any) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ValueError("no embeddings, please")

        model.register_forward_pre_hook(fail)

    with pytest.raises(CapabilityMissing, match=r"family llama are not trained here \(no embeddings, please\)"):
        _tried("llama", tmp_path, change=broken)
