"""The published preprocessing, exactly: against its stored samples, and against torch's own interpolation in float64."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file

from thoracle.config_reader import config_from_mapping, config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig, input_affine, preprocess
from thoracle.ct.volume import HounsfieldSource, Provenance, Volume
from thoracle.errors import GeometryInvalid, InputError

GOLDEN = ("ctrate_v1_raw", "fine_cropped", "hu_stored", "whole_chest_coarse")
NOWHERE = Provenance(
    sha256="", format="test", geometry="", hounsfield=HounsfieldSource(slope=1.0, intercept=0.0, source="stored", evidence="")
)


def volume_of(array: NDArray[Any], spacing: tuple[float, float, float]) -> Volume:
    return Volume(array=array, spacing=spacing, affine=np.diag([*spacing, 1.0]), provenance=NOWHERE)


def golden_volume(folder: Path, name: str) -> Volume:
    row = json.loads((folder / f"{name}.json").read_text())
    stored = np.asanyarray(nib.load(folder / f"{name}.nii.gz").dataobj)
    hu = (stored * row["RescaleSlope"] + row["RescaleIntercept"]).astype(np.int16)
    return volume_of(hu, (*row["XYSpacing"], row["ZSpacing"]))


def published(volume: Volume, config: PreprocessConfig) -> NDArray[np.float64]:
    """The published steps one after the other on the whole volume, in float64."""
    array = np.array(volume.array, np.float64)
    if config.clip_stage == "before-resampling":
        array = array.clip(*config.hu_window)
    array = array.transpose(2, 0, 1)
    spacing = (volume.spacing[2], volume.spacing[0], volume.spacing[1])
    size = [int(n * (s / t)) for n, s, t in zip(array.shape, spacing, config.spacing, strict=True)]
    tensor = torch.from_numpy(array.copy())[None, None]
    array = torch.nn.functional.interpolate(tensor, size=size, mode="trilinear", align_corners=False)[0, 0].numpy()
    if config.clip_stage == "after-resampling":
        array = array.clip(*config.hu_window)
    array = array / config.intensity_scale
    for axis, wanted in enumerate(config.size):
        first = max((array.shape[axis] - wanted) // 2, 0)
        array = array.take(range(first, first + min(wanted, array.shape[axis])), axis)
    before = [(wanted - n) // 2 for wanted, n in zip(config.size, array.shape, strict=True)]
    after = [wanted - n - b for wanted, n, b in zip(config.size, array.shape, before, strict=True)]
    return np.pad(array, list(zip(before, after, strict=True)), constant_values=config.pad_value)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_stored_samples_are_reproduced(golden_dir: Path, name: str) -> None:
    folder = golden_dir / "preprocess"
    expected = load_file(folder / f"{name}.expected.safetensors")
    result = preprocess(golden_volume(folder, name))
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert [1, *result.shape] == expected["shape"].tolist()
    assert np.abs(result[3::8, 5::12, 7::12] - expected["sub"]).max() <= 1e-4
    assert result.mean(dtype=np.float64) == pytest.approx(expected["mean"].item(), abs=1e-6)
    assert result.std(dtype=np.float64) == pytest.approx(expected["std"].item(), abs=1e-6)


def test_the_training_time_order_is_an_option(golden_dir: Path) -> None:
    volume = golden_volume(golden_dir / "preprocess", "whole_chest_coarse")
    after = PreprocessConfig(size=(60, 90, 80), clip_stage="after-resampling")
    before = PreprocessConfig(size=(60, 90, 80))
    np.testing.assert_allclose(preprocess(volume, after), published(volume, after), atol=1e-6)
    np.testing.assert_allclose(preprocess(volume, before), published(volume, before), atol=1e-6)


def test_the_two_orders_differ_where_padding_is_below_the_window() -> None:
    array = np.zeros((8, 8, 8), np.int16)
    array[:4] = -8192
    config = {"spacing": (1.0, 0.5, 1.0), "size": (8, 16, 8)}
    results = [
        preprocess(volume_of(array, (1.0, 1.0, 1.0)), PreprocessConfig(**config, clip_stage=clip))
        for clip in ("before-resampling", "after-resampling")
    ]
    assert results[0].min() == results[1].min() == -1
    assert np.abs(results[0] - results[1]).max() > 0.4


@settings(max_examples=150)
@given(data=st.data())
def test_any_volume_is_as_torch_interpolates_it(data: st.DataObject) -> None:
    """Up and down, unlike along each axis, cropped and padded, int16 and float32, any memory layout."""
    shape = data.draw(st.tuples(*[st.integers(1, 24)] * 3))
    spacing = data.draw(st.tuples(*[st.floats(0.2, 4)] * 3))
    target = data.draw(st.tuples(*[st.floats(0.3, 3)] * 3))
    assume(all(int(n * (s / t)) >= 1 for n, s, t in zip((shape[2], shape[0], shape[1]), (spacing[2], *spacing[:2]), target, strict=True)))
    config = PreprocessConfig(
        spacing=target,
        size=data.draw(st.tuples(*[st.integers(1, 40)] * 3)),
        hu_window=data.draw(st.sampled_from([(-1000.0, 1000.0), (-160.5, 240.5)])),
        intensity_scale=data.draw(st.sampled_from([1000.0, 1.0, 512.0])),
        pad_value=data.draw(st.sampled_from([-1.0, 0.0])),
        clip_stage=data.draw(st.sampled_from(["before-resampling", "after-resampling"])),
    )
    array = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-2048, 3072, shape)
    array = array.astype(data.draw(st.sampled_from([np.int16, np.float32])), order=data.draw(st.sampled_from("CF")))
    for axis in range(3):
        array = np.flip(array, axis) if data.draw(st.booleans()) else array
    volume = volume_of(array, spacing)
    result = preprocess(volume, config)
    assert result.shape == config.size
    np.testing.assert_allclose(result * config.intensity_scale, published(volume, config) * config.intensity_scale, atol=0.02)


def test_axes_keep_their_places() -> None:
    x, y, z = np.meshgrid(np.arange(6), np.arange(5), np.arange(4), indexing="ij")
    array = (100 * x + 10 * y + z).astype(np.int16)
    config = PreprocessConfig(spacing=(1.0, 1.0, 1.0), size=(4, 6, 5), intensity_scale=1.0)
    np.testing.assert_array_equal(preprocess(volume_of(array, (1.0, 1.0, 1.0)), config), array.transpose(2, 0, 1))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_memory_layout_changes_nothing(order: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (20, 24, 28), dtype=np.int16)
    config = PreprocessConfig(size=(16, 30, 40))
    back = np.argsort(order)
    other = np.ascontiguousarray(array.transpose(order)).transpose(back)
    same = [preprocess(volume_of(each, (0.8, 0.9, 1.0)), config) for each in (array, other)]
    np.testing.assert_array_equal(*same)


def test_the_division_comes_first() -> None:
    """int(500 * (0.6 / 0.75)) is 399, where int(500 * 0.6 / 0.75) is 400: the step, and so every voxel, depends on it."""
    ramp = np.linspace(-900, 900, 500).astype(np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32)
    volume = volume_of(ramp, (0.6, 0.75, 1.5))
    result = preprocess(volume, PreprocessConfig(size=(4, 400, 4)))
    assert (result[0, :, 0] == -1).sum() == 1
    np.testing.assert_allclose(result, published(volume, PreprocessConfig(size=(4, 400, 4))), atol=1e-6)


def test_only_what_survives_the_crop_is_sampled() -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (90, 80, 70)).astype(np.float32)
    config = PreprocessConfig(spacing=(1.0, 0.8, 1.1), size=(20, 30, 24))
    whole = preprocess(volume_of(array, (1.0, 1.0, 1.0)), config)
    kept = array[30:60, 20:60, 20:50].copy()
    array[:] = np.nan  # where nothing is looked up, nothing can leak
    array[30:60, 20:60, 20:50] = kept
    np.testing.assert_array_equal(preprocess(volume_of(array, (1.0, 1.0, 1.0)), config), whole)


def test_no_copy_of_the_scan_is_made() -> None:
    array = np.zeros((300, 300, 200), np.int16)
    volume, config = volume_of(array, (1.0, 1.0, 1.0)), PreprocessConfig(spacing=(2.0, 3.0, 3.0), size=(100, 100, 100))
    tracemalloc.start()
    preprocess(volume, config)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < array.nbytes


def test_the_scan_is_not_changed() -> None:
    array = np.full((8, 8, 12), 3000, np.int16)
    array.flags.writeable = False
    assert preprocess(volume_of(array, (1.0, 1.0, 1.0)), PreprocessConfig(size=(8, 8, 8))).max() == 1
    assert array.max() == 3000


def test_what_leaves_no_voxel_is_refused() -> None:
    with pytest.raises(GeometryInvalid, match=r"along z leave none at 1\.5 mm"):
        preprocess(volume_of(np.zeros((8, 8, 2), np.int16), (1.0, 1.0, 0.5)))


def test_defaults_are_published() -> None:
    assert config_to_mapping(PreprocessConfig()) == {
        "spacing": [1.5, 0.75, 0.75],
        "size": [240, 480, 480],
        "hu_window": [-1000.0, 1000.0],
        "intensity_scale": 1000.0,
        "pad_value": -1.0,
        "clip_stage": "before-resampling",
    }


def test_settings_live_in_json() -> None:
    config = PreprocessConfig(
        spacing=(3.0, 1.0, 1.25),
        size=(60, 120, 140),
        hu_window=(-160.0, 240.0),
        intensity_scale=240.0,
        pad_value=0.0,
        clip_stage="after-resampling",
    )
    assert config_from_mapping(PreprocessConfig, json.loads(json.dumps(config_to_mapping(config)))) == config
    assert config_from_mapping(PreprocessConfig, {}) == PreprocessConfig()
    with pytest.raises(InputError, match=r"unknown hu_windows; known are clip_stage, hu_window.* Did you mean hu_window\?"):
        config_from_mapping(PreprocessConfig, {"hu_windows": [0, 1]})


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing": [1.0, 1.0]},
        {"spacing": [1.0, 1.0, 0.0]},
        {"spacing": [1.0, 1.0, float("nan")]},
        {"spacing": "abc"},
        {"spacing": 1.0},
        {"spacing": None},
        {"size": [240, 480, -1]},
        {"size": [240, 480.5, 480]},
        {"size": [100000, 100000, 100000]},
        {"hu_window": [1000, -1000]},
        {"hu_window": [-1000, 0, 1000]},
        {"intensity_scale": 0},
        {"intensity_scale": "1000"},
        {"intensity_scale": [1000]},
        {"pad_value": None},
        {"pad_value": True},
        {"clip_stage": "never"},
        {"clip_stage": ["before-resampling"]},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="Correct the configuration"):
        config_from_mapping(PreprocessConfig, wrong)


@settings(max_examples=40)
@given(
    counts=st.tuples(*[st.integers(8, 40)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 4.0)] * 3),
    size=st.tuples(*[st.integers(4, 30)] * 3),
)
def test_where_an_input_lies_in_its_scan(counts, spacing, size) -> None:
    """Voxels that hold their own index are resampled to where they came from."""
    config = PreprocessConfig(spacing=(2.0, 1.5, 1.0), size=size, hu_window=(-1e4, 1e4), intensity_scale=1.0, pad_value=-7.0)
    assume(all(int(n * (s / t)) > 0 for n, s, t in zip(counts, spacing, (1.5, 1.0, 2.0), strict=True)))
    affine = input_affine(counts, spacing, config)
    for axis, along in enumerate((1, 2, 0)):
        ramp = np.broadcast_to(np.arange(counts[axis], dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)]), counts)
        found = preprocess(volume_of(np.ascontiguousarray(ramp), spacing), config)
        middle = np.moveaxis(found, along, 0)
        line = middle[:, middle.shape[1] // 2, middle.shape[2] // 2]
        wanted = affine[axis, axis] * np.arange(size[along]) + affine[axis, 3]
        inside = (wanted >= 0) & (wanted <= counts[axis] - 1) & (line != config.pad_value)
        np.testing.assert_allclose(line[inside], wanted[inside], atol=1e-3)
        outside = (wanted < -0.5) | (wanted > counts[axis] - 0.5)
        assert (line[outside] == config.pad_value).all()
