"""A language model before a projector: opened from the disk, adapted, and refused where widths or adapters do not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Gemma3ForConditionalGeneration, LlamaConfig, LlamaForCausalLM

from tests.language_families import write_family
from thoracle.errors import CheckpointIncomplete, InputError, ModelFolderInvalid
from thoracle.models.chat.adapters import add_lora_adapter
from thoracle.models.chat.language_model import (
    ChatModel,
    GroundTruthFindingTokens,
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
        kept, scored = torch.arange(N), torch.stack([torch.zeros(N, dtype=torch.int64), torch.arange(N)])
        got = model(ids, None, kept, scored, mask_B1NN=torch.ones(1, 1, N, N).tril().bool(), positions_BN=torch.arange(N)[None])
        torch.testing.assert_close(got, language.model(input_ids=ids).logits[0])


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


#: Prints how much of a folder's weights opening it adds to this process's memory at its highest.
_OPEN = """
import resource, sys
from pathlib import Path
from transformers.models.llama import modeling_llama
from thoracle.models.chat.language_model import load_language_model

def highest():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = highest()
model = load_language_model(Path(sys.argv[1])).model
print((highest() - before) / sum(p.numel() * p.element_size() for p in model.parameters()))
"""


def test_weights_are_opened_in_the_numbers_of_their_folder_or_as_asked(base: Path, tmp_path: Path) -> None:
    language = load_language_model(base)
    assert {parameter.dtype for parameter in language.model.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in load_language_model(base, dtype="bf16").model.parameters()} == {torch.bfloat16}
    language.model.to(torch.bfloat16).save_pretrained(tmp_path)
    language.tokenizer.save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in load_language_model(tmp_path).model.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in load_language_model(tmp_path, dtype="float32").model.parameters()} == {torch.float32}


@pytest.mark.slow
def test_a_folder_in_bf16_is_opened_without_a_copy_in_float32(base: Path, tmp_path: Path) -> None:
    """Such a copy alone would be twice the weights."""
    sizes = {"vocab_size": 320, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 4, "num_attention_heads": 8}
    LlamaForCausalLM(LlamaConfig(**sizes)).to(torch.bfloat16).save_pretrained(tmp_path)
    load_language_model(base).tokenizer.save_pretrained(tmp_path)
    run = subprocess.run([sys.executable, "-c", _OPEN, tmp_path], capture_output=True, text=True, check=True)
    assert float(run.stdout.split()[-1]) < 1.2
