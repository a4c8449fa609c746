"""CT-CHAT's published layout on a tiny model: ids that were written out by hand from the published code, and embeddings as published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thoracle.errors import CapabilityMissing
from thoracle.inference.chat.session import ChatComponents, load_chat
from thoracle.inference.demo.assets import write_model
from thoracle.models.chat.adapters import add_lora_adapter
from thoracle.models.chat.chat_template import ChatTemplate
from thoracle.models.chat.language_model import load_language_model
from thoracle.models.chat.prompt import SYSTEM, Message, question_text
from thoracle.models.chat.published_prompt import PlainPrompt, PublishedPrompt
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector

SPECIAL = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
#: Ids 0 to 16; those that published training adds are 17 to 21.
WORDS = ("<unk>", *SPECIAL, "system", "user", "assistant", "<", "provided", ">", "Is", "it", "there", "?", "Yes", ".")
PAD, CHOICE, LONG, SHORT, REPORT = 17, 18, 19, 20, 21
SIZES = ProjectorConfig(num_queries=2, dim=8, dim_context=64, attention_dim=8, hidden_size=32)
TEMPLATE = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + '<|eot_id|>' }}{% endfor %}{{ 'assistant ' }}"
ASKED = Message(role="user", content=question_text("Is it there?", task="short_answer", images=1))
OURS = Message(role="system", content=SYSTEM)


def _base(folder: Path, *, words: tuple[str, ...] = WORDS) -> Path:
    """Llama 3's marks, a word a word, and the begin of text that its tokenizer puts before everything."""
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.add_special_tokens([AddedToken(word) for word in SPECIAL if word in words])
    core.post_processor = processors.TemplateProcessing(single=f"{SPECIAL[0]} $A", special_tokens=[(SPECIAL[0], 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=words[4], unk_token="<unk>")
    tokenizer.chat_template = TEMPLATE
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _published(base: Path, folder: Path, *, place: str, rows: int = 22) -> tuple[Path, Tensor, Tensor]:
    """What published training leaves: adapter, projector beside it, and resized embeddings in either file."""
    torch.manual_seed(0)
    add_lora_adapter(load_language_model(base).model, rank=2, alpha=4).save_pretrained(folder)
    (folder / "adapter_model.safetensors").unlink()
    going_in, coming_out = torch.randn(rows, 32), torch.randn(rows, 32)
    words = {"base_model.model.model.embed_tokens.weight": going_in, "base_model.model.lm_head.weight": coming_out}
    lora = add_lora_adapter(load_language_model(base).model, rank=2, alpha=4).state_dict()
    weights = {name.replace(".default.", "."): tensor for name, tensor in lora.items() if "lora_" in name}
    beside = {f"base_model.model.model.mm_projector.{name}": tensor for name, tensor in Projector(SIZES).state_dict().items()}
    torch.save(weights | (words if place == "adapter" else {}), folder / "adapter_model.bin")
    torch.save(beside | (words if place == "beside" else {}), folder / "non_lora_trainables.bin")
    return folder, going_in, coming_out


@pytest.mark.parametrize("place", ["beside", "adapter"])
def test_a_published_folder_is_asked_in_its_own_words_with_its_own_embeddings(place: str, tmp_path: Path) -> None:
    base = _base(tmp_path / "base")
    folder, going_in, coming_out = _published(base, tmp_path / "published", place=place)
    chat = load_chat(ChatComponents.published(folder, encoder=write_model(tmp_path / "encoder").path, base=base), device="cpu")
    talk = [OURS, ASKED, Message(role="assistant", content="Yes."), Message(role="user", content="Is it there? <long_answer>")]
    ids = chat._prompter.encode(talk).ids
    assert ids[:5] == (1, 1, 2, 5, 3), "the tokenizer's begin of text, then the published one"
    end = ids.index(4)
    assert [number for number in ids[5:end] if number in (CHOICE, LONG, SHORT, REPORT)] == [CHOICE, REPORT, LONG, SHORT]
    assert ids[5] == 16, "the point before the first word"
    assert ids[end + 1 :] == (
        *(2, 6, 3, -200, -200, 8, 9, 10, 11, 12, 13, 14, SHORT, 4),
        *(2, 7, 3, 15, 16, 4),
        *(2, 6, 3, 11, 12, 13, 14, LONG, 4, 2, 7, 3),
    )
    scan = torch.zeros(1, 6, 6, 6, dtype=torch.int32)
    tokens = chat._tokens.expand(scan)
    embedded = chat._model.embed(torch.tensor([ids]), tokens)[0]
    words = torch.tensor([number >= 0 for number in ids])
    assert torch.equal(embedded[words], going_in[torch.tensor([number for number in ids if number >= 0])])
    torch.testing.assert_close(embedded[~words], chat._model.projector(tokens)[0])
    assert torch.equal(chat._language.model.get_output_embeddings().weight, coming_out)
    assert chat._language.tokenizer.pad_token_id == PAD


def test_evidence_stands_in_the_users_turn_under_the_published_system_prompt(tmp_path: Path) -> None:
    base = _base(tmp_path / "base")
    folder, _, _ = _published(base, tmp_path / "published", place="beside")
    language = load_language_model(base, adapter=folder)
    grounded = [
        Message(role="system", content="there"),
        Message(role="user", content="Is it there?"),
        Message(role="tool", content="Yes"),
    ]
    ids = PublishedPrompt(language.tokenizer, rows=2).encode(grounded).ids
    # <provided>, the system's word, two lines around the data, which are unknown words, and the question
    assert ids[ids.index(4) + 1 :] == (2, 6, 3, 8, 9, 10, 13, 0, 0, 0, 15, 0, 0, 0, 0, 0, 11, 12, 13, 14, 4, 2, 7, 3)
    with pytest.raises(CapabilityMissing, match="know no tool's turn"):
        PublishedPrompt(language.tokenizer, rows=2, evidence="tool")
    general = PublishedPrompt(language.tokenizer, rows=2).encode([OURS, Message(role="user", content="Is it there? <long_answer>")])
    assert general.ids[general.ids.index(4) + 1 :] == (2, 6, 3, 11, 12, 13, 14, LONG, 4, 2, 7, 3), "no volume is said to be given"


def test_folders_of_other_content_are_asked_by_their_bases_template(tmp_path: Path) -> None:
    base, mistral = _base(tmp_path / "base"), _base(tmp_path / "other", words=("<unk>", "<s>", "<i>", "</i>", "</s>", *WORDS[5:]))
    folder, _, _ = _published(mistral, tmp_path / "mistral", place="beside", rows=17)
    assert not load_language_model(mistral, adapter=folder).published, "another family's turns"
    folder, _, _ = _published(base, tmp_path / "same", place="beside", rows=17)
    language = load_language_model(base, adapter=folder)
    assert not language.published, "no word was added"
    assert len(language.tokenizer) == 17
    folder, _, _ = _published(base, tmp_path / "bare", place="beside")
    (folder / "non_lora_trainables.bin").unlink()
    assert not load_language_model(base, adapter=folder).published, "no projector lies beside it"


def test_plain_conversations_are_the_scan_and_each_answer(tmp_path: Path) -> None:
    tokenizer = load_language_model(_base(tmp_path / "base")).tokenizer
    answer = Message(role="assistant", content="Yes.")
    again = Message(role="user", content="Is it there?")
    prompt = PlainPrompt(tokenizer, rows=2)
    first, second = prompt.encode_answers([OURS, ASKED, answer, again, Message(role="assistant", content="it is")])
    assert first.ids == (1, -200, -200, 15, 16)
    assert first.loss_mask == (False, False, False, True, True)
    assert second.ids == (1, -200, -200, 12, 0)
    assert prompt.encode_answers([OURS, again, answer]) == (), "no scan, nothing to describe"
    whole = ChatTemplate(tokenizer, rows=2).encode_answers([OURS, ASKED, answer])
    assert len(whole[0]) > len(first)
