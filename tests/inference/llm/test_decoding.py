"""Words drawn one after the other: a model's own settings are heeded as `generate` heeds them, and what is not heeded is listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.language_families import write_family
from thoracle.inference.llm.decoding import SamplingOptions, generate_ids, ignored_settings, stop_at
from thoracle.models.chat.causal_model import CausalModel
from thoracle.models.chat.language_model import load_language_model
from thoracle.models.chat.prompt import IMAGE_TOKEN_INDEX

PROMPT = torch.tensor([[7, 8, 9, 10, 11, 12, 7, 8, 9, 10, 11, 12]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def model(folder: Path) -> Any:
    return load_language_model(folder).model


def _drawn(model: Any, prompt_1N: torch.Tensor = PROMPT, **sampling: Any) -> list[int]:
    causal = CausalModel(model)
    embedded = causal.embed(prompt_1N.clamp(min=0))
    options = SamplingOptions(**{"max_tokens": 12, **sampling})
    return list(generate_ids(causal, prompt_1N, embedded, past=causal.new_cache(), read=0, ends=frozenset({0}), sampling=options))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repetition_penalty": 1.4},
        {"no_repeat_ngram_size": 2},
        {"suppress_tokens": list(range(100, 320))},
        {"begin_suppress_tokens": list(range(1, 50))},
        {"bad_words_ids": [[number] for number in range(60, 200)]},
        {"forced_bos_token_id": 40},
        {"min_new_tokens": 12, "suppress_tokens": list(range(1, 300))},
    ],
    ids=lambda settings: next(iter(settings), "none"),
)
def test_settings_of_words_are_heeded_as_generate_does_with_the_same_prompt(settings: dict[str, Any], model: Any) -> None:
    plain = _drawn(model)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    expected = model.generate(input_ids=PROMPT, max_new_tokens=12, do_sample=False)[0, PROMPT.shape[1] :].tolist()
    assert _drawn(model) == [number for number in expected if number != 0]
    assert bool(settings) == (_drawn(model) != plain) or "forced_bos_token_id" in settings, "the setting changes words here"
    assert not ignored_settings(model)


def test_words_of_a_prompt_with_a_scan_are_no_words_before_as_for_generate_from_embeddings(model: Any) -> None:
    model.generation_config.repetition_penalty = 1.4
    embedded = model.get_input_embeddings()(PROMPT)
    expected = model.generate(inputs_embeds=embedded, max_new_tokens=12, do_sample=False)[0].tolist()
    with_scan = PROMPT.clone()
    with_scan[0, 3] = IMAGE_TOKEN_INDEX
    causal, options = CausalModel(model), SamplingOptions(max_tokens=12)
    drawn = generate_ids(causal, with_scan, embedded, past=causal.new_cache(), read=0, ends=frozenset({0}), sampling=options)
    assert list(drawn) == [number for number in expected if number != 0]


def test_above_temperature_nothing_a_word_outside_the_folders_top_k_is_never_drawn(model: Any) -> None:
    model.generation_config.top_k = 1
    assert _drawn(model, temperature=5.0, seed=1) == _drawn(model)


def test_what_is_not_heeded_is_listed(model: Any) -> None:
    model.generation_config.num_beams, model.generation_config.do_sample, model.generation_config.temperature = 4, True, 0.6
    assert ignored_settings(model) == ("do_sample=True", "num_beams=4", "temperature=0.6")


@pytest.mark.parametrize("end", [False, True])
def test_whether_the_limit_ended_an_answer_is_returned(end: bool, model: Any) -> None:
    words, causal = _drawn(model, max_tokens=3), CausalModel(model)
    ends, options = frozenset(words[2:] if end else [0]), SamplingOptions(max_tokens=3)
    drawn = generate_ids(causal, PROMPT, causal.embed(PROMPT), past=causal.new_cache(), read=0, ends=ends, sampling=options)
    for _ in range(words.index(words[2]) if end else 3):
        next(drawn)
    with pytest.raises(StopIteration) as stopped:
        next(drawn)
    assert stopped.value.value is not end


def test_words_beyond_the_original_length_are_those_of_generate_which_reads_all_again(tmp_path: Path) -> None:
    """Phi-3's rotary factors change at the 65th id, in mid answer."""
    model, prompt = load_language_model(write_family("phi 3, long rope", tmp_path)).model, torch.arange(100, 160)[None]
    expected = model.generate(input_ids=prompt, max_new_tokens=12, do_sample=False)[0, 60:].tolist()
    assert _drawn(model, prompt) == [number for number in expected if number != 0]


def test_an_answer_ends_at_a_stop_that_comes_in_parts() -> None:
    assert "".join(stop_at(iter(["One. E", "N", "D two"]), ["END"])) == "One. "
    assert "".join(stop_at(iter(["One. E", "N", "J"]), ["END"])) == "One. ENJ"
