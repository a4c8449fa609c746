"""Find the cases of an index that look like a scan, as evidence for a chat's answers."""

from __future__ import annotations

from thoracle.ct.volume import Volume
from thoracle.inference.chat.grounded import SimilarCase
from thoracle.inference.demo.default_model import Notify
from thoracle.inference.model import Model
from thoracle.inference.prepare import prepare
from thoracle.search.engine import Engine, Query
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
        query = Query(scan=prepare(scan, model.preprocess), k=k, leave_out=frozenset({"patient", "duplicates"}))
        hits = Engine(index, model=model).search(query).hits
    return [SimilarCase(name=hit.record.accession, similarity=hit.score, report=hit.record.report.text("both")) for hit in hits]
