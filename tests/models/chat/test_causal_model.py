"""A causal model called as its family wants: masks of packed rows, caches, and what of it can be adapted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    GPT2LMHeadModel,
    LlamaForCausalLM,
    MambaForCausalLM,
    MiniMaxConfig,
    MiniMaxForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
)

from tests.language_families import WINDOW, family_config, write_family
from thoracle.errors import CapabilityMissing
from thoracle.models.chat.causal_model import CausalModel, decoder_layers, linear_maps
from thoracle.models.chat.language_model import load_language_model

#: Two conversations behind a beginning of two ids, as (branch, position) of each id.
IDS = [(0, 0), (0, 1), (1, 2), (1, 3), (2, 2), (2, 3)]
BRANCH, POSITIONS = (torch.tensor([[pair[k] for pair in IDS]]) for k in (0, 1))
SEES = ((BRANCH[:, :, None] == BRANCH[:, None]) | (BRANCH[:, None] == 0)) & torch.ones(6, 6, dtype=torch.bool).tril()


def _causal(name: str, folder: Path) -> CausalModel:
    return CausalModel(load_language_model(write_family(name, folder)).model)


def test_masks_of_packed_rows_go_by_positions_and_not_by_places(tmp_path: Path) -> None:
    """By hand: with a window of 2 the last id of the second conversation, in the sixth place, sees itself and the one before."""
    causal = _causal("gemma 2", tmp_path)
    causal.config.sliding_window = 2
    masks = causal.masks(SEES[:, None], POSITIONS, torch.float32)
    assert isinstance(masks, dict)
    assert {kind: (mask[0, 0] == 0).int().tolist() for kind, mask in masks.items()} == {
        "full_attention": [
            [1, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0],
            [1, 1, 1, 1, 0, 0],
            [1, 1, 0, 0, 1, 0],
            [1, 1, 0, 0, 1, 1],
        ],
        "sliding_attention": [
            [1, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [0, 1, 1, 0, 0, 0],
            [0, 0, 1, 1, 0, 0],
            [0, 1, 0, 0, 1, 0],
            [0, 0, 0, 0, 1, 1],
        ],
    }


def test_chunks_begin_anew_at_their_multiples(tmp_path: Path) -> None:
    causal = _causal("llama 4", tmp_path)
    causal.config.attention_chunk_size = 3
    masks = causal.masks(SEES[:, None], POSITIONS, torch.float32)
    assert isinstance(masks, dict)
    assert (masks["chunked_attention"][0, 0] == 0).int().tolist()[3:] == [[0, 0, 0, 1, 0, 0], [1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]


def test_families_of_one_kind_of_layer_take_one_mask(tmp_path: Path) -> None:
    mask = _causal("mistral, window", tmp_path).masks(SEES[:, None], POSITIONS, torch.float32)
    assert isinstance(mask, torch.Tensor)
    assert WINDOW > 4
    assert torch.equal(mask == 0, SEES[:, None]), "all are in the window"


def test_layers_of_another_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(CapabilityMissing, match="family lfm2 have layers of conv"):
        _causal("lfm 2", tmp_path).masks(SEES[:, None], POSITIONS, torch.float32)


def test_a_cache_of_recurrent_layers_cannot_be_cut_back(tmp_path: Path) -> None:
    assert _causal("gemma 3", tmp_path / "a").can_crop
    assert not _causal("qwen 3.5", tmp_path / "b").can_crop


def test_a_family_with_a_cache_of_its_own_kind_is_named() -> None:
    model = RwkvForCausalLM(RwkvConfig(vocab_size=8, hidden_size=8, num_hidden_layers=2, attention_hidden_size=8, intermediate_size=8))
    with pytest.raises(CapabilityMissing, match="family rwkv have a cache of their own kind"):
        CausalModel(model).new_cache()


def test_what_was_read_holds_while_rotary_factors_stay() -> None:
    config = family_config("phi 3, long rope")
    assert isinstance(config, Phi3Config)
    long = CausalModel(Phi3ForCausalLM(config))
    assert long.rereads_at == 64
    assert [long.can_go_on(*lengths) for lengths in ((10, 64), (10, 65), (65, 66), (70, 60))] == [True, False, True, False]
    grows = family_config("llama")
    grows.rope_parameters = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    dynamic = CausalModel(LlamaForCausalLM(grows))
    assert dynamic.rereads_at is None
    assert [dynamic.can_go_on(*lengths) for lengths in ((10, 256), (257, 300))] == [True, False]
    assert CausalModel(LlamaForCausalLM(family_config("llama"))).can_go_on(10, 1000)


def test_a_conversations_most_ids_are_those_of_the_language_part_or_unlimited() -> None:
    assert CausalModel(LlamaForCausalLM(family_config("llama"))).context == 256
    assert CausalModel(GPT2LMHeadModel(family_config("gpt-2"))).context == 256
    assert CausalModel(MambaForCausalLM(family_config("mamba"))).context > 1 << 40


def test_linear_maps_are_all_but_head_and_routers_and_say_what_is_an_experts(tmp_path: Path) -> None:
    maps = linear_maps(load_language_model(write_family("llama 4", tmp_path / "a")).model)
    assert not any("lm_head" in name or "router" in name for name in maps)
    assert {name.rsplit(".", 1)[-1] for name in maps} == {
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    }
    assert not any("vision" in name for name in linear_maps(load_language_model(write_family("gemma 3, images", tmp_path / "b")).model))


@pytest.mark.parametrize("name", ["gpt-2", "opt", "falcon", "gpt-neox", "bloom", "mamba"])
def test_layers_are_found_by_whatever_name(name: str, tmp_path: Path) -> None:
    assert len(decoder_layers(load_language_model(write_family(name, tmp_path)).model)) == 2


def test_a_family_whose_cache_is_refused_in_its_own_words_is_named(tmp_path: Path) -> None:
    """MiniMax's code refuses any cache but its own."""
    config = MiniMaxConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, head_dim=8,
        num_local_experts=2, layer_types=["linear_attention", "full_attention"], block_size=8,
    )  # fmt: skip
    with pytest.raises(CapabilityMissing, match=r"family minimax do not answer here .*cache"):
        CausalModel(MiniMaxForCausalLM(config).eval()).check_cache()


def test_words_one_by_one_that_are_not_those_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    causal = _causal("llama", tmp_path)
    causal.check_cache()
    whole = causal.logits
    monkeypatch.setattr(causal, "logits", lambda ids, *more, **named: whole(ids, *more, **named) + len(ids[0]))
    with pytest.raises(CapabilityMissing, match="read word by word what they do not read at once"):
        causal.check_cache()
