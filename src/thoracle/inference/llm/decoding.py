"""Words one after the other out of a language model: streamed, seeded, stopped.

Shapes: N ids, H width.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from tokenizers.decoders import DecodeStream
from torch import Tensor

from thoracle.errors import InputError
from thoracle.models.chat.causal_model import CausalModel
from thoracle.models.chat.prompt import IMAGE_TOKEN_INDEX

#: What generation_config.json says of words and is heeded, or says nothing of them.
_HEEDED: Final = frozenset({
    "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "min_length", "min_new_tokens", "forced_bos_token_id", "suppress_tokens",
    "begin_suppress_tokens", "top_k", "top_p", "min_p", "typical_p", "eos_token_id", "bos_token_id", "pad_token_id", "transformers_version",
    "use_cache", "_from_model_config", "cache_implementation", "return_dict_in_generate", "output_attentions", "output_hidden_states",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Configure how an answer is sampled.

    Attributes:
        max_tokens: at most.
        temperature: 0 always takes the likeliest word.
        seed: the same words again, where the temperature is not 0.
        stop: texts at which an answer ends, without them.

    Raises:
        InputError: values that make no sense.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not 0 <= self.temperature <= 10 or self.seed < 0 or "" in self.stop:
            detail = "max_tokens must be positive, temperature 0 to 10, seed not negative, and stop not empty"
            raise InputError(detail, hint="Correct them.")


@torch.inference_mode()
def generate_ids(
    causal: CausalModel, ids_1N: Tensor, embedded_1NH: Tensor, *, past: Any, read: int, ends: frozenset[int], sampling: SamplingOptions
) -> Generator[int, None, bool]:
    """Generate ids, up to one of `ends`, which is not given; return whether the limit of words ended them.

    What the model's own generation_config.json says of words is heeded as `generate` does with the same prompt, but for `ignored_settings`.

    Args:
        causal: the language model.
        ids_1N: the prompt, `IMAGE_TOKEN_INDEX` where a scan's rows stand.
        embedded_1NH: the same as embeddings.
        past: the model's cache, which has read the first `read` ids, and grows by all that is read here.
        read: as above.
        ends: ids that end an answer.
        sampling: how ids are drawn.
    """
    generator = torch.Generator(device=ids_1N.device).manual_seed(sampling.seed)
    prompt, restart = ids_1N.shape[1], causal.rereads_at
    first = prompt if (ids_1N == IMAGE_TOKEN_INDEX).any() else 0  # `generate` from embeddings has no words of the prompt
    processors = _processors(causal.base, prompt - first, ends=ends, sampling=sampling, device=ids_1N.device)
    for _ in range(sampling.max_tokens):
        if restart is not None and 0 < read <= restart < ids_1N.shape[1]:
            past.crop(-past.get_seq_length())
            read = 0
        positions_1N = torch.arange(read, ids_1N.shape[1], device=ids_1N.device)[None]
        new_1NH = torch.cat([embedded_1NH[:, read:], causal.embed(ids_1N[:, prompt:])], dim=1) if read < prompt else None
        logits_1V = causal.logits(ids_1N[:, read:], new_1NH, keep=1, past=past, position_ids=positions_1N)[:, -1].float()
        read = ids_1N.shape[1]
        logits_V = processors(ids_1N[:, first:], logits_1V)[0]
        drawn = torch.multinomial(logits_V.softmax(-1), 1, generator=generator) if sampling.temperature else logits_V.argmax(keepdim=True)
        number = int(drawn)
        if number in ends:
            return False
        yield number
        ids_1N = torch.cat([ids_1N, drawn[None]], dim=1)
    return True


def ignored_settings(model: Any) -> tuple[str, ...]:
    """List the settings of a model's generation_config.json that are not heeded, with what they say."""
    settings = getattr(model, "generation_config", None)
    stated = {} if settings is None else settings.to_diff_dict()
    return tuple(f"{name}={value}" for name, value in sorted(stated.items()) if name not in _HEEDED and value is not None)


def _processors(model: Any, before: int, *, ends: frozenset[int], sampling: SamplingOptions, device: torch.device) -> Any:
    """What changes the scores of words, in the order of `generate`; `before` words of the prompt are seen."""
    from importlib import import_module

    t: Any = import_module("transformers")

    settings, made = getattr(model, "generation_config", None), t.LogitsProcessorList()

    def add(name: str, make: Callable[[Any], Any], *, neutral: tuple[object, ...] = ()) -> None:
        value = getattr(settings, name, None)
        if value is not None and value not in neutral:
            made.append(make(value))

    end = sorted(ends)
    add("repetition_penalty", t.RepetitionPenaltyLogitsProcessor, neutral=(1.0,))
    add("no_repeat_ngram_size", t.NoRepeatNGramLogitsProcessor, neutral=(0,))
    add("bad_words_ids", lambda words: t.NoBadWordsLogitsProcessor(words, torch.tensor(end, device=device)), neutral=([],))
    add("min_length", lambda least: t.MinLengthLogitsProcessor(least, end, device=device), neutral=(0,))
    add("min_new_tokens", lambda least: t.MinNewTokensLengthLogitsProcessor(before, least, end, device=device), neutral=(0,))
    add("forced_bos_token_id", t.ForcedBOSTokenLogitsProcessor)
    add("suppress_tokens", lambda words: t.SuppressTokensLogitsProcessor(words, device=device), neutral=([],))
    add("begin_suppress_tokens", lambda words: t.SuppressTokensAtBeginLogitsProcessor(words, before, device=device), neutral=([],))
    if sampling.temperature:
        made.append(t.TemperatureLogitsWarper(float(sampling.temperature)))
        add("top_k", t.TopKLogitsWarper, neutral=(0,))
        add("top_p", t.TopPLogitsWarper, neutral=(1.0,))
        add("min_p", t.MinPLogitsWarper, neutral=(0.0,))
        add("typical_p", t.TypicalLogitsWarper, neutral=(1.0,))
    return made


def detokenize(ids: Iterator[int], tokenizer: Any) -> Iterator[str]:
    """Decode ids to text, in pieces of whole characters."""
    stream = DecodeStream(skip_special_tokens=True)
    for number in ids:
        piece = stream.step(tokenizer.backend_tokenizer, number)
        if piece:
            yield piece


def stop_at(pieces: Iterator[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield text up to the first of `stop`; what could be the beginning of one is held back until it is known not to be."""
    pending = ""
    for piece in pieces:
        pending += piece
        hits = [hit for hit in (pending.find(marker) for marker in stop) if hit >= 0]
        if hits:
            pending = pending[: min(hits)]
            break
        keep = max((n for marker in stop for n in range(1, len(marker)) if pending.endswith(marker[:n])), default=0)
        if len(pending) > keep:
            yield pending[: len(pending) - keep]
            pending = pending[len(pending) - keep :]
    if pending:
        yield pending
