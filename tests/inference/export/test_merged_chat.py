"""A merged chat folder answers as before, holds a language model that transformers opens by itself, and is refused where it would not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from tests.chat_folder import write_chat
from thoracle.errors import InputError, ModelFolderInvalid
from thoracle.inference.chat.session import load_chat
from thoracle.inference.export import merged_chat
from thoracle.inference.export.merged_chat import export_merged_chat
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.models.chat.chat_folder import open_chat
from thoracle.models.chat.language_model import load_language_model
from thoracle.models.chat.prompt import Message


def _words(folder: Path) -> str:
    chat = load_chat(folder, device="cpu")
    return "".join(chat.complete_text([Message(role="user", content="Where?")], sampling=SamplingOptions(max_tokens=20)))


def test_a_merged_folder_answers_as_before_and_holds_a_language_model_of_its_own(tmp_path: Path) -> None:
    chat = write_chat(tmp_path)
    merged = export_merged_chat(chat, tmp_path / "merged")
    assert merged.difference <= 1e-5
    assert "14 linear maps" in merged.summary
    about = open_chat(tmp_path / "merged")
    assert (about.adapter, about.base, about.caution) == (False, tmp_path / "merged" / "base", "Knows only noise.")
    assert "merged into the language model" in (tmp_path / "merged" / "README.md").read_text()
    assert _words(tmp_path / "merged") == _words(chat)
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged" / "base")
    ids = torch.tensor([[7, 8, 9]])
    with torch.inference_mode():
        expected = load_language_model(tmp_path / "base", adapter=chat / "adapter").model(input_ids=ids).logits
        torch.testing.assert_close(plain(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(load_language_model(tmp_path / "base").model(input_ids=ids).logits, expected, atol=1e-2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "chat", "encoder", "merged"]


def test_a_folder_without_an_adapter_and_one_that_answers_otherwise_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="has no adapter"):
        export_merged_chat(write_chat(tmp_path / "plain", adapted=False), tmp_path / "merged")
    chat = write_chat(tmp_path / "adapted")
    monkeypatch.setattr(merged_chat, "TOLERANCE", -1.0)
    with pytest.raises(ModelFolderInvalid, match="merged, its language model answers otherwise"):
        export_merged_chat(chat, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapted", "plain"]
