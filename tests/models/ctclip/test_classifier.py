"""CT-CLIP with a head on it: the head reads what its kind reads, the rest is CT-CLIP's, and one state dict holds both."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from thoracle.errors import InputError
from thoracle.models.ctclip.classifier import (
    CTCLIPClassifier,
    LatentCTCLIPClassifier,
    TokenCTCLIPClassifier,
    build_classifier,
    build_head,
    classify_tokens,
    encoder_state,
    head_state,
    join_state,
)
from thoracle.models.ctclip.config import PRESETS, CTCLIPConfig
from thoracle.models.ctclip.heads import LabelAttention, LinearClassifier
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.encoder import EncodedText

TINY = PRESETS["tiny"]
CONFIGS = {"linear": TINY, "label-attention": replace(TINY, head="label-attention")}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> CTCLIPConfig:
    return CONFIGS[request.param]


@pytest.fixture
def classifier(config: CTCLIPConfig) -> CTCLIPClassifier:
    torch.manual_seed(0)
    return build_classifier(config).eval()


@pytest.fixture(scope="module")
def volumes() -> torch.Tensor:
    return torch.randn(2, 1, 60, 120, 120, generator=torch.Generator().manual_seed(1))


def test_a_head_of_the_named_kind_stands_on_ct_clip(config: CTCLIPConfig, classifier: CTCLIPClassifier) -> None:
    kinds = {"linear": (LatentCTCLIPClassifier, LinearClassifier), "label-attention": (TokenCTCLIPClassifier, LabelAttention)}
    whole, head = kinds[config.head]
    assert type(classifier) is whole
    assert type(build_head(config, n_labels=5)) is head
    shapes = {name: tensor.shape for name, tensor in build_head(config, n_labels=18).state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in head_state(classifier.state_dict()).items()}, "18 abnormalities"


def test_a_volume_is_encoded_as_ct_clip_does_and_classified(classifier: CTCLIPClassifier, volumes: torch.Tensor) -> None:
    alone = classifier.trained_model
    with torch.inference_mode():
        embedding, plain = classifier.encode_volume(volumes), alone.encode_volume(volumes)
        assert plain.logits_BK is None
        assert embedding.logits_BK is not None
        assert embedding.logits_BK.shape == (2, 18)
        for name in ("tokens", "latent_BL", "codes", "codebook_indices"):
            assert torch.equal(getattr(embedding, name), getattr(plain, name)), name
        torch.testing.assert_close(classifier.classify_tokens(embedding.tokens), embedding.logits_BK)
        torch.testing.assert_close(classifier.project_tokens(embedding.tokens), plain.latent_BL)
        torch.testing.assert_close(classifier.encode_patches(classifier.embed_patches(volumes)), embedding.tokens)
        text = EncodedText(input_ids_BN=torch.tensor([[5, 6, 7]]), attention_mask_BN=torch.ones(1, 3, dtype=torch.long))
        assert torch.equal(classifier.encode_text(text), alone.encode_text(text))
    assert (classifier.outputs, classifier.max_text_tokens) == (alone.outputs, alone.max_text_tokens)
    assert classifier.logit_scale == alone.logit_scale
    with pytest.raises(InputError):
        classifier.encode_volume(volumes[..., :100])


def test_the_linear_head_is_the_published_formula(volumes: torch.Tensor) -> None:
    """LiPro: a linear map of the latent's positive part."""
    torch.manual_seed(0)
    classifier = build_classifier(TINY).eval()
    with torch.inference_mode():
        embedding = classifier.encode_volume(volumes)
        weights = classifier.state_dict()
        expected = embedding.latent_BL.clamp(min=0) @ weights["classifier.weight"].T + weights["classifier.bias"]
    torch.testing.assert_close(embedding.logits_BK, expected)


def test_labels_look_at_each_token_with_weights_that_sum_to_1() -> None:
    torch.manual_seed(0)
    classifier = build_classifier(CONFIGS["label-attention"]).eval()
    assert isinstance(classifier, TokenCTCLIPClassifier)
    with torch.inference_mode():
        looks = classifier.attend_labels(torch.randn(2, 6, 6, 6, 64).bfloat16())
    assert looks.shape == (2, 18, 6, 6, 6)
    torch.testing.assert_close(looks.sum(dim=(2, 3, 4)), torch.ones(2, 18))
    assert (looks >= 0).all()


def test_a_head_alone_gives_the_logits_of_the_whole(config: CTCLIPConfig, classifier: CTCLIPClassifier) -> None:
    clip, head = CTCLIP(config).eval(), build_head(config, n_labels=18).eval()
    clip.load_state_dict(encoder_state(classifier.state_dict()))
    head.load_state_dict(head_state(classifier.state_dict()))
    tokens = torch.randn(2, 6, 6, 6, 64)
    with torch.inference_mode():
        torch.testing.assert_close(classify_tokens(clip, head, tokens), classifier.classify_tokens(tokens))


def test_a_state_dict_is_taken_apart_and_joined_again(config: CTCLIPConfig, classifier: CTCLIPClassifier) -> None:
    tensors = classifier.state_dict()
    clip, head = encoder_state(tensors), head_state(tensors)
    assert clip.keys() == CTCLIP(config).state_dict().keys()
    assert len(clip) + len(head) == len(tensors)
    assert not any(name.startswith("trained_model.") for name in head)
    joined = join_state(clip, head)
    assert joined.keys() == tensors.keys()
    assert all(joined[name] is tensor for name, tensor in tensors.items())
    assert encoder_state(clip) == head_state({}) == {}, "CT-CLIP's own names hold no classifier"
