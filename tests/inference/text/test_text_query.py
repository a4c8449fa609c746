"""Free text as a latent to look for volumes by."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from thoracle.inference.demo.assets import write_model
from thoracle.inference.model import Model, load
from thoracle.inference.text.text_query import text_query_latents
from thoracle.types import ABNORMALITIES


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_model(tmp_path_factory.mktemp("model") / "tiny").path, device="cpu")


def test_volumes_are_ordered_as_detection_orders_them(model: Model) -> None:
    volumes = [np.random.default_rng(n).uniform(-1, 1, model.preprocess.size).astype(np.float32) for n in range(12)]
    latents = torch.cat([model.encode_volume(volume).latent_BL for volume in volumes])
    probabilities = torch.tensor([model.detect(volume, calibrated=False).probabilities for volume in volumes])
    queries = text_query_latents(model, [f" {name}. " for name in ABNORMALITIES])
    assert queries.norm(dim=-1).tolist() == pytest.approx([1.0] * 18, abs=1e-6)
    assert (queries @ latents.T).argsort(dim=1).tolist() == probabilities.T.argsort(dim=1).tolist()


def test_a_text_longer_than_the_model_reads_and_a_model_without_prompts_go_by_the_texts_own_latent(model: Model) -> None:
    long = "pleural effusion " * 400
    own = model.encode_text([f"{long.strip()} is present."])
    assert torch.allclose(text_query_latents(model, [long]), own, atol=1e-6)
    unprompted = load(model.folder.path, device="cpu")
    unprompted.folder = dataclasses.replace(model.folder, prompts=())
    assert torch.allclose(text_query_latents(unprompted, ["Emphysema."]), unprompted.encode_text(["Emphysema."]), atol=1e-6)
