"""A language model before a projector: opened from the disk, adapted, and refused where widths or adapters do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from thoracle.errors import CapabilityMissing, CheckpointIncomplete, InputError, ModelFolderInvalid
from thoracle.models.chat.language_model import ChatModel, GroundTruthFindingTokens, add_lora_adapter, load_language_model
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.training.chat.phantom_lm import build_phantom_lm
from thoracle.training.chat.task import SmallLanguageConfig


def test_findings_that_are_told_are_read_in_the_language_models_own_words_as_they_are_now(small: SmallLanguageConfig) -> None:
    torch.manual_seed(0)
    language = build_phantom_lm(small, ["Is there an effusion?", "Yes. No. Left. Right."], whole_words=["effusion"])
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
