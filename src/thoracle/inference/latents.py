"""Latents and tokens on the disk: our parquet table, token files, and the published .npz.

Shapes: n scans, L latent width; T, h, w, D as in `models.ctvit`.
"""

from __future__ import annotations

import base64
import binascii
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from thoracle.errors import InputError, OutputConflict, UnsupportedFormat
from thoracle.files.atomic import write_atomic
from thoracle.inference.batch.discover_scans import VOLUME_NAME
from thoracle.inference.batch.result_table import ResultTable, RowSource
from thoracle.models.encoder import VolumeEmbedding
from thoracle.types import RESEARCH_USE

#: Columns of the table that grows while scans are embedded; the parquet file is made of it.
ROW_COLUMNS: Final = ("latent",)
_MOST_BYTES: Final = 1 << 30  # half a million published latents in one file
_NPZ_KEY: Final = "arr"
_NPY_FAULTS = (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError, NotImplementedError)

LatentArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Latents:
    """Hold names of n scans and their latents (n, L)."""

    names: tuple[str, ...]
    array: LatentArray


def latent_row(latent_L: LatentArray) -> tuple[str]:
    """Format the value of `ROW_COLUMNS` as text that keeps every bit."""
    return (base64.b64encode(np.ascontiguousarray(latent_L, dtype="<f4").tobytes()).decode(),)


def write_latents(path: Path, table: ResultTable, *, model_sha256: str) -> None:
    """Write all rows of a table as one parquet file, whole or not at all: VolumeName, latent, hashes of scan and model, series.

    Raises:
        OutputConflict: the table was damaged by something else.
    """
    names = list(table.rows)
    try:
        rows = [np.frombuffer(base64.b64decode(row[0], validate=True), dtype="<f4") for row in table.rows.values()]
        array = np.stack(rows)
    except (binascii.Error, ValueError) as error:
        raise OutputConflict(f"holds a latent that is not one ({error})", hint="Remove it and embed again.", source=table.path) from None
    columns = {
        VOLUME_NAME: pa.array(names, pa.string()),
        "latent": pa.FixedSizeListArray.from_arrays(pa.array(array.ravel(), pa.float32()), array.shape[1]),
        "source_sha256": pa.array([table.sources[name].sha256 for name in names], pa.string()),
        "series": pa.array([table.sources[name].series for name in names], pa.string()),
        "model": pa.array([model_sha256] * len(names), pa.string()),
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns).replace_schema_metadata({"notice": RESEARCH_USE}), sink)
    write_atomic(path, sink.getvalue().to_pybytes())


def token_file(folder: Path, name: str) -> Path:
    """Return the path of a scan's tokens."""
    return folder / f"{name}.safetensors"


def write_tokens(path: Path, embedding: VolumeEmbedding, *, source: RowSource, model_sha256: str) -> None:
    """Write the tokens of the one volume in `embedding`, whole or not at all, with a note of what they are of.

    The file holds `tokens` (T, h, w, D) float32: rows of the codebook where there is one, with their `indices` (T, h, w) int32.
    """
    tokens = (embedding.tokens if embedding.codes is None else embedding.codes)[0].float().cpu().contiguous()
    tensors = {"tokens": tokens}
    if embedding.codebook_indices is not None:
        tensors["indices"] = embedding.codebook_indices[0].int().cpu().view(tokens.shape[:3]).contiguous()
    write_atomic(path, save(tensors, metadata={"notice": RESEARCH_USE, **_token_facts(source, model_sha256)}))


def has_tokens(path: Path, *, source: RowSource, model_sha256: str) -> bool:
    """Tell whether a file holds the tokens of these bytes, as this model gives them."""
    try:
        with safe_open(path, framework="np") as file:
            facts = file.metadata() or {}
    except (OSError, SafetensorError):
        return False
    return _token_facts(source, model_sha256).items() <= facts.items()


def _token_facts(source: RowSource, model_sha256: str) -> dict[str, str]:
    return {"source_sha256": source.sha256, "series": source.series, "reading": source.reading, "model": model_sha256}


def read_latents(path: str | Path) -> Latents:
    """Read latents of our own parquet, or of published .npz files (`arr`), one file or a folder of them.

    Raises:
        InputError: no such file.
        UnsupportedFormat: neither, or damaged.
    """
    source = Path(path)
    if not source.exists():
        raise InputError("no such file or folder", hint="Check the path.", source=source)
    if source.is_dir():
        files = sorted(source.rglob("*.npz"))
        if not files:
            raise UnsupportedFormat("holds no .npz files", hint="Give a folder of published latents.", source=source)
        parts = [_read_npz(file) for file in files]
        if len({part.array.shape[1] for part in parts}) > 1:
            raise UnsupportedFormat("holds latents of unlike width", hint="Keep those of each model in their own folder.", source=source)
        return Latents(names=tuple(n for part in parts for n in part.names), array=np.concatenate([part.array for part in parts]))
    return _read_npz(source) if source.suffix.lower() == ".npz" else _read_parquet(source)


def _read_parquet(path: Path) -> Latents:
    try:
        table = pq.read_table(path, columns=[VOLUME_NAME, "latent"])
        column = table["latent"].combine_chunks()
        if not pa.types.is_fixed_size_list(column.type) or column.null_count:
            raise _not_latents(path, "its column latent is not a list of fixed size")
        array = np.asarray(column.flatten(), dtype=np.float32).reshape(len(table), column.type.list_size)
        return Latents(names=tuple(table[VOLUME_NAME].to_pylist()), array=array)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise _not_latents(path, str(error).split("\n", maxsplit=1)[0]) from None


def _read_npz(path: Path) -> Latents:
    """One published file: `arr` of one latent, (L) or (1, L), named as the file; or of several, (n, L), named by their row."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(f"{_NPZ_KEY}.npy")
            if member.file_size > _MOST_BYTES:
                raise _not_latents(path, f"{_NPZ_KEY} has more than {_MOST_BYTES:,} bytes")
            with archive.open(member) as file:
                array = _read_npy(cast(BinaryIO, file), member.file_size)
    except _NPY_FAULTS as error:
        raise _not_latents(path, f"no array {_NPZ_KEY} that can be read ({type(error).__name__})") from None
    if array.dtype.kind != "f" or array.ndim not in (1, 2) or not array.size or not np.isfinite(array).all():
        raise _not_latents(path, f"{_NPZ_KEY} is {array.dtype} of shape {array.shape}")
    rows = np.atleast_2d(array).astype(np.float32)
    return Latents(names=(path.stem,) if len(rows) == 1 else tuple(f"{path.stem}:{i}" for i in range(len(rows))), array=rows)


def _read_npy(file: BinaryIO, size: int) -> NDArray[np.generic]:
    """numpy allocates what a header asks for before it reads; a header may ask for no more than there is."""
    read_header: Mapping[tuple[int, int], object] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    header = read_header[np.lib.format.read_magic(file)]
    shape, fortran, dtype = header(file)  # type: ignore[operator]
    if dtype.hasobject or np.prod(shape, dtype=object) * dtype.itemsize > size:
        raise ValueError("more than the file holds")
    array = np.frombuffer(file.read(), dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return cast("NDArray[np.generic]", array)


def _not_latents(path: Path, why: str) -> UnsupportedFormat:
    return UnsupportedFormat(f"not latents: {why}", hint="Give a .parquet of `thoracle embed`, or a published .npz.", source=path)
