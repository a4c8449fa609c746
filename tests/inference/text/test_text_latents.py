"""Texts as latents: padding changes nothing, many keep their order, and what is cut is counted."""

from __future__ import annotations

import pytest
import torch

from thoracle.inference.demo.assets import write_model
from thoracle.inference.model import Model, load
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.types import ABNORMALITIES


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_model(tmp_path_factory.mktemp("model") / "tiny").path, device="cpu")


def test_padding_changes_nothing(model: Model) -> None:
    """Alone, beside a longer text, and padded to 512 as published: one latent."""
    short, long = "Cardiomegaly is present.", "Peribronchial thickening is not present, and interlobular septal thickening is present."
    alone, beside = model.encode_text([short])[0], model.encode_text([short, long])[0]
    encoded = Tokenizer.from_folder(model.folder.path / "tokenizer").encode([short])
    missing = 512 - encoded.input_ids_BN.shape[1]
    ids, mask = (torch.nn.functional.pad(t, (0, missing)) for t in (encoded.input_ids_BN, encoded.attention_mask_BN))
    with torch.inference_mode():
        text = model.encoder
        hidden = text.text_transformer(ids, mask).hidden_BND[:, 0]
        padded = torch.nn.functional.normalize(text.to_text_latent(hidden), dim=-1)[0]
    assert torch.allclose(alone, beside, atol=1e-6)
    assert torch.allclose(alone, padded, atol=1e-6)


def test_many_texts_are_encoded_in_order(model: Model) -> None:
    texts = [f"{word} is present." for word in ABNORMALITIES for _ in range(5)]
    latents = model.encode_text(texts)
    assert latents.shape == (90, 64)
    assert torch.allclose(latents[::5], model.encode_text([f"{word} is present." for word in ABNORMALITIES]), atol=1e-6)


def test_texts_that_are_cut_are_counted(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    model.encode_text(["nodule"])
    assert not caplog.text
    limit = model.encoder.max_text_tokens
    model.encode_text(["nodule", "nodule " * limit])
    assert f"1 of 2 texts are longer than {limit} tokens: their ends are not read" in caplog.text
