"""The mean of the regions' and the prompts' probabilities, against both models; what has no prompts is refused before a volume is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.regions.chests import CLIP, PREPROCESS, chest, encoder_folder, write_chests
from thoracle.cohort.manifest import Cohort
from thoracle.errors import CapabilityMissing, ThoracleError, TokenizerMissing
from thoracle.inference.model import load
from thoracle.inference.prepare import PreparedVolume
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.ctvit import CTViT
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.distributed import World
from thoracle.training.regions.run import RegionsFit, RegionsSettings, fit_regions

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_chests(tmp_path_factory.mktemp("chests") / "cohort")


def fit(encoder: Path, cohort: Cohort, out: Path, *, average_prompts: bool) -> RegionsFit:
    settings = RegionsSettings(average_prompts=average_prompts)
    return fit_regions(str(encoder), cohort, out, settings=settings, world=ALONE)


def test_probabilities_are_the_mean_of_both(tmp_path: Path, cohort: Cohort) -> None:
    encoder = encoder_folder(tmp_path / "encoder", tokenizer=Tokenizer.from_words(format_prompts()))
    regions, averaged = (fit(encoder, cohort, tmp_path / str(mean), average_prompts=mean) for mean in (False, True))
    models = [load(folder, device="cpu") for folder in (encoder, regions.folder.path, averaged.folder.path)]
    for seed in range(900, 905):
        volume, box, _ = chest(seed, {2})
        prepared = PreparedVolume(array=volume, provenance=None, warnings=(), box=box)
        prompted, placed, mean = (
            np.array(model.detect(prepared, abnormalities=regions.folder.labels, calibrated=False).probabilities) for model in models
        )
        np.testing.assert_allclose(mean, (prompted + placed) / 2, atol=1e-6)
        assert np.abs(prompted - placed).min() > 1e-3
        np.testing.assert_array_equal(models[1].read_regions(prepared).maps_BKTHW, models[2].read_regions(prepared).maps_BKTHW)
    row = averaged.entries[7]
    number = int(row.volume[1:])
    volume, box, _ = chest(number, {k for k in range(18) if row.labels[k]})
    last = models[2].detect(PreparedVolume(array=volume, provenance=None, warnings=(), box=box), calibrated=False).probabilities
    assert averaged.probabilities_SK[7] == pytest.approx(last, abs=1e-3)  # the cached volume is rounded
    said = "A probability is the mean of the regions' and of its encoder's at {abnormality} is present. / {abnormality} is not present."
    assert [said in (fitted.folder.path / "README.md").read_text() for fitted in (regions, averaged)] == [False, True]


@pytest.mark.parametrize(
    ("kind", "refusal", "message"),
    [
        ("ct-clip", TokenizerMissing, "cannot be read without the model's own tokenizer"),
        ("ctvit", CapabilityMissing, "has no prompts whose probabilities could be averaged. Leave out --average-prompts"),
    ],
)
def test_a_model_that_cannot_be_prompted_is_refused_first(tmp_path: Path, kind: str, refusal: type[ThoracleError], message: str) -> None:
    """No volume is read: the cohort's are damaged."""
    damaged = write_chests(tmp_path / "cohort", train=12, dev=4)
    for file in (tmp_path / "cohort" / "cache").iterdir():
        file.write_bytes(b"damaged")
    encoder = tmp_path / "encoder"
    if kind == "ct-clip":
        encoder_folder(encoder)
    else:
        torch.manual_seed(0)
        save_model(
            encoder, kind=kind, config=CLIP.ctvit, preprocess=PREPROCESS, labels=(), tensors=CTViT(CLIP.ctvit).state_dict(),
            tokenizer=None, licence="free", trained=True,
        )  # fmt: skip
    with pytest.raises(refusal, match=message):
        fit(encoder, damaged, tmp_path / "regions", average_prompts=True)
    assert not (tmp_path / "regions").exists()
