"""A language model before a projector: opened from the disk, adapted, and refused where widths or adapters do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3ForConditionalGeneration, LlamaConfig, LlamaForCausalLM

from tests.language_families import write_family
from thoracle.errors import CapabilityMissing, CheckpointIncomplete, InputError, ModelFolderInvalid
from thoracle.models.chat.language_model import (
    ChatModel,
    GroundTruthFindingTokens,
    add_lora_adapter,
    describe_adapter,
    load_language_model,
)
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
    with pytest.raises(CapabilityMissing, match=r"no elsewhere.*linear maps are down_proj, gate_proj, k_proj, o_proj"):
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


def test_an_adapter_adapts_what_is_asked_for_and_says_what_and_how_many(base: Path, tmp_path: Path) -> None:
    every = add_lora_adapter(load_language_model(base).model, rank=2, alpha=4)
    assert describe_adapter(every) == (
        "LoRA adapts 7 linear maps: 1 down_proj, 1 gate_proj, 1 k_proj, 1 o_proj, 1 q_proj, 1 up_proj, 1 v_proj"
    )
    two = add_lora_adapter(load_language_model(base).model, rank=2, alpha=4, targets=["q_proj", "v_proj"])
    assert describe_adapter(two) == "LoRA adapts 2 linear maps: 1 q_proj, 1 v_proj"
    mixture = write_family("mixtral", tmp_path)
    assert "experts" not in describe_adapter(add_lora_adapter(load_language_model(mixture).model, rank=2, alpha=4))
    asked = add_lora_adapter(load_language_model(mixture).model, rank=2, alpha=4, targets=["q_proj", "experts.down_proj"])
    assert describe_adapter(asked) == "LoRA adapts 4 linear maps: 2 experts, 2 q_proj"
    with pytest.raises(CapabilityMissing, match="LoRA does not begin on language models of the family mamba"):
        add_lora_adapter(load_language_model(write_family("mamba", tmp_path / "mamba")).model, rank=2, alpha=4)


def test_of_a_model_that_reads_images_the_language_part_is_read_and_adapted(tmp_path: Path) -> None:
    """Gemma 3's and MedGemma's folders, whose own answer to words is the same."""
    folder = write_family("gemma 3, images", tmp_path)
    language, whole = load_language_model(folder), Gemma3ForConditionalGeneration.from_pretrained(folder).eval()
    assert not [name for name, _ in language.model.named_modules() if "vision" in name]
    ids = torch.tensor([[7, 8, 9, 10, 11, 12, 13, 14, 15, 16]])
    with torch.inference_mode():
        torch.testing.assert_close(language.model(input_ids=ids).logits, whole(input_ids=ids).logits)
    assert language.context == 256
    assert "vision" not in str(add_lora_adapter(language.model, rank=2, alpha=4).peft_config["default"].target_modules)


def _trained_words(base: Path, folder: Path, *, words: int, tokenizer: bool) -> tuple[Path, torch.Tensor, torch.Tensor]:
    """CT-CHAT's stage 2 with words of its own: an adapter, and embeddings beside the projector."""
    language = load_language_model(base)
    add_lora_adapter(language.model, rank=2, alpha=4, targets=["q_proj"]).save_pretrained(folder)
    width = language.hidden
    going_in, coming_out = torch.randn(words, width), torch.randn(words, width)
    names = {"base_model.model.model.embed_tokens.weight": going_in, "base_model.model.lm_head.weight": coming_out}
    torch.save({**names, "base_model.model.model.mm_projector.ln.bias": torch.zeros(3)}, folder / "non_lora_trainables.bin")
    if tokenizer:
        added = load_language_model(base).tokenizer
        added.add_tokens([f"<word{k}>" for k in range(words - len(added))])
        added.save_pretrained(folder)
    return folder, going_in, coming_out


def test_words_that_were_trained_with_an_adapter_are_read_with_its_tokenizer(tmp_path: Path) -> None:
    base = write_family("llama", tmp_path / "base")
    folder, going_in, coming_out = _trained_words(base, tmp_path / "adapter", words=325, tokenizer=True)
    language = load_language_model(base, adapter=folder)
    assert torch.equal(language.model.get_input_embeddings().weight, going_in)
    assert torch.equal(language.model.get_output_embeddings().weight, coming_out)
    assert len(language.tokenizer("<word4>", add_special_tokens=False)["input_ids"]) == 1, "a word, and no spelling of one"
    assert language.tokenizer.chat_template
    assert not [parameter for parameter in language.model.parameters() if parameter.requires_grad]


def test_trained_words_of_as_many_as_the_base_has_need_no_tokenizer_and_more_are_refused_without(tmp_path: Path) -> None:
    base = write_family("llama", tmp_path / "base")
    folder, going_in, _ = _trained_words(base, tmp_path / "same", words=320, tokenizer=False)
    assert torch.equal(load_language_model(base, adapter=folder).model.get_input_embeddings().weight, going_in)
    folder, _, _ = _trained_words(base, tmp_path / "more", words=325, tokenizer=False)
    with pytest.raises(CheckpointIncomplete, match=r"embeddings of 325 words, and the tokenizer knows 2\d\d.*Put the tokenizer's files"):
        load_language_model(base, adapter=folder)
