"""A faster search that may miss neighbours, for indexes above a size: FAISS's inverted lists in half precision, exact products at the end.

Two files beside the vectors, both made again from them: the lists, and what is known of them (state, checksum, how many lists are probed,
the recall that this gave). Needs the extra `faiss`; without it, or where the files are of another state, search is exact.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from isal import isal_zlib

from thoracle.errors import ExtraMissing
from thoracle.files.atomic import write_atomic
from thoracle.files.json_file import load_json, write_json
from thoracle.search.local.vectors import Rows, Vectors, nearest
from thoracle.search.record import LatentArray

LISTS: Final = "approximate.faiss"
NOTES: Final = "approximate.json"
#: Volumes from which an index gets lists by itself.
WORTH_IT: Final = 200_000
_RECALL: Final = 0.99  # of the 10 nearest, aimed at where the number of probes is chosen
_TRIALS: Final = 256
_SPARE: Final = 32  # candidates more than are asked for: half precision may swap neighbours, and exact products put them right
_SAMPLE: Final = 64  # vectors a list that are clustered
_ROUNDS: Final = 10  # of clustering; what more of them would gain, more probes gain in less time


@dataclass(frozen=True, kw_only=True)
class FaissInfo:
    """Hold facts about the approximate lists. `recall` is of the 10 nearest to vectors of the index itself."""

    state: str
    crc: int
    lists: int
    probes: int
    recall: float


class FaissIvf:
    """Hold lists in memory, over the vectors they were made of."""

    def __init__(self, lists: Any, vectors: Vectors, notes: FaissInfo) -> None:
        self._lists, self._vectors, self.notes = lists, vectors, notes

    def nearest(self, query_L: LatentArray, *, k: int) -> tuple[Rows, LatentArray]:
        """List rows of k vectors, or as many as the probed lists hold, largest product first, and the products, which are exact."""
        _, ids = self._lists.search(query_L[None], min(k + _SPARE, len(self._vectors.ids)))
        rows = np.sort(self._vectors.rows(ids[0][ids[0] >= 0]))
        ((positions, products),) = nearest(self._vectors.array[rows], query_L[None], k=k)
        return rows[positions], products


def build(vectors: Vectors, *, lists: int | None = None) -> FaissIvf:
    """Cluster, fill the lists, and probe as many of them as the aimed-at recall needs.

    Raises:
        ExtraMissing: FAISS is not installed.
    """
    faiss = _faiss()
    count, dim = vectors.array.shape
    lists = lists or max(1, int(4 * count**0.5))
    faiss_index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim), dim, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    faiss_index.cp.max_points_per_centroid, faiss_index.cp.niter, faiss_index.cp.spherical = _SAMPLE, _ROUNDS, True
    faiss_index.cp.min_points_per_centroid = 1  # small indexes are for tests
    drawn = np.random.default_rng(0).permutation(count)
    faiss_index.train(np.ascontiguousarray(vectors.array[np.sort(drawn[: _SAMPLE * lists])]))
    for start in range(0, count, 1 << 16):
        faiss_index.add_with_ids(np.ascontiguousarray(vectors.array[start : start + (1 << 16)]), vectors.ids[start : start + (1 << 16)])
    trials = vectors.array[np.sort(drawn[:_TRIALS])]
    exact = [set(rows.tolist()) for rows, _ in nearest(vectors.array, trials, k=11)]
    probes = 4
    while True:
        faiss_index.nprobe = min(probes, lists)
        approximate = FaissIvf(
            faiss_index, vectors, FaissInfo(state=vectors.state, crc=0, lists=lists, probes=faiss_index.nprobe, recall=0.0)
        )
        hits = [len(exact[n] & set(approximate.nearest(trial, k=11)[0].tolist())) - 1 for n, trial in enumerate(trials)]
        recall = sum(hits) / max(1, sum(len(exact_ids) - 1 for exact_ids in exact))
        if recall >= _RECALL or faiss_index.nprobe == lists:
            approximate.notes = FaissInfo(state=vectors.state, crc=0, lists=lists, probes=faiss_index.nprobe, recall=round(recall, 4))
            return approximate
        probes = probes * 3 // 2


def write(folder: Path, approximate: FaissIvf) -> None:
    """Write the lists, then their facts: a kill in between leaves lists that are not used."""
    content = _faiss().serialize_index(approximate._lists)
    write_atomic(folder / LISTS, content.data)
    notes = asdict(approximate.notes) | {"crc": isal_zlib.crc32(content)}
    write_json(folder / NOTES, notes)


def read(folder: Path, vectors: Vectors) -> FaissIvf | None:
    """Read what was written for these vectors; None where there is none, it is damaged, or FAISS is absent."""
    try:
        notes = FaissInfo(**load_json(folder / NOTES))
        faiss = _faiss() if notes.state == vectors.state else None
        if faiss is None:
            return None
        content = np.fromfile(folder / LISTS, np.uint8)
    except (OSError, ValueError, TypeError, ExtraMissing):
        return None
    if isal_zlib.crc32(content) != notes.crc:
        return None
    lists = faiss.deserialize_index(content)
    lists.nprobe = notes.probes
    return FaissIvf(lists, vectors, notes)


def remove(folder: Path) -> None:
    """Remove the facts first, so that nobody takes the lists for whole."""
    for name in (NOTES, LISTS):
        (folder / name).unlink(missing_ok=True)


def installed() -> bool:
    """Tell whether FAISS is installed."""
    try:
        _faiss()
    except ExtraMissing:
        return False
    return True


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ExtraMissing("an approximate index needs FAISS", hint="pip install 'thoracle[faiss]', or search exactly.") from error
    return faiss
