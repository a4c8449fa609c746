"""Saliency: by identities of calculus, by an encoder that can be seen through, and by places that are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import thoracle
from thoracle.ct.preprocess import PreprocessConfig, preprocess
from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.ct.recipes.published import ASTRA_CHEST, COLIPRI, MERLIN
from thoracle.ct.recipes.recipe import CropOrPad, Recipe, ResampleToSpacing, ScaleIntensity
from thoracle.ct.volume import HounsfieldSource, Provenance, Volume
from thoracle.errors import CapabilityMissing, InputError
from thoracle.inference import explain
from thoracle.inference.explain import OCCLUSION_HU, axial_contributions, resample_to_scan, saliency, token_affine
from thoracle.inference.regions import region_maps
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.ctclip.classifier import build_head, join_state
from thoracle.models.ctclip.heads import LabelAttention
from thoracle.types import ABNORMALITIES

NAMES = ABNORMALITIES[:2]
NOWHERE = Provenance(
    sha256="", format="test", geometry="", hounsfield=HounsfieldSource(slope=1.0, intercept=0.0, source="stored", evidence="")
)


def volume_of(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-100.0, -50.0, 30.0)
    return Volume(array=np.zeros(shape, np.int16), spacing=spacing, affine=affine, provenance=NOWHERE)


@pytest.fixture
def model(model_dir: Path) -> thoracle.Model:
    return thoracle.load(model_dir, device="cpu")


@pytest.fixture
def scan(model: thoracle.Model) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, model.preprocess.size).astype(np.float32)


def logit(model: thoracle.Model, tokens: torch.Tensor, name: str) -> float:
    clip = model.encoder
    present, absent = model.prompt_latents((name,)).double()
    return float(clip.temperature.exp().double() * clip.project_tokens(tokens)[0].double() @ (present - absent))


def test_gradient_is_what_differences_of_the_logit_say(model: thoracle.Model, scan: np.ndarray) -> None:
    found = saliency(model, scan, abnormalities=NAMES, method="gradient")
    tokens = model.encode_volume(scan).tokens.clone()
    assert found.shape == (2, *tokens.shape[1:4])
    for place in ((0, 0, 0), (1, 2, 3)):
        step = torch.zeros_like(tokens)
        step[(0, *place)] = 1e-2 * tokens[(0, *place)]
        slope = (logit(model, tokens + step, NAMES[1]) - logit(model, tokens - step, NAMES[1])) / 2e-2
        assert found[(1, *place)] == pytest.approx(slope, rel=2e-2, abs=1e-5)


def test_gradient_sums_to_nothing_for_a_latent_of_unit_norm_that_is_linear_in_tokens(model: thoracle.Model, scan: np.ndarray) -> None:
    """Euler: the published latent does not change when all tokens grow, so that evidence for and against are equal."""
    found = saliency(model, scan, abnormalities=NAMES, method="gradient")
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), 0, atol=1e-5 * np.abs(found).sum())


def test_occlusion_is_the_fall_of_the_logit(model: thoracle.Model, scan: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "_MOST_BOXES", 30)
    counts: list[tuple[int, int]] = []
    found = saliency(model, scan, abnormalities=NAMES, method="occlusion", progress=lambda done, of: counts.append((done, of)))
    T, h, w = found.shape[1:]
    assert counts[-1][0] == counts[-1][1] <= 30
    z, x, y = (size // tokens for size, tokens in zip(scan.shape, (T, h, w), strict=True))
    edge = next(e for e in range(1, 9) if -(-T // e) * -(-h // e) * -(-w // e) <= 30)
    assert h > edge > 1
    whole, falls = logit(model, model.encode_volume(scan).tokens, NAMES[0]), []
    for hu in OCCLUSION_HU:
        filled = scan.copy()
        filled[: z * edge, : x * edge, y * edge : 2 * y * edge] = hu / 1000
        falls.append(whole - logit(model, model.encode_volume(filled).tokens, NAMES[0]))
    assert found[0, 0, 0, edge] == pytest.approx(np.mean(falls), abs=1e-4)


def test_a_method_that_is_none_and_a_finding_twice_are_refused(model: thoracle.Model, scan: np.ndarray) -> None:
    with pytest.raises(InputError, match="gradient, occlusion"):
        saliency(model, scan, abnormalities=NAMES, method="guess")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="each once"):
        saliency(model, scan, abnormalities=(NAMES[0], NAMES[0]), method="gradient")


def test_a_token_lies_where_its_voxels_lie() -> None:
    config = PreprocessConfig(spacing=(4.0, 2.0, 2.0), size=(8, 12, 12))
    volume = volume_of((24, 24, 16), (1.0, 1.0, 2.0))  # exactly the input's field: 24 x 24 x 32 mm
    affine = token_affine(volume, config, (2, 3, 3))
    # The first token covers scan voxels 0 to 7 along x and y, 0 to 7 along z: middles at 3.5 voxels.
    np.testing.assert_allclose(affine @ (0, 0, 0, 1), (-100 + 3.5, -50 + 3.5, 30 + 3.5 * 2, 1))
    np.testing.assert_allclose(affine @ (2, 1, 1, 1), (-100 + 19.5, -50 + 11.5, 30 + 11.5 * 2, 1))
    tokens = np.zeros((2, 3, 3), np.float32)
    tokens[1, 2, 0] = 1.0
    heat = resample_to_scan(tokens, volume, config)
    assert heat.shape == volume.array.shape
    assert heat[20, 0, 15] > 0.9
    assert np.argwhere(heat > 0.5).min(axis=0).tolist() == [16, 0, 8]
    (row,) = axial_contributions(tokens, volume, config)
    assert (row.first, row.last, row.middle, row.fraction, row.z_mm) == (8, 15, 11, 1.0, 30 + 22.0)


@pytest.mark.parametrize("recipe", [COLIPRI, replace(COLIPRI, axes="SAR"), MERLIN, ASTRA_CHEST])
def test_a_token_of_other_axes_lies_where_its_voxels_lie(recipe: Recipe) -> None:
    """A bright box of the scan, averaged over patches of 8 voxels of the input, and taken back."""
    volume = volume_of((120, 110, 90), (1.5, 1.5, 2.0))
    volume.array[:] = -1000
    volume.array[5:115, 5:105, 5:85] = -900
    volume.array[25:45, 60:80, 20:35] = 150
    inputs = preprocess(volume, recipe)
    a, b, c = (size // 8 for size in inputs.shape)
    tokens = inputs.reshape(a, 8, b, 8, c, 8).mean(axis=(1, 3, 5))
    floor = (-900 - recipe.zero_hu) / recipe.intensity_scale
    heat = resample_to_scan(np.maximum(view_as(tokens, recipe.axes, ZXY) - floor - 0.05, 0), volume, recipe)
    middle = (np.indices(heat.shape) * heat).sum(axis=(1, 2, 3)) / heat.sum()
    np.testing.assert_allclose(middle, (34.5, 69.5, 27), atol=1)


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_maps_of_an_input_of_other_axes_lie_as_those_of_ct_clips(method: str, model_dir: Path, scan: np.ndarray, tmp_path: Path) -> None:
    """One encoder, one array: what is right in one is left in the other, in the map as in the input."""
    folder = open_model(model_dir)
    recipe = Recipe(
        axes="SRA",
        resampling=ResampleToSpacing(spacing=folder.preprocess.spacing, grid="half-pixel"),
        intensity=ScaleIntensity(hu_window=(-1000, 1000), interval=(-1, 1)),
        fit=CropOrPad(size=folder.preprocess.size, padding=-1.0, odd_voxel="after"),
    )
    save_model(
        tmp_path / "turned", kind=folder.kind, config=folder.config, preprocess=recipe, labels=folder.labels,
        tensors=load_state_dict(folder), tokenizer=folder.tokenizer(), licence="x", trained=False,
    )  # fmt: skip
    maps, turned = (
        saliency(thoracle.load(path, device="cpu"), scan, abnormalities=NAMES, method=method)  # type: ignore[arg-type]
        for path in (model_dir, tmp_path / "turned")
    )
    assert open_model(tmp_path / "turned").preprocess == recipe
    np.testing.assert_array_equal(turned, maps[:, :, ::-1, ::-1])


def test_what_the_model_did_not_see_has_no_saliency() -> None:
    config = PreprocessConfig(spacing=(2.0, 2.0, 2.0), size=(4, 4, 4))
    volume = volume_of((12, 12, 12), (2.0, 2.0, 2.0))
    heat = resample_to_scan(np.ones((2, 2, 2), np.float32), volume, config)
    wanted = np.zeros((12, 12, 12), np.float32)
    wanted[4:8, 4:8, 4:8] = 1
    np.testing.assert_allclose(heat, wanted, atol=1e-6)


def test_a_classifier_explains_the_logit_of_its_own_labels(model_dir: Path, scan: np.ndarray, tmp_path: Path) -> None:
    lipro = thoracle.load(lipro_of(model_dir, tmp_path / "lipro"), device="cpu")
    found = saliency(lipro, scan, abnormalities=ABNORMALITIES[5:7], method="gradient")
    lipro_encoder = lipro.encoder
    tokens = lipro.encode_volume(scan).tokens.clone().requires_grad_(True)
    lipro_encoder(lipro_encoder.project_tokens(tokens))[0, 6].backward()
    assert tokens.grad is not None
    np.testing.assert_allclose(found[1], (tokens.grad * tokens.detach()).sum(dim=-1)[0], rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="does not know"):
        saliency(lipro, scan, abnormalities=["Gout"], method="gradient")


def test_attention_is_where_the_labels_of_a_classifier_look(model_dir: Path, scan: np.ndarray, tmp_path: Path) -> None:
    looking = thoracle.load(looking_of(model_dir, tmp_path / "looking"), device="cpu")
    found = saliency(looking, scan, abnormalities=ABNORMALITIES[5:7], method="attention")
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), 1, rtol=1e-5)
    head = looking.encoder
    assert isinstance(head, LabelAttention)
    tokens = looking.encode_tokens(scan).tokens
    with torch.inference_mode():
        # What is looked at is what comes out: a value that marks one token comes back as that token's weight.
        head.cross_attention.in_proj_bias[-tokens.shape[-1] :] = 0
        head.cross_attention.out_proj.weight.copy_(torch.eye(tokens.shape[-1]))
        head.cross_attention.out_proj.bias.zero_()
        placed = (tokens + head.pos_embed_t + head.pos_embed_h + head.pos_embed_w).flatten(1, 3)
        labels = head.norms[0](head.labels.expand(1, -1, -1))
        seen, weights = head.cross_attention(labels, placed, placed, average_attn_weights=False)
        values = (placed @ head.cross_attention.in_proj_weight[-tokens.shape[-1] :].T).unflatten(-1, (head.cross_attention.num_heads, -1))
        torch.testing.assert_close(torch.einsum("bhkn,bnhf->bkhf", weights, values).flatten(2), seen, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.reshape(2, -1), weights.mean(dim=1)[0, 5:7], rtol=1e-4, atol=1e-7)
    for other in (thoracle.load(model_dir, device="cpu"), thoracle.load(lipro_of(model_dir, tmp_path / "lipro"), device="cpu")):
        with pytest.raises(CapabilityMissing, match="label-attention"):
            saliency(other, scan, abnormalities=NAMES, method="attention")


def test_regions_are_the_maps_of_a_model_that_reads_them(regions_dir: Path, model: thoracle.Model, sketch: Path, scan: np.ndarray) -> None:
    regions, volume = thoracle.load(regions_dir, device="cpu"), thoracle.read(sketch)
    maps = saliency(regions, volume, abnormalities=["Pleural effusion"], method="regions")
    np.testing.assert_array_equal(maps, region_maps(regions, volume, abnormalities=["Pleural effusion"]))
    with pytest.raises(CapabilityMissing, match="findings read by region"):
        saliency(model, scan, abnormalities=NAMES, method="regions")
    with pytest.raises(CapabilityMissing, match="or --method regions"):
        saliency(regions, volume, abnormalities=["Pleural effusion"], method="gradient")


def looking_of(model_dir: Path, out: Path) -> Path:
    """The tiny model with a random head of label-attention."""
    before = open_model(model_dir)
    config = replace(before.config, head="label-attention")
    torch.manual_seed(0)
    head = build_head(config, n_labels=len(ABNORMALITIES))
    tensors = join_state(load_state_dict(before), head.state_dict())
    made = save_model(
        out, kind="ct-clip-classifier", config=config, preprocess=before.preprocess, labels=ABNORMALITIES, tensors=tensors,
        tokenizer=None, licence="none", trained=True,
    )  # fmt: skip
    return made.path


def lipro_of(model_dir: Path, out: Path) -> Path:
    """The tiny model with a random classifier."""
    before = open_model(model_dir)
    tensors = {f"trained_model.{name}": tensor for name, tensor in load_state_dict(before).items()}
    random = torch.Generator().manual_seed(0)
    tensors["classifier.weight"] = torch.randn(len(ABNORMALITIES), before.config.dim_latent, generator=random)
    tensors["classifier.bias"] = torch.zeros(len(ABNORMALITIES))
    made = save_model(
        out,
        kind="ct-clip-classifier",
        config=before.config,
        preprocess=before.preprocess,
        labels=ABNORMALITIES,
        tensors=tensors,
        tokenizer=None,
        licence="random numbers",
        trained=False,
    )
    return made.path
