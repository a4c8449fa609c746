"""COLIPRI: every vector of the published package, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from thoracle.errors import InputError
from thoracle.models.colipri.model import Colipri
from thoracle.models.common.zero_shot import zero_shot_probabilities
from thoracle.models.encoder import EncodedText


def _text(expected: dict[str, Tensor]) -> EncodedText:
    return EncodedText(input_ids_BN=expected["text.ids"].long(), attention_mask_BN=expected["text.mask"].long())


@torch.no_grad()
def test_published_volumes(tiny: Colipri, expected: dict[str, Tensor], error: Callable) -> None:
    encoded = tiny.encode_volume(expected["image.input"])
    assert error(encoded.tokens.movedim(-1, 1), expected["image.features"]) < 1e-5
    assert error(encoded.latent_BL, expected["image.embedding"]) < 1e-5
    assert error(encoded.patch_latents.movedim(-1, 1), expected["image.dense_normalized"]) < 1e-5
    image = tiny.image_encoder
    projected = image.project(encoded.tokens)
    assert error(image.pooler(projected.flatten(1, 3)), expected["image.pooled"]) < 1e-5
    assert error(image.pooler.project_values(projected).movedim(-1, 1), expected["image.dense"]) < 1e-5
    torch.testing.assert_close(tiny.project_tokens(encoded.tokens), encoded.latent_BL)


@torch.no_grad()
def test_published_texts(tiny: Colipri, expected: dict[str, Tensor], error: Callable) -> None:
    text = _text(expected)
    hidden = tiny.text_encoder.backbone.hidden_states(text.input_ids_BN, text.attention_mask_BN)
    first = expected["text.tokens_first48"]
    mask = expected["text.mask"][:, :48] == 1
    assert error(hidden[:, :48][mask], first[mask]) < 1e-5
    assert error(tiny.text_encoder(text), expected["text.pooled"]) < 1e-5
    assert error(tiny.encode_text(text), expected["text.embedding"]) < 1e-5


@torch.no_grad()
def test_shorter_padding_gives_the_same(tiny: Colipri, expected: dict[str, Tensor], error: Callable) -> None:
    longest = int(expected["text.mask"].sum(dim=1).max())
    assert longest < 60, "so that padding is left out"
    text = _text(expected)
    short = EncodedText(input_ids_BN=text.input_ids_BN[:, :longest], attention_mask_BN=text.attention_mask_BN[:, :longest])
    assert error(tiny.encode_text(short), expected["text.embedding"]) < 1e-5
    old = _of_0_1_2(tiny)
    assert error(old.encode_text(short), expected["text.embedding_colipri_0_1_2"]) < 1e-5


@torch.no_grad()
def test_the_older_pooling_of_texts(tiny: Colipri, expected: dict[str, Tensor], error: Callable) -> None:
    embedding = _of_0_1_2(tiny).encode_text(_text(expected))
    assert error(embedding, expected["text.embedding_colipri_0_1_2"]) < 1e-5
    assert error(embedding, expected["text.embedding"]) > 1e-2, "or the vectors would not tell the versions apart"


@torch.no_grad()
def test_published_probabilities(tiny: Colipri, expected: dict[str, Tensor], error: Callable) -> None:
    encoded, text_BL = tiny.encode_volume(expected["image.input"]), tiny.encode_text(_text(expected))
    assert tiny.logit_scale.item() == pytest.approx(1 / 0.07)
    similarity = encoded.latent_BL @ text_BL.T
    assert error(similarity, expected["similarity"]) < 1e-5
    assert error((similarity * tiny.logit_scale).softmax(dim=-1), expected["probability"]) < 1e-5
    dense = torch.einsum("bxyzl,pl->bpxyz", encoded.patch_latents, text_BL)
    assert error(dense, expected["dense_similarity"]) < 1e-5


@torch.no_grad()
def test_a_pair_of_prompts_is_compared_as_published(tiny: Colipri, expected: dict[str, Tensor], error: Callable) -> None:
    """The first two prompts say "no lung nodules" and "lung nodules": their softmax over the published three is that of the pair."""
    absent, present = tiny.encode_text(_text(expected))[:2]
    latents = tiny.encode_volume(expected["image.input"]).latent_BL
    pair = expected["probability"][:, :2]
    probability = zero_shot_probabilities(torch.stack([present, absent]), latents, tiny.logit_scale)
    assert error(probability[:, 0], pair[:, 1] / pair.sum(dim=1)) < 1e-5


@torch.no_grad()
def test_a_scan_of_the_published_pipeline(tiny: Colipri, expected: dict[str, Tensor], error: Callable) -> None:
    latents = tiny.encode_volume(expected["pipeline.input"][None]).latent_BL
    absent, present = tiny.encode_text(_text(expected))[:2]
    probability = zero_shot_probabilities(torch.stack([present, absent]), latents, tiny.logit_scale)
    assert error(probability[0], expected["pipeline.probability"][1:]) < 1e-5


@torch.no_grad()
def test_a_larger_volume_is_read_window_by_window(tiny: Colipri, expected: dict[str, Tensor], error: Callable) -> None:
    encoded = tiny.encode_volume(expected["window.input"])
    assert error(encoded.tokens.movedim(-1, 1), expected["window.features"]) < 1e-5
    projected = tiny.image_encoder.project(encoded.tokens)
    assert error(tiny.image_encoder.pooler(projected.flatten(1, 3)), expected["window.pooled"]) < 1e-5


@pytest.mark.parametrize("size", [(32, 24, 32), (24, 24, 40), (36, 24, 40)])
def test_other_sizes_are_refused(tiny: Colipri, size: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match=r"expected volumes of \(32, 24, 40\) voxels"):
        tiny.encode_volume(torch.zeros(1, 1, *size))


def _of_0_1_2(model: Colipri) -> Colipri:
    old = Colipri(replace(model.config, text_pooling="all"))
    old.load_state_dict(model.state_dict())
    return old.eval()
