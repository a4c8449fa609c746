"""CTViT: every published tensor from the published weights; a naive rendering elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thoracle.errors import InputError
from thoracle.models.ctclip.config import CTViTConfig
from thoracle.models.ctclip.ctvit import CTViT, VolumeTokens

PREFIX = "visual_transformer."


@pytest.fixture
def encoder(published) -> CTViT:
    encoder = CTViT(published.config.ctvit)
    encoder.load_state_dict({key.removeprefix(PREFIX): value for key, value in published.weights.items() if key.startswith(PREFIX)})
    return encoder.eval()


def test_keys_are_the_published_ones(published) -> None:
    ours = {key: value.shape for key, value in CTViT(published.config.ctvit).state_dict().items()}
    assert ours == {key.removeprefix(PREFIX): value.shape for key, value in published.weights.items() if key.startswith(PREFIX)}


@pytest.mark.parametrize("grad", [False, True])
def test_published_tokens(published, encoder: CTViT, error: Callable, grad: bool) -> None:
    with torch.set_grad_enabled(grad):
        got: VolumeTokens = encoder(published.expected["volume"])
        bias = encoder.spatial_rel_pos_bias((4, 4))
    assert error(bias, published.expected["position_bias"]) < 1e-6
    assert error(got.pre_quantization_BND, published.expected["tokens_before_vq"]) < 1e-6
    assert torch.equal(got.indices_BN, published.expected["codebook_indices"])
    assert error(got.tokens_BTHWD, published.expected["encoded_tokens"]) < 1e-6


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(2, 4)).filter(lambda s: len(set(s)) == 3),
    patch=st.integers(1, 3),
    step=st.integers(1, 3),
    depths=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    seed=st.integers(0, 2**20),
)
def test_batch_time_and_grid_unlike(naive: ModuleType, sizes, patch: int, step: int, depths, seed: int) -> None:
    torch.manual_seed(seed)
    batch, time, grid = sizes
    config = CTViTConfig(
        dim=12, codebook_size=19, image_size=grid * patch, patch_size=patch, temporal_patch_size=step, heads=3, dim_head=4,
        spatial_depth=depths[0], temporal_depth=depths[1],
    )  # fmt: skip
    encoder = CTViT(config).double().eval()
    volume = torch.randn(batch, 1, time * step, grid * patch, grid * patch).double()
    with torch.no_grad():
        got, expected = encoder(volume), naive.encode_volume(encoder.state_dict(), config, volume)
    torch.testing.assert_close(got.pre_quantization_BND, expected.before_codebook, rtol=1e-8, atol=1e-9)
    assert torch.equal(got.indices_BN, expected.indices)
    torch.testing.assert_close(got.tokens_BTHWD, expected.tokens)


def test_weights_may_be_assigned_to_a_model_without_memory(published, encoder: CTViT) -> None:
    with torch.device("meta"):
        bare = CTViT(published.config.ctvit)
    bare.load_state_dict(encoder.state_dict(), assign=True)
    with torch.no_grad():
        assert torch.equal(
            bare.eval()(published.expected["volume"]).pre_quantization_BND, encoder(published.expected["volume"]).pre_quantization_BND
        )


def test_without_a_codebook_tokens_are_those_before_it(published, encoder: CTViT) -> None:
    bare = CTViT(replace(published.config.ctvit, quantize=False))
    weights = {name: tensor for name, tensor in encoder.state_dict().items() if not name.startswith("vq.")}
    bare.load_state_dict(weights)  # strict: nothing of a codebook is left
    with torch.no_grad():
        quantized, tokens = encoder(published.expected["volume"]), bare.eval()(published.expected["volume"])
    assert torch.equal(tokens.tokens_BTHWD.flatten(1, 3), quantized.pre_quantization_BND)
    assert not torch.equal(tokens.tokens_BTHWD, quantized.tokens_BTHWD)
    assert (tokens.indices_BN, tokens.codes, bare.codes) == (None, None, None)


@pytest.mark.parametrize("shape", [(1, 40, 80, 80), (1, 2, 40, 80, 80), (1, 1, 41, 80, 80), (1, 1, 40, 80, 81), (1, 1, 0, 80, 80)])
def test_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="was expected"):
        CTViT(CTViTConfig(dim=8, image_size=80, codebook_size=4))(torch.zeros(shape))
