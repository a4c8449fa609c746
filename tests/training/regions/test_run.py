"""A fit from end to end: it detects and points, reads no split but its own, and says what it cannot bear."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import Ranks
from tests.training.regions.chests import CLIP, CONSTANT, PREPROCESS, VARYING, chest, encoder_folder, write_chests
from thoracle.cohort.manifest import Cohort
from thoracle.ct.chest.input_box import InputBox
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import CapabilityMissing, InputError
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.medfinder.config import MedFinderConfig, ViTConfig
from thoracle.models.medfinder.model import MedFinder
from thoracle.models.text.classifier import TextClassifier
from thoracle.training.engine.distributed import World
from thoracle.training.regions.run import RegionsFit, RegionsSettings, fit_regions
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
NAMES = tuple(ABNORMALITIES[k] for k in VARYING)


def fit(tmp_path: Path, cohort: Cohort, out: str = "regions", **settings: int) -> RegionsFit:
    model = tmp_path / "encoder"
    if not model.exists():
        encoder_folder(model)
    return fit_regions(str(model), cohort, tmp_path / out, settings=RegionsSettings(**settings), world=ALONE)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_chests(tmp_path_factory.mktemp("chests") / "cohort")


def test_a_fit_detects_and_points(tmp_path: Path, cohort: Cohort) -> None:
    seen: list[str] = []
    encoder_folder(tmp_path / "encoder")
    fitted = fit_regions(
        str(tmp_path / "encoder"),
        cohort,
        tmp_path / "regions",
        world=ALONE,
        progress=lambda what, _, __: seen.append(what),
    )
    assert list(dict.fromkeys(seen)) == ["scans", "dev"]
    assert fitted.folder.labels == NAMES
    assert all(value > 0.95 for value in fitted.aurocs.values()), fitted.aurocs
    assert len(fitted.notes) == 1
    assert ABNORMALITIES[CONSTANT] in fitted.notes[0]
    card = (tmp_path / "regions" / "README.md").read_text()
    assert "Fitted to 60 scans of split train, on patches before attention" in card
    assert f"AUROC on 30 scans of split dev: {NAMES[0]} " in card
    assert (fitted.folder.trained, fitted.folder.disclaimer) == (True, "Blocks, not patients.")
    folder = open_model(tmp_path / "regions", verify=True)
    model = folder.spec.build(folder.config)
    model.load_state_dict(load_state_dict(folder))
    points = []
    for seed in range(500, 510):
        for row, k in enumerate(VARYING):
            volume, box, at = chest(seed, {k})
            with torch.no_grad():
                reading = model.eval().read_regions(torch.from_numpy(volume)[None, None], [box])
            assert int(reading.logits_BK[0].argmax()) == row
            strongest = np.array(np.unravel_index(int(reading.maps_BKTHW[0, row].argmax()), reading.maps_BKTHW.shape[2:]))
            middle = (np.array(at) + VARYING[k] + 2) / 2  # cells are 2 voxels
            points.append(np.abs(strongest + 0.5 - middle).max() <= 2)
    assert np.mean(points) > 0.9


def test_nothing_of_valid_is_read(tmp_path: Path, cohort: Cohort) -> None:
    spoilt = write_chests(tmp_path / "cohort", spoil_valid=True)
    hashes = {fit(tmp_path, which, out).folder.weights_sha256 for which, out in ((cohort, "one"), (spoilt, "other"))}
    assert len(hashes) == 1


def test_numbers_of_a_cell_beyond_the_components_are_reduced(tmp_path: Path, cohort: Cohort) -> None:
    config = fit(tmp_path, cohort, components=5).folder.config
    assert (config.tokens.dim, config.tokens.components, config.cells.dim, config.cells.components) == (24, 5, 6, 5)


def test_scans_without_lungs_are_left_out_and_cut_ones_named(tmp_path: Path, cohort: Cohort) -> None:
    boxes = [entry.box for entry in cohort.entries]
    assert boxes[0] is not None
    without = InputBox(low=boxes[0].low, high=boxes[0].high, encloses="body")
    boxes[:3] = [None, without, replace(boxes[0], cut=("top",))]
    entries = [replace(entry, box=box) for entry, box in zip(cohort.entries, boxes, strict=True)]
    notes = fit(tmp_path, replace(cohort, entries=tuple(entries))).notes
    assert notes[0] == "2 of 60 scans of split train were left out: no lungs were found in them."
    assert notes[1].startswith("In 1 scans of split train the lungs are cut")


def test_what_a_fit_cannot_bear_is_refused(tmp_path: Path, cohort: Cohort) -> None:
    train = [entry for entry in cohort.entries if entry.split == "train"]
    unboxed = replace(cohort, entries=tuple(replace(entry, box=None) for entry in train))
    with pytest.raises(InputError, match=r"no volume of split train says where its lungs are. Prepare the cohort anew"):
        fit(tmp_path, unboxed)
    varied = [next(entry for entry in train if all(entry.labels[k] == value for k in VARYING)) for value in (0, 1)]
    with pytest.raises(InputError, match=r"3 scans of split train are too few to fit 2 findings to. Give 4 at least"):
        fit(tmp_path, replace(cohort, entries=(*varied, train[0])))
    alike = tuple(replace(entry, labels=(1,) * 18) for entry in train)
    with pytest.raises(InputError, match="no finding is present in some scans"):
        fit(tmp_path, replace(cohort, entries=alike))
    with pytest.raises(InputError, match="another preprocessing"):
        fit(tmp_path, replace(cohort, preprocess=PreprocessConfig()))
    with pytest.raises(InputError, match="components must be"):
        RegionsSettings(components=0)


def test_a_model_without_tokens_is_refused(tmp_path: Path, cohort: Cohort) -> None:
    save_model(
        tmp_path / "encoder", kind="text-classifier", config=CLIP.bert, preprocess=PREPROCESS, labels=ABNORMALITIES,
        tensors=TextClassifier(CLIP.bert, n_labels=18).state_dict(), tokenizer=None, licence="free", trained=True,
    )  # fmt: skip
    with pytest.raises(CapabilityMissing, match=r"gives no tokens of volumes. Give a CT-CLIP"):
        fit(tmp_path, cohort)


def test_an_encoder_without_patches_gives_its_tokens_and_the_card_says_so(tmp_path: Path, cohort: Cohort) -> None:
    config = MedFinderConfig(
        size=(24, 24, 24), vit=ViTConfig(patch_size=8, dim=16, depth=1, heads=2, mlp=16), bert=CLIP.bert, dim_latent=16, heads=2
    )
    torch.manual_seed(0)
    save_model(
        tmp_path / "encoder", kind="medfinder", config=config, preprocess=PREPROCESS, labels=ABNORMALITIES,
        tensors=MedFinder(config).state_dict(), tokenizer=None, licence="free", trained=False,
    )  # fmt: skip
    folder = fit(tmp_path, cohort).folder
    assert not folder.config.before_attention
    assert (folder.config.tokens.grid, folder.config.cells, folder.trained) == ((3, 3, 3), None, False)
    assert "on tokens after attention, since its encoder gives no others" in (tmp_path / "regions" / "README.md").read_text()


@pytest.mark.slow
def test_two_ranks_fit_what_one_fits(tmp_path: Path, cohort: Cohort, ranks: Ranks) -> None:
    alone = fit(tmp_path, cohort, "alone")
    ranks("-m", "thoracle", "train", "regions", tmp_path / "encoder", cohort.folder, "--out", tmp_path / "both", "--device", "cpu")
    both = open_model(tmp_path / "both", verify=True)
    assert both.config == alone.folder.config
    for name, tensor in load_state_dict(alone.folder).items():
        torch.testing.assert_close(load_state_dict(both)[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    card, expected = ((tmp_path / name / "README.md").read_text() for name in ("both", "alone"))
    assert card.split("Fitted to")[1].split("scans")[0] == expected.split("Fitted to")[1].split("scans")[0]
    assert (tmp_path / "both" / "calibration.json").is_file()
