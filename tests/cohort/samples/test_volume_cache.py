from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numcodecs.blosc import Blosc

from thoracle.cohort.samples import volume_cache
from thoracle.cohort.samples.volume_cache import MAGIC, pack, read_hounsfield, read_volume, require_cacheable, stored_shape
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import CacheDamaged, InputError
from thoracle.files.atomic import write_atomic


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """Several chunks, the last one shorter: 40 planes of 300 x 200."""
    return np.random.default_rng(0).uniform(-1, 1, (77, 300, 200)).astype(np.float32)


def _write(path: Path, volume: np.ndarray, scale: float = 1000.0) -> Path:
    write_atomic(path, pack(volume, scale=scale))
    return path


def test_what_is_read_is_within_half_a_hounsfield_unit_of_what_was_written(volume: np.ndarray, tmp_path: Path) -> None:
    again = read_volume(_write(tmp_path / "a.vol", volume))
    assert stored_shape(tmp_path / "a.vol") == volume.shape
    assert again.dtype == np.float32
    assert np.abs(again - volume).max() <= 0.0005001


def test_equal_voxels_are_equal_bytes(volume: np.ndarray) -> None:
    """Files are known by their hash. Blosc's threads would give several in a dozen."""
    assert len({pack(volume, scale=1000.0) for _ in range(12)}) == 1


@settings(deadline=None, max_examples=50)
@given(
    hu=hnp.arrays(np.int16, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(-32767, 32767)),
    scale=st.sampled_from([1.0, 1000.0, 600.5]),
)
def test_whole_hounsfield_units_come_back_as_they_were(hu: np.ndarray, scale: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    volume = hu.astype(np.float32) / np.float32(scale)
    again = read_volume(_write(tmp_path_factory.mktemp("cache") / "a.vol", volume, scale))
    assert np.array_equal(np.rint(again * np.float32(scale)), hu)


def test_units_that_do_not_begin_at_water(volume: np.ndarray, tmp_path: Path) -> None:
    """Merlin's: 0 is -1000 HU, 1 is 1000. A file of CT-CLIP's units does not name its zero, as before."""
    path = tmp_path / "a.vol"
    write_atomic(path, pack((volume + 1) / 2, scale=2000.0, zero=-1000.0))
    hu = np.rint(volume * np.float32(1000))
    again, buffer = read_volume(path), np.empty(volume.shape, np.int16)
    read_hounsfield(path, buffer, scale=2000.0, zero=-1000.0)
    assert np.abs(again - (volume + 1) / 2).max() <= 0.00025005
    assert np.abs(buffer - hu).max() <= 1
    assert np.array_equal(again, (buffer + np.float32(1000)) / np.float32(2000))
    with pytest.raises(CacheDamaged, match="-1000 HU being 0; the cohort's volumes are"):
        read_hounsfield(path, buffer, scale=2000.0)
    assert b'"zero"' not in pack(volume[:1], scale=1000.0)


def test_hounsfield_units_are_read_into_a_buffer_as_they_were_packed(volume: np.ndarray, tmp_path: Path) -> None:
    path, buffer = _write(tmp_path / "a.vol", volume), np.full(volume.shape, 77, np.int16)
    read_hounsfield(path, buffer, scale=1000.0)
    assert np.array_equal(buffer, np.rint(volume * np.float32(1000)))
    assert np.array_equal(read_volume(path), buffer / np.float32(1000))


@pytest.mark.parametrize(("shape", "scale"), [((77, 300, 201), 1000.0), ((77, 300, 200), 600.0)])
def test_a_volume_for_another_model_is_refused(shape: tuple[int, int, int], scale: float, volume: np.ndarray, tmp_path: Path) -> None:
    path = _write(tmp_path / "a.vol", volume)
    with pytest.raises(CacheDamaged, match=rf"shape \(77, 300, 200\) and scale 1000, .* {scale:g}.*thoracle prepare"):
        read_hounsfield(path, np.empty(shape, np.int16), scale=scale)


@pytest.mark.parametrize("codec", [Blosc(cname="zstd", clevel=1, shuffle=Blosc.BITSHUFFLE), Blosc(cname="lz4", shuffle=Blosc.SHUFFLE)])
def test_a_cache_that_was_packed_by_another_codec_is_read_all_the_same(
    codec: Blosc, volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zstd at level 1 is what caches were packed by before LZ4; what reads them is asked for nothing of it."""
    with monkeypatch.context() as earlier:
        earlier.setattr(volume_cache, "_CODEC", codec)
        before = _write(tmp_path / "before.vol", volume)
    now = _write(tmp_path / "now.vol", volume)
    assert before.read_bytes() != now.read_bytes()
    assert np.array_equal(read_volume(before), read_volume(now))


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.vol", np.linspace(-1, 1, 4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6))
    sound = path.read_bytes()
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(CacheDamaged):
            read_volume(path)
        with pytest.raises(CacheDamaged):
            read_hounsfield(path, np.empty((4, 5, 6), np.int16), scale=1000.0)


@pytest.mark.parametrize("cut", [0, 4, 16, 40, -1])
def test_a_cut_file_a_longer_one_and_none_are_refused(cut: int, volume: np.ndarray, tmp_path: Path) -> None:
    path = _write(tmp_path / "a.vol", volume[:3])
    sound = path.read_bytes()
    for content in (sound[:cut], sound + b"x"):
        path.write_bytes(content)
        with pytest.raises(CacheDamaged, match=r"thoracle prepare"):
            read_volume(path)
    path.unlink()
    for reads in (read_volume, stored_shape):
        with pytest.raises(CacheDamaged, match="No such file"):
            reads(path)


@pytest.mark.parametrize(
    "header", [{"shape": [1 << 20, 1 << 10, 1 << 10]}, {"shape": [4, 5]}, {"planes": 0}, {"scale": "x"}, {"chunks": []}]
)
def test_a_header_that_lies_is_refused_whatever_its_checksum(header: dict[str, object], tmp_path: Path) -> None:
    from isal import isal_zlib

    text = json.dumps({"shape": [2, 2, 2], "scale": 1000.0, "planes": 2, "chunks": [[3, 0]], **header}).encode()
    path = tmp_path / "a.vol"
    path.write_bytes(struct.pack("<8sII", MAGIC, len(text), isal_zlib.crc32(text)) + text + b"xxx")
    with pytest.raises(CacheDamaged):
        read_volume(path)


def test_a_window_beyond_int16_is_refused() -> None:
    require_cacheable(PreprocessConfig())
    for config in (PreprocessConfig(hu_window=(-40000.0, 1000.0)), PreprocessConfig(pad_value=-40.0)):
        with pytest.raises(InputError, match="int16"):
            require_cacheable(config)
