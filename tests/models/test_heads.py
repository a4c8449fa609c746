"""Zero-shot probabilities, LiPro and the report labeller, as published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from thoracle.models.config import PRESETS, TextConfig
from thoracle.models.ctclip import CTCLIP
from thoracle.models.heads import LabelAttention, LatentClassifier, TextClassifier, zero_shot_probabilities


def test_published_probabilities(published, error: Callable) -> None:
    expected = published.expected
    text = _prompt_latents(published)
    got = zero_shot_probabilities(text, expected["image_latents"], published.weights["temperature"])
    assert error(got, expected["zero_shot_probabilities"]) < 1e-6


def test_present_comes_first() -> None:
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    got = zero_shot_probabilities(text, torch.tensor([[1.0, 0.0]]), torch.tensor(2.0).log())
    torch.testing.assert_close(got, torch.tensor([[2.0, -2.0]]).sigmoid())


@pytest.mark.parametrize("number", ["", "2"])
def test_published_lipro(golden_dir: Path, error: Callable, number: str) -> None:
    folder = golden_dir / "published"
    weights = torch.load(folder / f"lipro{number}_checkpoint.pt", weights_only=True)
    expected = load_file(folder / f"ctclip{number}_expected.safetensors")
    head = LatentClassifier(32, n_labels=18).eval()
    head.load_state_dict({key: value for key, value in weights.items() if not key.startswith("trained_model.")})
    with torch.no_grad():
        assert error(head(expected["image_latents"]), expected["lipro_logits"]) < 1e-6


def test_lipro_drops_out_in_training() -> None:
    torch.manual_seed(0)
    head, latent = LatentClassifier(64, n_labels=3), torch.ones(1, 64)
    assert not torch.equal(head(latent), head(latent))


def test_labels_look_at_places_and_at_each_other() -> None:
    torch.manual_seed(0)
    head = LabelAttention(PRESETS["tiny"], n_labels=4).eval()
    torch.nn.init.normal_(head.place_T)
    tokens = torch.randn(3, 6, 6, 6, 64)
    with torch.no_grad():
        logits = head(tokens)
        assert logits.shape == (3, 4)
        torch.testing.assert_close(head(tokens[1:2]), logits[1:2])  # volumes do not see each other
        assert (head(tokens.flip(1)) - logits).abs().min() > 1e-6  # a token elsewhere is another
        head.labels[3] = torch.randn(64)  # one label's question is heard by the others
        assert ((head(tokens) - logits).abs() > 1e-6).all()
        head.meet.out_proj.weight.zero_()
        alone = head(tokens)
        head.labels[3] = torch.randn(64)
        assert ((head(tokens) - alone).abs() > 1e-6).tolist() == [[False, False, False, True]] * 3


def test_published_text_classifier(golden_dir: Path, error: Callable) -> None:
    folder = golden_dir / "published"
    config = TextConfig(**json.loads((folder / "text_classifier_config.json").read_text()), positions="roberta")
    labeller = TextClassifier(config, n_labels=18).eval()
    labeller.load_state_dict(torch.load(folder / "text_classifier_checkpoint.pth", weights_only=True))
    expected = load_file(folder / "text_classifier_expected.safetensors")
    with torch.no_grad():
        assert error(labeller(expected["input_ids"], expected["attention_mask"]), expected["logits"]) < 1e-6


def _prompt_latents(published) -> torch.Tensor:
    model = CTCLIP(published.config)
    model.load_state_dict(published.weights)
    with torch.no_grad():
        return model.eval().encode_text(published.expected["prompt_ids"], published.expected["prompt_mask"])


def test_a_labeller_may_read_the_first_token_as_ct_clip_does() -> None:
    torch.manual_seed(0)
    config = TextConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, first_token="hidden")
    labeller, ids = TextClassifier(config, n_labels=3).eval(), torch.arange(6).view(1, 6)
    mask = torch.ones_like(ids)
    logits = labeller(ids, mask)
    torch.testing.assert_close(logits, labeller.classifier(labeller.model(ids, mask).hidden_BND[:, 0]))
    logits.sum().backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in labeller.parameters())
