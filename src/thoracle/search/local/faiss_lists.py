"""A faster search that may miss neighbours, for indexes above a size: FAISS's inverted lists in half precision, exact products at the end.

Two files beside the vectors, both made again from them: the lists, and what is known of them (up to which id they hold, checksum, how many
lists are probed, the recall that this gave). Later ids are compared one by one until they are many; then they join the lists. Clustering is
repeated when the index has doubled. Needs the extra `faiss`; without it, or where the files are of other vectors, search is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from isal import isal_zlib

from thoracle.errors import ExtraMissing
from thoracle.files.atomic import write_atomic
from thoracle.files.json_file import load_json, write_json
from thoracle.search.local.vectors import Ids, Rows, Vectors, nearest
from thoracle.search.record import LatentArray

LISTS: Final = "approximate.faiss"
NOTES: Final = "approximate.json"
#: Volumes from which an index gets lists by itself.
WORTH_IT: Final = 200_000
_RECALL: Final = 0.99  # of the 10 nearest, aimed at for volumes and for texts where the number of probes is chosen
_TRIALS: Final = 256
_SPARE: Final = 32  # candidates more than are asked for: half precision may swap neighbours, and exact products put them right
_SAMPLE: Final = 64  # vectors a list that are clustered
_ROUNDS: Final = 10  # of clustering; what more of them would gain, more probes gain in less time
_OUTSIDE: Final = 20  # an index joins what is outside its lists once it is more than a 20th of what is inside
_GROWN: Final = 2  # times as many vectors as were clustered


@dataclass(frozen=True, kw_only=True)
class FaissInfo:
    """Hold facts about the approximate lists.

    Attributes:
        token: of the file of vectors.
        last_id: up to which id they hold vectors.
        clustered: how many vectors there were when they were clustered.
        crc: of the file.
        lists, probes: how many there are, and are looked into.
        recall: of the 10 nearest to vectors of the index itself.
        text_recall: of the 10 nearest to texts and to reports, the lesser of the two; None where no model was at hand to encode any.
    """

    token: str
    last_id: int
    clustered: int
    crc: int
    lists: int
    probes: int
    recall: float
    text_recall: float | None

    def sentence(self) -> str:
        """Say what they find and miss."""
        texts = "not measured for texts" if self.text_recall is None else f"{self.text_recall:.3f} to texts"
        return f"approximate lists find {self.recall:.3f} of the 10 nearest to volumes, {texts} ({self.probes} of {self.lists:,} probed)"


class FaissIvf:
    """Hold lists in memory, over the vectors they were made of."""

    def __init__(self, lists: Any, vectors: Vectors, info: FaissInfo) -> None:
        self._lists, self._vectors, self.info = lists, vectors, info
        #: The first row that is in no list.
        self.covered = int(np.searchsorted(vectors.ids, info.last_id, "right"))

    def nearest(self, query_L: LatentArray, *, k: int) -> tuple[Rows, LatentArray]:
        """List rows of k vectors, or as many as the probed lists hold, largest product first, and the products, which are exact."""
        vectors = self._vectors
        _, ids = self._lists.search(query_L[None], min(k + _SPARE, max(1, self.covered)))
        rows = np.sort(vectors.rows(ids[0][ids[0] >= 0]))
        if vectors.live is not None:
            rows = rows[vectors.live[rows]]
        if self.covered < len(vectors.ids):
            rows = np.concatenate([rows, np.sort(vectors.nearest(query_L[None], k=k, first=self.covered)[0][0])])
        ((positions, products),) = nearest(vectors.take(rows), query_L[None], k=k)
        return rows[positions], products

    @property
    def outgrown(self) -> bool:
        """Tell whether so many vectors are outside that they should join."""
        return len(self._vectors.ids) - self.covered > self.covered // _OUTSIDE

    @property
    def doubled(self) -> bool:
        """Tell whether the index has so many more vectors that they should be clustered anew."""
        return len(self._vectors.ids) >= _GROWN * self.info.clustered

    def joined(self, texts: Sequence[LatentArray] = ()) -> FaissIvf:
        """Put the vectors outside into the lists, and choose the probes again: no fewer than before where there are no texts to try."""
        _fill(self._lists, self._vectors, first=self.covered)
        tuned = _tuned(self._lists, self._vectors, texts, clustered=self.info.clustered, least=1 if texts else self.info.probes)
        tuned.info = tuned.info if texts else replace(tuned.info, text_recall=self.info.text_recall)
        return tuned

    def without(self, vectors: Vectors) -> FaissIvf:
        """Take out what these vectors, of the same file, do not have."""
        if vectors.live is not None:
            self._lists.remove_ids(np.ascontiguousarray(vectors.ids[~vectors.live]))
        return FaissIvf(self._lists, vectors, replace(self.info, token=vectors.token))


def build(vectors: Vectors, *, lists: int | None = None, texts: Sequence[LatentArray] = ()) -> FaissIvf:
    """Cluster, fill the lists, and probe as many of them as the aimed-at recall needs.

    Args:
        vectors: (n, L).
        lists: how many; by default by n.
        texts: (T, L) of each kind of text that is looked for, which lie elsewhere than volumes; the probes are chosen for all kinds.

    Raises:
        ExtraMissing: FAISS is not installed.
    """
    faiss = _faiss()
    rows = vectors.live_rows
    count, dim = len(rows), vectors.array.shape[1]
    lists = lists or min(count, int(4 * count**0.5))  # a centre for each of a handful
    faiss_index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim), dim, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    faiss_index.cp.max_points_per_centroid, faiss_index.cp.niter, faiss_index.cp.spherical = _SAMPLE, _ROUNDS, True
    faiss_index.cp.min_points_per_centroid = 1  # small indexes are for tests
    drawn = np.random.default_rng(0).permutation(count)
    faiss_index.train(np.ascontiguousarray(vectors.take(rows[np.sort(drawn[: _SAMPLE * lists])])))
    _fill(faiss_index, vectors, first=0)
    return _tuned(faiss_index, vectors, texts, clustered=count)


def write(folder: Path, approximate: FaissIvf) -> None:
    """Write the lists, then their facts: a kill in between leaves lists that are not used."""
    content = _faiss().serialize_index(approximate._lists)
    (folder / NOTES).unlink(missing_ok=True)
    write_atomic(folder / LISTS, content.data, private=True)
    write_json(folder / NOTES, asdict(replace(approximate.info, crc=isal_zlib.crc32(content))), private=True)


def read_info(folder: Path) -> FaissInfo | None:
    """Read the facts; None where there are none."""
    try:
        return FaissInfo(**load_json(folder / NOTES))
    except (OSError, ValueError, TypeError):
        return None


def read(folder: Path, vectors: Vectors, *, before: FaissIvf | None = None) -> FaissIvf | None:
    """Read what was written for these vectors; None where there is none, it is damaged, or FAISS is absent.

    Args:
        folder: of the index.
        vectors: as they are now.
        before: what was read before, which is used again where the file has not changed.
    """
    info = read_info(folder)
    if info is None or info.token != vectors.token:
        return None
    if before is not None and before.info == info:
        return FaissIvf(before._lists, vectors, info)
    try:
        faiss, content = _faiss(), np.fromfile(folder / LISTS, np.uint8)
    except (OSError, ExtraMissing):
        return None
    if isal_zlib.crc32(content) != info.crc:
        return None
    lists = faiss.deserialize_index(content)
    lists.nprobe = info.probes
    return FaissIvf(lists, vectors, info)


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


def renew(folder: Path, vectors: Vectors, *, texts: Callable[[], Sequence[LatentArray]]) -> None:
    """Make lists, let what is outside them join, choose probes for texts, or leave all as it is.

    Args:
        folder: of the index.
        vectors: of its database's state.
        texts: encodes texts as they are looked for; called where probes are chosen.

    Raises:
        As `build` and `write`.
    """
    lists = read(folder, vectors)
    if lists is None or lists.doubled:
        write(folder, build(vectors, texts=texts()))
    elif lists.outgrown:
        write(folder, lists.joined(texts()))
    elif lists.info.text_recall is None and (encoded := texts()):
        write(folder, lists.joined(encoded))


def _tuned(faiss_index: Any, vectors: Vectors, texts: Sequence[LatentArray], *, clustered: int, least: int = 4) -> FaissIvf:
    """Probe as few lists as give the aimed-at recall, of volumes and of each kind of text."""
    rows, lists = vectors.live_rows, int(faiss_index.nlist)
    chosen = rows[np.sort(np.random.default_rng(1).permutation(len(rows))[:_TRIALS])]
    trials = vectors.take(chosen)
    exact = [[row for row in nearest_rows.tolist() if row != trial] for trial, (nearest_rows, _) in _paired(chosen, vectors, trials, k=11)]
    exact_texts = [[nearest_rows.tolist() for nearest_rows, _ in vectors.nearest(kind, k=10)] for kind in texts]
    probes = min(max(4, least), lists)
    while True:
        faiss_index.nprobe = probes
        info = FaissInfo(
            token=vectors.token, last_id=int(vectors.ids[-1]), clustered=clustered, crc=0, lists=lists, probes=probes, recall=0.0,
            text_recall=None,
        )  # fmt: skip
        lists_in_use = FaissIvf(faiss_index, vectors, info)
        recall = _recall(lists_in_use, trials, exact, k=11)
        text_recalls = [_recall(lists_in_use, kind, exact_rows, k=10) for kind, exact_rows in zip(texts, exact_texts, strict=True)]
        if min([recall, *text_recalls]) >= _RECALL or probes == lists:
            text_recall = round(min(text_recalls), 4) if text_recalls else None
            lists_in_use.info = replace(info, recall=round(recall, 4), text_recall=text_recall)
            return lists_in_use
        probes = min(probes * 3 // 2, lists)


def _paired(chosen: Rows, vectors: Vectors, trials: LatentArray, *, k: int) -> list[tuple[int, tuple[Rows, LatentArray]]]:
    """Each row and its nearest, itself among them."""
    return list(zip(chosen.tolist(), vectors.nearest(trials, k=k), strict=True))


def _recall(lists: FaissIvf, queries: LatentArray, exact: Sequence[Sequence[int]], *, k: int) -> float:
    """The share of the exact neighbours that the lists find."""
    hits = sum(len(set(rows) & set(lists.nearest(query, k=k)[0].tolist())) for query, rows in zip(queries, exact, strict=True))
    return hits / max(1, sum(map(len, exact)))


def _fill(faiss_index: Any, vectors: Vectors, *, first: int) -> None:
    rows = vectors.live_rows
    rows = rows[rows >= first]
    for start in range(0, len(rows), 1 << 16):
        part = rows[start : start + (1 << 16)]
        faiss_index.add_with_ids(np.ascontiguousarray(vectors.take(part)), _ids(vectors, part))


def _ids(vectors: Vectors, rows: Rows) -> Ids:
    return np.ascontiguousarray(vectors.ids[rows])


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ExtraMissing("an approximate index needs FAISS", hint="pip install 'thoracle[faiss]', or search exactly.") from error
    return faiss
