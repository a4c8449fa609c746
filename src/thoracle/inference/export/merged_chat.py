"""Merge a chat model's adapter into its language model: a folder that any library opens, whose answers were compared before it stays."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from thoracle.errors import InputError, ModelFolderInvalid
from thoracle.inference.llm.decoding import SamplingOptions, generate_ids
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.models.chat.adapters import describe_adapter
from thoracle.models.chat.causal_model import CausalModel
from thoracle.models.chat.chat_folder import ADAPTER, PROJECTOR, open_chat, save_chat
from thoracle.models.chat.chat_template import ChatTemplate
from thoracle.models.chat.language_model import LanguageModel, load_language_model
from thoracle.models.chat.prompt import SYSTEM, Message

#: Of the largest logit: sums of float32 in another order differ by less.
TOLERANCE: Final = 1e-4
_QUESTION: Final = "What is a pleural effusion?"
_WORDS: Final = SamplingOptions(max_tokens=16)


@dataclass(frozen=True, kw_only=True)
class MergedChat:
    """Say what was merged, and how far logits differ after it, of the largest."""

    summary: str
    difference: float


def export_merged_chat(chat: Path, out: Path, *, encoder: Path | None = None, base: Path | None = None) -> MergedChat:
    """Write a chat folder that holds its language model with the adapter merged into it.

    Args:
        chat: a chat folder with an adapter.
        out: the new one.
        encoder, base: of the chat folder, where these are now, if they were moved.

    Raises:
        InputError: it has no adapter.
        ModelFolderInvalid: merged, it answers otherwise; nothing is written.
        ModelError, ExtraMissing: as `load_language_model`.
    """
    folder = open_chat(chat, encoder=encoder, base=base)
    if not folder.adapter:
        raise InputError("has no adapter: its language model is its base as it is", hint="Give the folder of stage lora.", source=chat)
    language = load_language_model(folder.base, adapter=chat / ADAPTER, dtype="float32")
    summary, before = describe_adapter(language.model).replace("adapts", "of", 1), _answer(language)
    projector = open_model(chat / PROJECTOR, verify=True)
    differences: list[float] = []

    def write(place: Path) -> None:
        language.model.merge_and_unload().save_pretrained(place)
        language.tokenizer.save_pretrained(place)
        differences.append(_difference(before, _answer(load_language_model(place, dtype="float32")), source=chat))

    work = out.with_name(f".{out.name}.merged.tmp")
    try:
        save_chat(
            work,
            encoder=folder.encoder,
            base=write,
            projector=projector.config,
            projector_tensors=load_state_dict(projector),
            adapter=None,
            adapter_tensors={},
            caution=folder.caution,
            notes=(f"{summary}, merged into the language model.",),
        )
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return MergedChat(summary=f"{summary}, merged", difference=differences[0])


def _answer(language: LanguageModel) -> tuple[list[int], Tensor]:
    """Words to a question without a scan, and the logits of the question's words."""
    turns = [Message(role="system", content=SYSTEM), Message(role="user", content=_QUESTION)]
    ids_1N = torch.tensor([ChatTemplate(language.tokenizer, rows=1).encode(turns).ids])
    causal = CausalModel(language.model)
    with torch.inference_mode():
        logits_NV = causal.logits(ids_1N)[0]
        embedded_1NH = causal.embed(ids_1N)
    words = generate_ids(causal, ids_1N, embedded_1NH, past=causal.new_cache(), read=0, ends=frozenset(), sampling=_WORDS)
    return list(words), logits_NV


def _difference(before: tuple[list[int], Tensor], after: tuple[list[int], Tensor], *, source: Path) -> float:
    largest = float((before[1] - after[1]).abs().max() / before[1].abs().max())
    if before[0] != after[0] or not largest <= TOLERANCE:
        detail = f"merged, its language model answers otherwise (logits by {largest:.1e} of the largest); nothing was written"
        raise ModelFolderInvalid(detail, hint="Keep the adapter beside its base.", source=source)
    return largest
