"""One array from one stream: exact sizes, checked sums, and refusal before memory is taken."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from thoracle.ct.byte_streams import BUDGET_BYTES, Codec, Stream, codec_of, decompress_into, read_prefix, sha256_of
from thoracle.errors import BudgetExceeded, CorruptFile, TruncatedFile
from thoracle.types import StoredArray

VOXELS = np.arange(-1000, 1400, dtype=np.int16).reshape((10, 12, 20), order="F")
SIZE = VOXELS.nbytes


def _load(path: Path, codec: Codec = "gzip", *, shape: tuple[int, ...] = VOXELS.shape, skip: int = 0, start: int = 0) -> StoredArray:
    stream = Stream(path=path, codec=codec, payload_offset=skip, file_offset=start)
    return decompress_into(stream, shape=shape, dtype=np.dtype("<i2"), hashed=(path,))[0]


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("codec", "pack"), [("plain", bytes), ("gzip", gzip.compress), ("bzip2", bz2.compress)])
def test_fills_an_array_from_any_codec_after_what_is_skipped(tmp_path: Path, codec: Codec, pack: type[bytes]) -> None:
    path = _write(tmp_path / "f", b"before" + pack(b"header" + VOXELS.tobytes("F")))
    voxels = _load(path, codec, start=6, skip=6)
    np.testing.assert_array_equal(voxels, VOXELS)
    assert voxels.flags.f_contiguous
    assert voxels.flags.writeable


def test_big_endian_becomes_native(tmp_path: Path) -> None:
    path = _write(tmp_path / "f", VOXELS.astype(">i2").tobytes("F"))
    voxels, *_ = decompress_into(Stream(path=path, codec="plain"), shape=VOXELS.shape, dtype=np.dtype(">i2"), hashed=(path,))
    assert voxels.dtype == np.dtype("=i2")
    np.testing.assert_array_equal(voxels, VOXELS)


def test_hash_is_over_the_files_bytes_in_order(tmp_path: Path) -> None:
    first, second = _write(tmp_path / "a", b"one" * 200_000), _write(tmp_path / "b", gzip.compress(VOXELS.tobytes("F")))
    digest = hashlib.sha256(first.read_bytes() + second.read_bytes()).hexdigest()
    assert sha256_of(first, second) == digest
    assert decompress_into(Stream(path=second, codec="gzip"), shape=VOXELS.shape, dtype=VOXELS.dtype, hashed=(first, second))[1] == digest


def test_gzip_in_several_members_and_padded_with_zeros_is_read(tmp_path: Path) -> None:
    raw = VOXELS.tobytes("F")
    path = _write(tmp_path / "f", gzip.compress(raw[:999]) + gzip.compress(b"") + gzip.compress(raw[999:]) + bytes(512))
    np.testing.assert_array_equal(_load(path), VOXELS)


@pytest.mark.parametrize(("codec", "pack"), [("gzip", gzip.compress), ("bzip2", bz2.compress), ("plain", bytes)])
def test_every_truncation_is_refused(tmp_path: Path, codec: Codec, pack: type[bytes]) -> None:
    content = pack(VOXELS.tobytes("F"))
    for length in range(0, len(content), 7 if codec == "gzip" else 97):
        with pytest.raises(TruncatedFile):
            _load(_write(tmp_path / "f", content[:length]), codec)


def test_every_changed_byte_of_a_gzip_stream_is_refused(tmp_path: Path) -> None:
    content = gzip.compress(VOXELS.tobytes("F"), mtime=0)
    means_something = [0, 1, 2, *range(10, 30), *range(30, len(content) - 8, 7), *range(len(content) - 8, len(content))]
    for at in means_something:  # but for flags, time, level and system in the first ten bytes
        changed = bytearray(content)
        changed[at] ^= 0x55
        with pytest.raises(CorruptFile):
            _load(_write(tmp_path / "f", bytes(changed)))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda g: g[:-8] + bytes(4) + g[-4:], "CRC"),
        (lambda g: g[:-4] + bytes(4), "length"),
        (lambda g: g + b"and more", "damaged"),
        (lambda g: g[:3] + b"\x08" + g[4:10] + b"n" * (1 << 20) + b"\0" + g[10:], "header exceeds"),
    ],
)
def test_damaged_gzip_is_refused(tmp_path: Path, damage: type[bytes], said: str) -> None:
    with pytest.raises(CorruptFile, match=said):
        _load(_write(tmp_path / "f", damage(gzip.compress(VOXELS.tobytes("F")))))


def _notes(path: Path) -> tuple[str, ...]:
    stream = Stream(path=path, codec=codec_of(path))
    voxels, digest, notes = decompress_into(stream, shape=VOXELS.shape, dtype=np.dtype("<i2"), hashed=(path,))
    np.testing.assert_array_equal(voxels, VOXELS)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    return notes


@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b" \t\r\n\n"])
@pytest.mark.parametrize("where", ["after the voxels", "in the gzip stream", "after the gzip stream", "after the last of two members"])
def test_units_line_ends_after_the_data_are_left_out_and_noted(tmp_path: Path, tail: bytes, where: str) -> None:
    raw = VOXELS.tobytes("F")
    content = {
        "after the voxels": raw + tail,
        "in the gzip stream": gzip.compress(raw + tail),
        "after the gzip stream": gzip.compress(raw) + tail,
        "after the last of two members": gzip.compress(raw[:1000]) + gzip.compress(raw[1000:]) + tail,
    }[where]
    path = _write(tmp_path / "f", content)
    assert _notes(path) == (f"{len(tail)} byte(s) of line ends or blanks after the voxels left out",)
    assert read_prefix(path, 6) == raw[:6]


@pytest.mark.parametrize("tail", [b"\nx", b"\0\0", b"\n" * 9, b"  and more"])
def test_units_anything_else_after_the_voxels_is_refused(tmp_path: Path, tail: bytes) -> None:
    with pytest.raises(CorruptFile, match="holds more"):
        _load(_write(tmp_path / "f", VOXELS.tobytes("F") + tail), "plain")


def test_units_a_cut_stream_that_ends_in_a_line_end_is_cut(tmp_path: Path) -> None:
    with pytest.raises(TruncatedFile):
        _load(_write(tmp_path / "f", gzip.compress(VOXELS.tobytes("F"))[:-12] + b"\r\n"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_more_bytes_than_promised_are_refused(tmp_path: Path, pack: type[bytes]) -> None:
    path = _write(tmp_path / "f", pack(VOXELS.tobytes("F")))
    with pytest.raises(CorruptFile, match="holds more"):
        _load(path, codec_of(path), shape=(10, 12, 19))


@pytest.mark.parametrize("codec", ["plain", "gzip"])
def test_what_the_file_cannot_hold_is_refused_by_its_size(tmp_path: Path, codec: Codec) -> None:
    path = _write(tmp_path / "f", gzip.compress(VOXELS.tobytes("F")))
    with pytest.raises(TruncatedFile, match="at most"):
        _load(path, codec, shape=(32000, 32000, 32000))


def test_the_budget_holds_for_files_that_are_large_indeed(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(BUDGET_BYTES + 2)
    with pytest.raises(BudgetExceeded, match="one scan may take"):
        _load(path, "plain", shape=(BUDGET_BYTES // 2 + 1,))


_BOMB = """
import sys
from pathlib import Path
import numpy as np
from thoracle.ct.byte_streams import Stream, decompress_into
from thoracle.errors import CorruptFile
path = Path(sys.argv[1])
for voxels in (1000, int(sys.argv[2])):
    try:
        decompress_into(Stream(path=path, codec="gzip"), shape=(voxels,), dtype=np.dtype("i1"), hashed=(path,))
    except CorruptFile as error:
        print(type(error).__name__)
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024)
"""


def test_a_gzip_bomb_is_not_unpacked_whatever_its_header_promises(tmp_path: Path) -> None:
    unpacked = 1 << 30
    path = _write(tmp_path / "bomb.gz", gzip.compress(bytes(8 << 20), 9) * (unpacked // (8 << 20)))
    done = subprocess.run([sys.executable, "-c", _BOMB, path, str(unpacked)], capture_output=True, text=True, timeout=60, check=True)
    modest, honest, megabytes = done.stdout.split()
    assert (modest, honest) == ("CorruptFile", "BudgetExceeded")
    assert int(megabytes) < 300


def test_peek_is_bounded_and_unpacks(tmp_path: Path) -> None:
    assert read_prefix(_write(tmp_path / "a", b"plain bytes"), 5) == b"plain"
    assert read_prefix(_write(tmp_path / "b", gzip.compress(b"packed bytes")), 6) == b"packed"
    assert read_prefix(_write(tmp_path / "c", b""), 6) == b""
    with pytest.raises(TruncatedFile):
        read_prefix(_write(tmp_path / "d", b"\x1f\x8b"), 6)
