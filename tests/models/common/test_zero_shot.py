"""Zero-shot probabilities as published."""

from __future__ import annotations

from collections.abc import Callable

import torch

from thoracle.models.common.zero_shot import zero_shot_probabilities
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.encoder import EncodedText


def test_published_probabilities(published, error: Callable) -> None:
    expected = published.expected
    text = _prompt_latents(published)
    got = zero_shot_probabilities(text, expected["image_latents"], published.weights["temperature"].exp())
    assert error(got, expected["zero_shot_probabilities"]) < 1e-6


def test_present_comes_first() -> None:
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    got = zero_shot_probabilities(text, torch.tensor([[1.0, 0.0]]), torch.tensor(2.0))
    torch.testing.assert_close(got, torch.tensor([[2.0, -2.0]]).sigmoid())


def _prompt_latents(published) -> torch.Tensor:
    model = CTCLIP(published.config)
    model.load_state_dict(published.weights)
    with torch.no_grad():
        return model.eval().encode_text(
            EncodedText(input_ids_BN=published.expected["prompt_ids"], attention_mask_BN=published.expected["prompt_mask"])
        )
