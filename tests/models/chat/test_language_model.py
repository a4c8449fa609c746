"""A language model before a projector: opened from the disk, adapted, and refused where widths or adapters do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from thoracle.errors import CapabilityMissing, CheckpointIncomplete, InputError, ModelFolderInvalid
from thoracle.models.chat.language_model import ChatModel, GroundTruthFindingTokens, add_lora_adapter, load_language_model
from thoracle.models.chat.prompt import IMAGE_TOKEN_INDEX, ChatTemplate, Message, question_text
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.training.chat.phantom_lm import build_phantom_lm, save_phantom_lm
from thoracle.training.chat.task import SmallLanguageConfig

SMALL = SmallLanguageConfig(vocab_size=320, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
TALK = [
    Message(role="system", content="Be brief."),
    Message(role="user", content=question_text("Is an <image>effusion there?", task="short_answer", images=1)),
    Message(role="assistant", content="Yes."),
    Message(role="user", content=question_text("Where?", task="long_answer")),
    Message(role="assistant", content="Left."),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    language = build_phantom_lm(SMALL, ["Is there an effusion?", "Yes.", "No."])
    out = tmp_path_factory.mktemp("language") / "base"
    save_phantom_lm(out, language, dict(language.model.named_parameters()))
    return out


def test_only_answers_are_scored_and_a_scan_takes_its_rows(base: Path) -> None:
    tokenizer = load_language_model(base).tokenizer
    encoded = ChatTemplate(tokenizer, rows=3).encode(TALK)
    assert [number for number in encoded.ids if number < 0] == [IMAGE_TOKEN_INDEX] * 3
    scored = [number for number, counts in zip(encoded.ids, encoded.loss_mask, strict=True) if counts]
    assert tokenizer.decode(scored) == "Yes.<|end|>Left.<|end|>"
    asked = ChatTemplate(tokenizer, rows=3).encode(TALK[:-1])
    assert encoded.ids[: len(asked)] == asked.ids, "what is generated from is what was trained on"
    assert not any(asked.loss_mask[asked.loss_mask.index(True) + 4 :])


def test_templates_that_are_missing_refuse_a_turn_or_rewrite_are_said(base: Path) -> None:
    tokenizer = load_language_model(base).tokenizer
    tokenizer.chat_template = "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
    with pytest.raises(CapabilityMissing, match="does not take turns of system"):
        ChatTemplate(tokenizer, rows=1).encode(TALK[:2])
    tokenizer.chat_template = "{{ messages | length }}{{ messages[-1]['content'] }}"
    with pytest.raises(CapabilityMissing, match="rewrites earlier turns"):
        ChatTemplate(tokenizer, rows=1).encode(TALK)
    tokenizer.chat_template = None
    with pytest.raises(CapabilityMissing, match="no chat template"):
        ChatTemplate(tokenizer, rows=1)


def test_findings_that_are_told_are_read_in_the_language_models_own_words_as_they_are_now() -> None:
    torch.manual_seed(0)
    language = build_phantom_lm(SMALL, ["Is there an effusion?", "Yes. No. Left. Right."], whole_words=["effusion"])
    told = GroundTruthFindingTokens(language, ["Effusion"])
    assert not list(told.parameters())
    embedding = language.model.get_input_embeddings()
    rows = told(torch.tensor([[[1.0, torch.nan, 0.0]]]))

    def word(text: str) -> torch.Tensor:
        return embedding(torch.tensor(language.tokenizer(text)["input_ids"])).mean(dim=0)

    torch.testing.assert_close(rows[0, 0], word(" effusion") + word("Yes") + word("Left") / 2)
    assert len(language.tokenizer(" effusion")["input_ids"]) == 1
    rows.sum().backward()
    assert embedding.weight.grad is not None
    with torch.no_grad():
        embedding.weight.mul_(2)
        torch.testing.assert_close(told(torch.tensor([[[1.0, torch.nan, 0.0]]])), 2 * rows)


def test_logits_are_those_of_the_language_model_on_words_alone(base: Path) -> None:
    language = load_language_model(base)
    ids = torch.tensor([language.tokenizer("Is there an effusion?")["input_ids"]])
    N = ids.shape[1]
    model = ChatModel(language.model, GroundTruthFindingTokens(language, ["effusion"]))
    with torch.inference_mode():
        scored = torch.ones_like(ids, dtype=torch.bool)
        got = model(ids, None, scored, mask_B1NN=torch.ones(1, 1, N, N).tril().bool(), positions_BN=torch.arange(N)[None])
        torch.testing.assert_close(got, language.model(input_ids=ids).logits[0])


def test_an_adapter_comes_back_as_it_was_and_only_to_its_own_model(base: Path, tmp_path: Path) -> None:
    model = add_lora_adapter(load_language_model(base).model, rank=2, alpha=4, targets=["q_proj", "v_proj"])
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "adapter")
    ids = torch.tensor([[7, 8, 9]])
    with torch.inference_mode():
        expected = model.eval()(input_ids=ids).logits
        again = load_language_model(base, adapter=tmp_path / "adapter").model(input_ids=ids).logits
    torch.testing.assert_close(again, expected)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor for name, tensor in tensors.items() if "q_proj.lora_A" not in name}, file)
    with pytest.raises(CheckpointIncomplete, match="lacks 1"):
        load_language_model(base, adapter=tmp_path / "adapter")
    save_file({name: torch.zeros(3, 3) for name in tensors}, file)
    with pytest.raises(CheckpointIncomplete, match="not an adapter of this language model"):
        load_language_model(base, adapter=tmp_path / "adapter")
    with pytest.raises(InputError, match="holds no LoRA adapter"):
        load_language_model(base, adapter=base)
    with pytest.raises(CapabilityMissing, match="no elsewhere"):
        add_lora_adapter(load_language_model(base).model, rank=2, alpha=4, targets=["elsewhere"])


def test_folders_that_are_none_and_widths_that_do_not_fit(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no language model"):
        load_language_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelFolderInvalid, match="no causal language model"):
        load_language_model(tmp_path)
    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    with pytest.raises(CheckpointIncomplete, match="rows of 10, the language model reads 8"):
        ChatModel(
            LlamaForCausalLM(config),
            Projector(ProjectorConfig(num_queries=3, dim=8, dim_context=6, attention_dim=8, heads=2, hidden_size=10)),
        )
