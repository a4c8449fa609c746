"""200 truncations and 200 random header edits of a real NIfTI: no crash, and no change of geometry that goes unnoticed."""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import thoracle
from thoracle.errors import ScanError

EDITS = TRUNCATIONS = 200
_HEADER_BYTES = 348
_MOVED_MM = 1.5  # a corner of the scan; what sform and qform may differ by is 1 mm


@dataclass(frozen=True, kw_only=True)
class _Real:
    """A real chest CT, every third voxel of it: bytes of its `.nii`, the hash a data set would record, and what reading gives."""

    content: bytes
    sha256: str
    volume: thoracle.Volume


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def _real(data_dir: Path, folder: Path, *, qform_code: int) -> _Real:
    image = nib.load(data_dir / "volumes" / "totalseg_pulmonary_ct_cropped.nii.gz").slicer[::3, ::3, ::3]
    image.set_qform(image.affine, qform_code)
    path = folder / "real.nii"
    nib.save(image, path)
    content = path.read_bytes()
    return _Real(content=content, sha256=hashlib.sha256(content).hexdigest(), volume=thoracle.read(path))


@pytest.fixture(scope="module", params=[0, 1], ids=["sform", "sform and qform"])
def real(request: pytest.FixtureRequest, data_dir: Path, folder: Path) -> _Real:
    return _real(data_dir, folder, qform_code=request.param)


@pytest.mark.parametrize("packed", [False, True], ids=["nii", "nii.gz"])
def test_truncations_are_refused(data_dir: Path, folder: Path, packed: bool) -> None:
    whole = _real(data_dir, folder, qform_code=0).content
    content = gzip.compress(whole) if packed else whole
    path = folder / f"cut.nii{'.gz' if packed else ''}"
    rng = np.random.default_rng(2)
    lengths = [0, 1, 3, 4, 347, 348, 351, 352, len(content) - 8, len(content) - 1]
    for length in [*lengths, *rng.integers(0, len(content), TRUNCATIONS - len(lengths))]:
        path.write_bytes(content[:length])
        with pytest.raises(ScanError):
            thoracle.read(path)


def _edited(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four bytes at one place of the header become any others, or a field of two or four bytes another number."""
    changed = bytearray(content)
    kind = rng.integers(3)
    if kind == 0:
        at, size = rng.integers(_HEADER_BYTES - 4), rng.integers(1, 5)
        changed[at : at + size] = rng.bytes(int(size))
    elif kind == 1:
        struct.pack_into("<h", changed, 2 * int(rng.integers(_HEADER_BYTES // 2)), int(rng.integers(-300, 300)))
    else:
        value = rng.choice([0.0, -1.0, 0.5, 2.0, 1e-9, 1e9, np.nan, np.inf, rng.normal(0, 3)])
        struct.pack_into("<f", changed, 4 * int(rng.integers(_HEADER_BYTES // 4)), value)
    return bytes(changed)


def _moved_mm(volume: thoracle.Volume, original: thoracle.Volume) -> float:
    """How far the worst corner went; infinite where the scan has another size."""
    if volume.array.shape != original.array.shape:
        return float("inf")
    corners = np.array(np.meshgrid(*((0, n - 1) for n in original.array.shape), [1])).reshape(4, 8)
    return float(np.abs((volume.affine - original.affine) @ corners).max())


def test_header_edits_neither_crash_nor_change_geometry_in_silence(real: _Real, folder: Path) -> None:
    """An accepted edit either changes nothing, or the hash differs from the recorded one; where the header states its geometry
    twice, no accepted edit moves the scan at all, but for a translation that is noted.
    """
    rng = np.random.default_rng(7)
    path, ends, silent, moved = folder / "edited.nii", Counter[str](), 0, 0
    for _ in range(EDITS):
        content = _edited(real.content, rng)
        path.write_bytes(content)
        try:
            volume = thoracle.read(path)
        except ScanError as error:
            ends[type(error).__name__] += 1
            continue
        ends["read"] += 1
        assert volume.provenance.sha256 == hashlib.sha256(content).hexdigest()
        translated = any("sform taken" in note for note in volume.provenance.notes)
        moves = not translated and _moved_mm(volume, real.volume) > _MOVED_MM
        assert not translated or volume.spacing == real.volume.spacing
        moved += moves
        silent += moves and volume.provenance.sha256 == real.sha256
    twice = real.content[252:254] != b"\0\0"  # qform_code
    print(f"{'sform and qform' if twice else 'sform'}: {dict(ends)}; {moved} moved, {silent} of them silently")
    assert silent == 0
    assert moved == 0 or not twice
    assert 0 < ends["read"] < EDITS  # both ends were seen
