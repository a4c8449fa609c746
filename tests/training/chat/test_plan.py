"""What is planned for a chat run is what two steps take, and what Llama 3.1 8B comes to by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import LlamaConfig

from tests.training import chat_parts
from tests.training.chat_parts import question
from tests.training.conftest import PlannedSteps
from thoracle.training.chat.plan import plan_chat
from thoracle.training.chat.task import ChatConfig
from thoracle.training.engine.config import builtin_config, load_config

ALONE = {"cache": 0, "ranks": 1, "local_ranks": 1}


@pytest.mark.slow
@pytest.mark.parametrize("case", ["chat, projector", "chat, adapter"])
def test_the_planned_peak_is_within_a_fifth_of_the_measured_one(case: str, planned_steps: PlannedSteps) -> None:
    figures = planned_steps(case)
    assert figures["planned"] == pytest.approx(figures["measured"], rel=0.2)


def _folders(folder: Path, language: LlamaConfig) -> dict[str, str]:
    """An encoder, and a language model's configuration and tokenizer, without weights."""
    chat_parts.write_encoder(folder / "encoder")
    chat_parts.language().tokenizer.save_pretrained(folder / "base")
    language.save_pretrained(folder / "base")
    return {"encoder": str(folder / "encoder"), "language_model": str(folder / "base")}


WORDS, WIDTH, WIDE, KEYS, LAYERS = 128_256, 4096, 14_336, 1024, 32
LLAMA = LlamaConfig(
    vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=WIDE, num_hidden_layers=LAYERS, num_attention_heads=32,
    num_key_value_heads=8, max_position_embeddings=131_072, tie_word_embeddings=False, dtype="bfloat16",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ct-chat", "ct-chat-lora"])
def test_eight_billion_weights_are_planned_without_being_allocated(name: str, tmp_path: Path) -> None:
    """Llama 3.1 8B: words twice, 32 layers of queries, keys, values, their output, three maps of an MLP and two norms, and a norm."""
    config = replace(load_config(builtin_config(name), ChatConfig), **_folders(tmp_path, LLAMA), init_from="")
    report = " ".join(["Yes."] * 300)
    asked = [question(k, f"v{k}", answer=report) for k in range(12)]
    plan = plan_chat(config, asked, cache=0, ranks=2, local_ranks=2)
    layer = 2 * WIDTH * WIDTH + 2 * WIDTH * KEYS + 3 * WIDTH * WIDE + 2 * WIDTH
    language = 2 * WORDS * WIDTH + LAYERS * layer + WIDTH
    assert language == 8_030_261_248  # as published
    assert plan.parameters - plan.trained == language
    assert plan.device["weights"] == (2 * language + 4 * plan.trained) // 2, "bfloat16 where it is frozen, and half on each of two ranks"
    assert plan.device["gradients"] == 4 * plan.trained // 2
    assert plan.device["moments"] == 2 * 4 * plan.trained // 2
    assert plan.checkpoint == 3 * 4 * plan.trained
    adapter = 128 * (4 * WIDTH + 2 * (WIDTH + KEYS) + 3 * (WIDTH + WIDE))  # a layer's: rows and columns of seven matrices
    projector = plan.trained - (LAYERS * adapter if name == "ct-chat-lora" else 0)
    assert projector == 19_556_384, "the same in both stages"
    gathered = 2 * (2 * WORDS * WIDTH + 2 * layer) + 4 * projector + (4 * 2 * adapter if name == "ct-chat-lora" else 0)
    assert plan.device["gathered"] == pytest.approx(gathered, rel=0.1)


def test_only_the_adapter_and_the_projector_are_trained_and_rows_are_estimated(tmp_path: Path) -> None:
    small = LlamaConfig(vocab_size=600, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
    config = ChatConfig(stage="projector", sequence_length=512, batch_size=2, **_folders(tmp_path, small))
    asked = [question(k, f"v{k}") for k in range(8)]
    first = plan_chat(config, asked, **ALONE)
    second = plan_chat(replace(config, stage="lora"), asked, **ALONE)
    maps = [(32, 32)] * 4 + [(32, 48)] * 2 + [(48, 32)]
    assert second.trained - first.trained == sum(128 * (rows + columns) for rows, columns in maps)
    assert first.samples == 8, "256 rows of a scan and 40 words leave no room for a second conversation"
    many = [question(k, f"v{k}") for k in range(4096)]
    assert plan_chat(config, many, **ALONE).samples == pytest.approx(4096, rel=0.02)
