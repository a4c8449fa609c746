"""A loaded chat model: questions about scans to words, one after the other.

Shapes: N ids.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thoracle.errors import CapabilityMissing, InputError
from thoracle.inference.chat.conversation import Conversation, Turn
from thoracle.inference.chat.scan_question_rule import REFUSAL, requires_scan
from thoracle.inference.chat.scan_tokens import tokens_of
from thoracle.inference.llm.decoding import SamplingOptions, detokenize, generate_ids, ignored_settings, stop_at
from thoracle.inference.model import Model, load
from thoracle.models.chat.adapters import ADAPTER_CONFIG
from thoracle.models.chat.causal_model import CausalModel
from thoracle.models.chat.chat_folder import ADAPTER, PROJECTOR, open_chat
from thoracle.models.chat.chat_template import ChatTemplate, Encoded
from thoracle.models.chat.components import load_projector
from thoracle.models.chat.language_model import ChatModel, Dtype, LanguageModel, load_language_model
from thoracle.models.chat.layout import EvidencePlacement
from thoracle.models.chat.prompt import AnswerType, Message
from thoracle.models.chat.published_prompt import PublishedPrompt
from thoracle.models.chat.scan_tokens import check_gives_grid
from thoracle.models.ctchat.projector import Projector

GREEDY = SamplingOptions()
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ChatComponents:
    """Locate the parts of a chat model where no chat folder does: as published, or trained elsewhere.

    Attributes:
        encoder: model folder, such as CT-CLIP's image encoder's.
        base: the language model.
        projector: a model folder, mm_projector.bin, or a folder with non_lora_trainables.bin.
        adapter: peft's folder; None for the language model as it is.
    """

    encoder: Path
    base: Path
    projector: Path
    adapter: Path | None = None

    @classmethod
    def published(cls, folder: Path, *, encoder: Path, base: Path) -> ChatComponents:
        """Locate the parts of a published folder, in which adapter and projector lie together."""
        return cls(encoder=encoder, base=base, projector=folder, adapter=folder if (folder / ADAPTER_CONFIG).is_file() else None)


def load_chat(
    source: Path | ChatComponents,
    *,
    encoder: Path | None = None,
    base: Path | None = None,
    device: str = "auto",
    dtype: Dtype = "auto",
    evidence: EvidencePlacement = "user",
) -> Chat:
    """Open a chat folder, or the parts of a chat model.

    Args:
        source: the folder that `thoracle train chat` wrote, or parts.
        encoder, base: of a chat folder, where these are now, if they were moved.
        device: as `load`.
        dtype: of the language model, as `load_language_model`; the encoder is exact.
        evidence: where data stand in a prompt, as in `ChatTemplate`.

    Raises:
        InputError: a part that is not there.
        ModelError: a part that is damaged, or does not fit the others.
        CapabilityMissing: the encoder does not give all scans tokens on one regular grid, or the language model has no chat template, one
            that loses turns, or a cache of its own kind.
        ExtraMissing: transformers or peft are not installed.
    """
    caution = ""
    if isinstance(source, Path):
        folder = open_chat(source, encoder=encoder, base=base)
        adapter = source / ADAPTER if folder.adapter else None
        source = ChatComponents(encoder=folder.encoder, base=folder.base, projector=folder.path / PROJECTOR, adapter=adapter)
        caution = folder.caution
    reader = load(source.encoder, device=device)
    check_gives_grid(reader.folder)  # before a language model is read for minutes
    projector = load_projector(source.projector)
    language = load_language_model(source.base, adapter=source.adapter, device=reader.device, dtype=dtype)
    if source.adapter is not None and language.model.dtype == torch.float32:
        # One product in place of three; of fewer digits the sum would lose what the adapter learned.
        language = replace(language, model=language.model.merge_and_unload())
    return Chat(language, projector, encoder=reader, caution=caution or reader.folder.disclaimer, evidence=evidence)


class Chat:
    """Answer questions about scans; made by `load_chat`.

    Attributes:
        encoder: gives a scan's tokens.
        caution: what a person must be told of what it was trained on; "" for models of patients.

    Raises:
        CheckpointIncomplete: projector, encoder and language model are of unlike width.
        CapabilityMissing: the language model has no chat template, or one that loses turns, or a cache of its own kind.
    """

    def __init__(
        self, language: LanguageModel, projector: Projector, *, encoder: Model, caution: str, evidence: EvidencePlacement = "user"
    ) -> None:
        self.encoder, self.caution = encoder, caution
        self._language = language
        self._model = ChatModel(language.model, projector).eval().requires_grad_(False).to(encoder.device)
        self._tokens = tokens_of(encoder)
        if self._tokens.width != projector.config.dim_context:
            detail = f"the encoder gives tokens of {self._tokens.width}, the projector reads {projector.config.dim_context}"
            raise InputError(detail, hint="Give the encoder that the projector was trained on.", source=encoder.folder.path)
        prompt = PublishedPrompt if language.published else ChatTemplate
        self._prompter = prompt(language.tokenizer, rows=projector.config.num_tokens, evidence=evidence)
        self._causal, self._ends = CausalModel(language.model), _ends(language)
        self._causal.check_cache()
        if not hasattr(language.tokenizer, "backend_tokenizer"):
            hint = "Put its tokenizer.json into its folder."
            raise CapabilityMissing(
                "the language model's tokenizer is none of the tokenizers library", hint=hint, source=language.tokenizer.name_or_path
            )
        self._kept: _Read | None = None
        self._answering = threading.Lock()
        if ignored := ignored_settings(language.model):
            _log.warning("generation_config.json says what is not heeded here: %s", ", ".join(ignored))

    def answer(
        self, conversation: Conversation, question: str, *, task: AnswerType = "long_answer", sampling: SamplingOptions = GREEDY
    ) -> Iterator[str]:
        """Yield the answer in pieces, as they come; with the last one the turn joins the conversation.

        Without a scan, a question about one is declined without asking the model.

        Raises:
            InputError: an empty question, or a conversation longer than the language model reads.
        """
        if not question.strip():
            raise InputError("the question is empty", hint="Ask something.")
        if not conversation.scans and requires_scan(question, task=task):
            pieces: Iterator[str] = iter((REFUSAL,))
        else:
            pieces = self.generate(conversation.messages(question, task), conversation.scans, sampling=sampling)
        answer = ""
        for piece in pieces:
            answer += piece
            yield piece
        conversation.turns.append(Turn(question=question.strip(), task=task, answer=answer.strip()))

    def complete_text(self, messages: list[Message], /, *, sampling: SamplingOptions) -> Iterator[str]:
        """Yield the language model's answer to turns without scans, as `TextGenerator` does."""
        return self.generate(messages, (), sampling=sampling)

    def generate(self, messages: list[Message], scans: tuple[Tensor, ...], *, sampling: SamplingOptions) -> Iterator[str]:
        """Yield the model's answer to any turns; it reuses its cache of earlier turns.

        Raises:
            InputError: they are longer than the language model reads, or another answer of this chat is not finished.
            CapabilityMissing: its chat template cannot say them.
        """
        encoded = self._prompter.encode(messages)
        self._check_length(encoded, sampling)
        if not self._answering.acquire(blocking=False):
            hint = "Read it to its end or close it first: a chat has one cache of what was read."
            raise InputError("another answer of this chat is not finished", hint=hint)
        try:
            ids_1N = torch.tensor([encoded.ids], device=self.encoder.device)
            with torch.inference_mode():
                tokens = self._tokens.expand(torch.stack(scans).to(self.encoder.device)) if scans else None
                embedded_1NH = self._model.embed(ids_1N, tokens)
            read, past = self._past(encoded, scans)
            ids = generate_ids(self._causal, ids_1N, embedded_1NH, past=past, read=read, ends=self._ends, sampling=sampling)
            with closing(self._noting(ids, _Read(ids=encoded.ids, scans=scans, past=past), limit=sampling.max_tokens)) as answer:
                yield from stop_at(detokenize(answer, self._language.tokenizer), sampling.stop)
        finally:
            self._answering.release()

    def _noting(self, ids: Generator[int, None, bool], reading: _Read, *, limit: int) -> Generator[int]:
        """Ids as they come; the cache is noted where the answer ends or is closed between words, and dropped where anything fails."""
        try:
            cut = yield from ids
        except GeneratorExit:
            self._kept = reading
            raise
        self._kept = reading
        if cut:
            _log.warning("the answer ended at its limit of %d tokens, and may be cut off; --max-tokens raises it", limit)

    def fits(self, messages: list[Message], *, max_tokens: int) -> bool:
        """Tell whether the language model reads so many words, with an answer of so many tokens."""
        return len(self._prompter.encode(messages)) + max_tokens <= self._language.context

    def _check_length(self, encoded: Encoded, sampling: SamplingOptions) -> None:
        total, context = len(encoded) + sampling.max_tokens, self._language.context
        if total > context:
            raise InputError(
                f"the conversation has {len(encoded):,} tokens and an answer up to {sampling.max_tokens:,},"
                f" the language model reads {context:,}",
                hint="Begin a new conversation, or ask for shorter answers with --max-tokens.",
            )

    def _past(self, encoded: Encoded, scans: tuple[Tensor, ...]) -> tuple[int, Any]:
        """How many ids were read before for this beginning, at most all but one, and the cache that holds them, which is noted no more."""
        cached, self._kept = self._kept, None
        if cached is None or not self._causal.can_crop or len(cached.scans) != len(scans) or not all(map(torch.equal, cached.scans, scans)):
            return 0, self._causal.new_cache()
        alike = (before_id == new_id for before_id, new_id in zip(cached.ids, encoded.ids[:-1], strict=False))
        read = next((number for number, same in enumerate(alike) if not same), min(len(cached.ids), len(encoded) - 1))
        length = cached.past.get_seq_length()
        if not read or not self._causal.can_go_on(length, len(encoded)):
            return 0, self._causal.new_cache()
        if length > read:
            cached.past.crop(read - length)
        return read, cached.past


@dataclass(frozen=True, kw_only=True, eq=False)
class _Read:
    """What a language model has read: its cache holds these ids, and the words of the answer behind them."""

    ids: tuple[int, ...]
    scans: tuple[Tensor, ...]
    past: Any


def _ends(language: LanguageModel) -> frozenset[int]:
    stops = [language.tokenizer.eos_token_id, language.model.config.eos_token_id]
    generation = getattr(language.model, "generation_config", None)
    stops.append(None if generation is None else generation.eos_token_id)
    return frozenset(number for stop in stops if stop is not None for number in (stop if isinstance(stop, list) else [stop]))
