"""CT-CLIP: latents, losses, gradients and the codebook's steps, as the published code computed them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from thoracle.config_reader import config_from_mapping
from thoracle.models.ctclip.config import PRESETS, CTCLIPConfig
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.encoder import EncodedText


def _model(published, **options: bool) -> CTCLIP:
    model = CTCLIP(replace(published.config, **options))
    model.load_state_dict(published.weights)
    return model.eval()


def test_keys_are_the_published_ones(published) -> None:
    ours = {key: value.shape for key, value in CTCLIP(published.config).state_dict().items()}
    assert ours == {key: value.shape for key, value in published.weights.items()}


def test_published_latents(published, error: Callable) -> None:
    model, expected = _model(published), published.expected
    with torch.no_grad():
        encoded = model.encode_volume(expected["volume"])
        text = model.encode_text(EncodedText(input_ids_BN=expected["input_ids"], attention_mask_BN=expected["attention_mask"]))
    assert error(encoded.latent_BL, expected["image_latents"]) < 1e-6
    assert torch.equal(encoded.codebook_indices, expected["codebook_indices"])
    assert error(encoded.tokens, expected["encoded_tokens"]) < 1e-6
    assert error(text, expected["text_latents"]) < 1e-6


@pytest.mark.parametrize(
    ("name", "options"),
    [("contrastive", {}), ("decoupled", {"decoupled_loss": True}), ("cloob_latent", {"extra_latent_projection": True})],
)
def test_published_losses(published, name: str, options: dict[str, bool]) -> None:
    expected = published.expected
    with torch.no_grad():
        loss = _model(published, **options)(expected["input_ids"], expected["attention_mask"], expected["volume"])
    assert loss.item() == pytest.approx(expected[f"{name}_loss_eval"].item(), rel=1e-6)


def test_a_published_training_step(published, error: Callable) -> None:
    model, expected = _model(published).train(), published.expected
    loss = model(expected["input_ids"], expected["attention_mask"], expected["volume"])
    loss.backward()
    assert loss.item() == pytest.approx(expected["contrastive_loss_train"].item(), rel=1e-6)
    gradients = {key.removeprefix("grad."): value for key, value in expected.items() if key.startswith("grad.")}
    assert len(gradients) == 8
    for key, gradient in gradients.items():
        assert error(model.get_parameter(key).grad, gradient) < 1e-4, key
    _same_codebook(model, expected, "step", error)


def test_a_second_published_step(published, error: Callable) -> None:
    expected = published.expected
    if "contrastive_loss_second_step" not in expected:
        pytest.skip("this checkpoint has one step only")
    model = _model(published).train()
    model(expected["input_ids"], expected["attention_mask"], expected["volume"])
    loss = model(expected["input_ids"], expected["attention_mask"], expected["volume"].flip(0))
    assert loss.item() == pytest.approx(expected["contrastive_loss_second_step"].item(), rel=1e-6)
    _same_codebook(model, expected, "second_step", error)


def test_padding_does_not_change_latents(published, error: Callable) -> None:
    model, expected = _model(published), published.expected
    ids, mask = (torch.nn.functional.pad(expected[key], (0, 7)) for key in ("prompt_ids", "prompt_mask"))
    with torch.no_grad():
        whole = model.encode_text(EncodedText(input_ids_BN=ids, attention_mask_BN=mask))
        alone = torch.cat(
            [
                model.encode_text(EncodedText(input_ids_BN=i[None, : int(m.sum())], attention_mask_BN=m[None, : int(m.sum())]))
                for i, m in zip(ids, mask, strict=True)
            ]
        )
    assert error(whole, alone) < 1e-6


def test_the_naive_rendering_agrees(published, naive: ModuleType, error: Callable) -> None:
    model, expected = _model(published), published.expected
    tokens = naive.encode_volume(naive.under(published.weights, "visual_transformer."), published.config.ctvit, expected["volume"]).tokens
    text = naive.text_latent(published.weights, published.config, expected["prompt_ids"], expected["prompt_mask"])
    with torch.no_grad():
        assert error(model.encode_volume(expected["volume"]).latent_BL, naive.image_latent(published.weights, tokens)) < 1e-6
        assert (
            error(model.encode_text(EncodedText(input_ids_BN=expected["prompt_ids"], attention_mask_BN=expected["prompt_mask"])), text)
            < 1e-6
        )


def test_a_fresh_model_starts_as_published() -> None:
    config = config_from_mapping(
        CTCLIPConfig, {"ctvit": {"dim": 16, "image_size": 40, "codebook_size": 9}, "bert": {"num_hidden_layers": 1}}
    )
    weights = CTCLIP(config).state_dict()
    assert weights["temperature"].item() == 1
    for name in ("text", "visual"):
        assert torch.equal(weights[f"to_{name}_latent.weight"], weights[f"to_{name}_latent_extra.weight"])
    torch.testing.assert_close(weights["visual_transformer.vq._codebook.embed"].norm(dim=-1), torch.ones(1, 9))
    assert weights["visual_transformer.vq._codebook.cluster_size"].count_nonzero() == 0


def _same_codebook(model: CTCLIP, expected: dict[str, torch.Tensor], after: str, error: Callable) -> None:
    weights = model.state_dict()
    assert error(weights["visual_transformer.vq._codebook.embed"], expected[f"codebook_after_{after}"]) < 1e-6
    assert error(weights["visual_transformer.vq._codebook.cluster_size"], expected[f"cluster_size_after_{after}"]) < 1e-6


@pytest.mark.parametrize("pool", ["mean", "grid"])
def test_a_codebook_changes_latents_only_where_they_are_read_from_codes(pool: str) -> None:
    torch.manual_seed(0)
    quantized = CTCLIP(replace(PRESETS["tiny"], spatial_pool=pool)).eval()
    bare = CTCLIP(replace(quantized.config, ctvit=replace(quantized.config.ctvit, quantize=False))).eval()
    bare.load_state_dict({name: tensor for name, tensor in quantized.state_dict().items() if ".vq." not in name})
    volume = torch.rand(1, 1, 60, 120, 120) * 2 - 1
    with torch.no_grad():
        latents = [model.encode_volume(volume).latent_BL for model in (quantized, bare)]
    assert torch.equal(*latents) == (pool == "grid") == (not quantized.config.reads_codes)
    assert not bare.config.reads_codes
