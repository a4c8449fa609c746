"""A small language model for phantoms, with words of its own: how it begins, what it learns beside questions, how it is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from math import isnan
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.files.atomic import replace_folder
from thoracle.models.chat.chat_template import NO_SYSTEM
from thoracle.models.chat.language_model import LanguageModel
from thoracle.models.chat.prompt import TASKS
from thoracle.types import ABNORMALITIES

#: So small a model names what it is surest of again and again.
_REPETITION_PENALTY: Final = 1.2
_END, _PAD = "<|end|>", "<|pad|>"
_CHECKLIST: Final = "Go through all findings."
_ROLES: Final = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
#: Nothing is ever rewritten. Our system prompt is longer than all else that so small a model reads, and it would not heed it.
TEMPLATE: Final = (
    f"{NO_SYSTEM}"
    "{% for m in messages if m['role'] != 'system' %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_phantom_lm(sizes: Any, texts: Sequence[str], *, whole_words: Sequence[str] = ()) -> LanguageModel:
    """Build random weights, and byte-pair words of these texts; what is in `whole_words` is one word each, where it follows a blank."""
    transformers: Any = import_module("transformers")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = [_END, _PAD, *_ROLES, *(f"<{task}>" for task in TASKS)]
    trainer = trainers.BpeTrainer(
        vocab_size=sizes.vocab_size - len(whole_words),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    core.add_tokens([AddedToken(f" {name}", normalized=False) for name in whole_words])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token=_END, pad_token=_PAD)
    tokenizer.chat_template = TEMPLATE
    config = transformers.LlamaConfig(
        **asdict(sizes),
        num_key_value_heads=sizes.num_attention_heads,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="float32",
        initializer_range=sizes.hidden_size**-0.5,  # of so small a model; transformers' 0.02 is made for wide ones
    )
    model = transformers.LlamaForCausalLM(config)
    model.generation_config.repetition_penalty = _REPETITION_PENALTY
    return LanguageModel(model=model, tokenizer=tokenizer)


def checklist_conversations(names: Iterable[str], findings: Callable[[str], Tensor]) -> Iterator[QuestionSet]:
    """List all findings of each scan in turn, present or absent; unknown ones are left out.

    Eighteen answers at once, each beside the name that it is looked up by, teach a model to look findings up in half as many steps (0072).
    """
    for name in names:
        answers = zip(ABNORMALITIES, findings(name)[:, 0].tolist(), strict=True)
        sentences = [f"{finding.lower()} {'yes' if there else 'no'}" for finding, there in answers if not isnan(there)]
        if sentences:
            pair = QuestionAnswer(question=_CHECKLIST, answer=f"Findings: {', '.join(sentences)}.", task="long_answer", type="description")
            yield QuestionSet(id=f"{name}:checklist", images=(name,), pairs=(pair,))


def save_phantom_lm(out: Path, language: LanguageModel, weights: Mapping[str, Tensor]) -> None:
    """Write a folder that `transformers` opens; whole or not at all."""
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    language.model.config.architectures = [type(language.model).__name__]
    language.model.config.save_pretrained(temporary)
    language.model.generation_config.save_pretrained(temporary)
    language.tokenizer.save_pretrained(temporary)
    save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, temporary / "model.safetensors", {"format": "pt"})
    replace_folder(temporary, out)
