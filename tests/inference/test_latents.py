from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from thoracle.errors import InputError, OutputConflict, UnsupportedFormat
from thoracle.inference.batch.result_table import ResultTable, RowSource
from thoracle.inference.latents import ROW_COLUMNS, has_tokens, latent_row, read_latents, token_file, write_latents, write_tokens
from thoracle.models.encoder import VolumeEmbedding

SOURCE = RowSource(sha256="f" * 64, series="1.2")
LATENTS = {"a.nii.gz": np.array([0.1, -0.2, 1e-30], np.float32), "sub/b": np.array([1, 2, 3], np.float32)}


@pytest.fixture
def table(tmp_path: Path) -> Iterator[ResultTable]:
    with ResultTable(tmp_path / "latents.rows.csv", columns=ROW_COLUMNS, settings={}) as rows:
        for name, latent in LATENTS.items():
            rows.add(name, latent_row(latent), source=SOURCE)
        yield rows


def test_every_bit_comes_back(table: ResultTable, tmp_path: Path) -> None:
    write_latents(tmp_path / "latents.parquet", table, model_sha256="m")
    latents = read_latents(tmp_path / "latents.parquet")
    assert latents.names == tuple(LATENTS)
    assert np.array_equal(latents.array, np.stack(list(LATENTS.values())))
    assert latents.array.dtype == np.float32


def test_the_parquet_says_which_scan_and_which_model(table: ResultTable, tmp_path: Path) -> None:
    write_latents(tmp_path / "latents.parquet", table, model_sha256="m" * 64)
    columns = pq.read_table(tmp_path / "latents.parquet")
    assert columns.column_names == ["VolumeName", "latent", "source_sha256", "series", "model"]
    kind = columns.schema.field("latent").type
    assert (kind.list_size, kind.value_type) == (3, pa.float32())
    assert set(columns["model"].to_pylist()) == {"m" * 64}
    assert set(columns["source_sha256"].to_pylist()) == {"f" * 64}


def test_a_row_that_was_tampered_with_is_an_error(table: ResultTable, tmp_path: Path) -> None:
    table.add("c", ("not base64!",), source=SOURCE)
    with pytest.raises(OutputConflict):
        write_latents(tmp_path / "latents.parquet", table, model_sha256="m")
    assert not (tmp_path / "latents.parquet").exists()


def test_tokens_and_codes_are_kept(tmp_path: Path) -> None:
    tokens = torch.randn(1, 2, 3, 4, 5)
    encoding = VolumeEmbedding(tokens=tokens, codebook_indices=torch.arange(24)[None], latent_BL=torch.ones(1, 2))
    path = token_file(tmp_path, "sub/b.nii.gz")
    write_tokens(path, encoding, source=SOURCE, model_sha256="m")
    kept = load_file(path)
    assert path == tmp_path / "sub" / "b.nii.gz.safetensors"
    assert torch.equal(kept["tokens"], tokens[0])
    assert torch.equal(kept["indices"], torch.arange(24).view(2, 3, 4).int())
    assert has_tokens(path, source=replace(SOURCE, stamp="another place, the same bytes"), model_sha256="m")
    for other in (replace(SOURCE, sha256="0" * 64), replace(SOURCE, series=""), replace(SOURCE, reading="a row")):
        assert not has_tokens(path, source=other, model_sha256="m")
    assert not has_tokens(path, source=SOURCE, model_sha256="another")
    path.write_bytes(b"nothing")
    assert not has_tokens(path, source=SOURCE, model_sha256="m")
    assert not has_tokens(tmp_path / "absent", source=SOURCE, model_sha256="m")


@pytest.mark.parametrize("shape", [(5,), (1, 5)])
@pytest.mark.parametrize("compressed", [False, True])
def test_published_latents_are_read(tmp_path: Path, shape: tuple[int, ...], compressed: bool) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    (np.savez_compressed if compressed else np.savez)(tmp_path / "train_1_a_1.npz", arr=values)
    latents = read_latents(tmp_path / "train_1_a_1.npz")
    assert latents.names == ("train_1_a_1",)
    assert np.array_equal(latents.array, values.reshape(1, 5))


def test_a_folder_of_published_latents_is_one_array(tmp_path: Path) -> None:
    for i in range(3):
        np.savez(tmp_path / f"v{i}.npz", arr=np.full((1, 4), i, np.float32))
    latents = read_latents(tmp_path)
    assert latents.names == ("v0", "v1", "v2")
    assert latents.array[:, 0].tolist() == [0, 1, 2]


def test_several_latents_in_one_file_are_named_by_row(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", arr=np.zeros((2, 4), np.float32))
    assert read_latents(tmp_path / "v.npz").names == ("v:0", "v:1")


def npz(path: Path, member: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return path


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("other.npy", npy(np.zeros(3, np.float32))),
        ("arr.npy", b""),
        ("arr.npy", b"\x93NUMPY\x07\x00"),
        ("arr.npy", npy(np.zeros(3, np.float32))[:-4]),
        ("arr.npy", npy(np.zeros(3, np.float32)).replace(b"(3,)", b"(9,)")),
        ("arr.npy", npy(np.zeros(3, np.float32)).replace(b"(3,), }" + b" " * 12, b"(9999999999999,), }")),
        ("arr.npy", npy(np.array([{}], object), allow_pickle=True)),
        ("arr.npy", npy(np.array([np.nan, 1], np.float32))),
        ("arr.npy", npy(np.array([1, 2]))),
        ("arr.npy", npy(np.zeros((2, 2, 2), np.float32))),
        ("arr.npy", npy(np.zeros((0, 4), np.float32))),
    ],
)
def test_what_is_not_latents_is_refused(tmp_path: Path, member: str, content: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match="not latents"):
        read_latents(npz(tmp_path / "x.npz", member, content))


def test_a_bomb_is_refused_before_it_unfolds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thoracle.inference.latents._MOST_BYTES", 1 << 16)
    with pytest.raises(UnsupportedFormat, match="65,536 bytes"):
        read_latents(npz(tmp_path / "x.npz", "arr.npy", npy(np.zeros(1 << 15, np.float32))))


@pytest.mark.parametrize("name", ["x.npz", "x.parquet"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UnsupportedFormat):
        read_latents(tmp_path / name)
    with pytest.raises(InputError):
        read_latents(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnsupportedFormat):
        read_latents(tmp_path / "empty")
