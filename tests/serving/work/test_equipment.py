"""What is loaded is told to the server, and a chat model that cannot be is a hint, not an end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chat_folder import write_chat
from thoracle.errors import ThoracleError
from thoracle.serving.settings import ModelSettings
from thoracle.serving.work.equipment import equip_models
from thoracle.serving.work.results import MODELS, SEARCH


def test_a_model_alone_detects_and_maps(model_dir: Path) -> None:
    lanes, facts = equip_models(ModelSettings(detector=model_dir), "cpu")
    assert (set(lanes[MODELS]), set(lanes[SEARCH])) == ({"findings", "map"}, set())
    assert facts["models"].index is None
    assert "--llm-url" in facts["models"].chat_hint


def test_a_chat_model_that_is_none_is_a_hint(model_dir: Path, tmp_path: Path) -> None:
    settings = ModelSettings(detector=model_dir, chat=tmp_path)
    lanes, facts = equip_models(settings, "cpu")
    assert "chat" not in lanes[MODELS]
    assert str(tmp_path) not in facts["models"].chat_hint
    silent = replace(settings, llm_url="http://127.0.0.1:9/v1")
    assert "Check that the server runs" in equip_models(silent, "cpu")[1]["models"].chat_hint


@pytest.mark.parametrize(("words", "grounded"), [(512, "never"), (4096, "optional")])
def test_answers_with_sources_are_offered_where_the_chat_model_reads_all_findings(
    words: int, grounded: str, model_dir: Path, tmp_path: Path
) -> None:
    chat = write_chat(tmp_path, adapted=False, context=words)
    _, facts = equip_models(ModelSettings(detector=model_dir, chat=chat), "cpu")
    assert facts["models"].chat.grounded == grounded


def test_an_index_that_is_none_or_of_another_model_is_an_end(model_dir: Path, index_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ThoracleError):
        equip_models(ModelSettings(detector=model_dir, index=str(tmp_path / "none")), "cpu")
    lanes, facts = equip_models(ModelSettings(detector=model_dir, index=str(index_dir), read_only_index=True), "cpu")
    assert set(lanes[SEARCH]) == {"search", "thumbnail", "index", "delete"}
    assert (facts["models"].index.records, facts["models"].index.read_only) == (12, True)
