"""Cases of an index that look like a scan, for an answer to rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thoracle.ct.volume import Volume
    from thoracle.inference.chat.grounded import SimilarCase
    from thoracle.inference.model import Model


def similar_cases(place: str, scan: Volume, *, k: int, detector: Model) -> list[SimilarCase]:
    """The k most similar of other patients, the most similar first.

    Args:
        place: of the index.
        scan: what they are to look like.
        k: at most.
        detector: reads the scan for the index too, if it is the index's model.

    Raises:
        IndexMissing, IndexMismatch: there is no index, or its model is not known here.
    """
    from thoracle.cli.search import model_of
    from thoracle.inference.chat.grounded import SimilarCase
    from thoracle.inference.prepare import prepare
    from thoracle.search.engine import Engine, Query
    from thoracle.search.places import opened

    with opened(place) as index:
        same = index.settings.get("model") == detector.folder.weights_sha256
        model = detector if same else model_of(index, None, str(detector.device))
        query = Query(scan=prepare(scan, model.preprocess), k=k, leave_out=frozenset({"patient", "duplicates"}))
        hits = Engine(index, model=model).search(query).hits
    return [SimilarCase(name=hit.record.accession, similarity=hit.score, report=hit.record.report.text("both")) for hit in hits]
