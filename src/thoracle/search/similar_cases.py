"""Find the cases of an index that look like a scan, as evidence for a chat's answers."""

from __future__ import annotations

from thoracle.ct.volume import Volume
from thoracle.inference.chat.grounded import SimilarCase
from thoracle.inference.demo.default_model import Notify
from thoracle.inference.model import Model
from thoracle.inference.prepare import PreparedVolume, prepare
from thoracle.search.backend import IndexBackend
from thoracle.search.engine import Engine, Hit, Query
from thoracle.search.model_lookup import model_of
from thoracle.search.open_index import open_index


def similar_cases(index_location: str, *, scan: Volume, k: int, detector: Model, notify: Notify) -> list[SimilarCase]:
    """Find the k most similar cases of other patients, the most similar first.

    Args:
        index_location: a folder, or a server's address.
        scan: what the cases are compared with.
        k: at most.
        detector: encodes the scan for the index too, if it is the index's model.
        notify: as `target_config`.

    Raises:
        IndexMissing, IndexMismatch: there is no index, or its model is not known here.
    """
    with open_index(index_location) as index:
        same = index.settings.get("model") == detector.folder.weights_sha256
        model = detector if same else model_of(index, folder=None, device=str(detector.device), notify=notify)
        return [to_case(hit) for hit in similar_hits(index, model, scan=prepare(scan, model.preprocess), k=k)]


def similar_hits(index: IndexBackend, model: Model, *, scan: PreparedVolume, k: int) -> tuple[Hit, ...]:
    """Find the k most similar cases of other patients, the most similar first, by the index's model."""
    query = Query(scan=scan, k=k, leave_out=frozenset({"patient", "duplicates"}))
    return Engine(index, model=model).search(query).hits


def to_case(hit: Hit) -> SimilarCase:
    """Take from a hit what an answer may cite."""
    return SimilarCase(name=hit.record.accession, similarity=hit.score, report=hit.record.report.text("both"))
