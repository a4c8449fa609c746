"""LoRA adapters: what they adapt, that they come back as they were, and the words that were trained beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.language_families import write_family
from thoracle.errors import CapabilityMissing, CheckpointIncomplete, InputError
from thoracle.models.chat.adapters import add_lora_adapter, describe_adapter
from thoracle.models.chat.language_model import load_language_model


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
