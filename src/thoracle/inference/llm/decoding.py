"""Words one after the other out of a language model: streamed, seeded, stopped.

Shapes: N ids that are new, H width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers.decoders import DecodeStream
from torch import Tensor

from thoracle.errors import InputError


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
def generate_ids(model: Any, embedded_1NH: Tensor, *, past: Any, ends: frozenset[int], sampling: SamplingOptions) -> Iterator[int]:
    """Generate ids, up to one of `ends`, which is not given. `past` has what was read before, and grows by all that is read here.

    Where the model's own generation_config.json has a `repetition_penalty` (Keskar et al., arXiv:1909.05858), what the answer said is
    said again less readily.

    Args:
        model: a causal language model of transformers.
        embedded_1NH: what is new to it.
        past: its cache.
        ends: ids that end an answer.
        sampling: how ids are drawn.
    """
    generator = torch.Generator(device=embedded_1NH.device).manual_seed(sampling.seed)
    inputs: dict[str, Tensor] = {"inputs_embeds": embedded_1NH}
    less_readily = _repetition_penalty(model)
    said_1N = torch.zeros(1, 0, dtype=torch.long, device=embedded_1NH.device)
    for _ in range(sampling.max_tokens):
        logits_1V = model(**inputs, past_key_values=past, use_cache=True, logits_to_keep=1).logits[:, -1].float()
        logits_V = (logits_1V if less_readily is None else less_readily(said_1N, logits_1V))[0]
        if sampling.temperature:
            drawn = torch.multinomial((logits_V / sampling.temperature).softmax(-1), 1, generator=generator)
        else:
            drawn = logits_V.argmax(keepdim=True)
        number = int(drawn)
        if number in ends:
            return
        yield number
        inputs = {"input_ids": drawn[None]}
        said_1N = torch.cat([said_1N, drawn[None]], dim=1)


def _repetition_penalty(model: Any) -> Any:
    from transformers import RepetitionPenaltyLogitsProcessor

    penalty = getattr(getattr(model, "generation_config", None), "repetition_penalty", None)
    return None if penalty in (None, 1.0) else RepetitionPenaltyLogitsProcessor(float(penalty))


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
