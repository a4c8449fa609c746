"""The desk asks the engine of the command line, and names records to the server alone; serving/routes/test_search.py has the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.errors import UnknownId
from thoracle.inference.model import load
from thoracle.serving.jobs.worker import JobContext
from thoracle.serving.work.retrieval import SearchDesk


def test_hits_are_records_with_numbers_and_names_for_the_server(model_dir: Path, index_dir: Path) -> None:
    desk, context = SearchDesk(str(index_dir), load(model_dir, device="cpu")), JobContext(report=lambda _: None, emit=lambda _: None)
    answer = desk.search(context, query={"keyword": "emphysema", "k": 3}, scan=None, like=None, filters={})
    (hit,) = answer.hits
    assert (hit.volume, hit.labels, hit.has_thumbnail) == ("case_7.nii.gz", ["Emphysema"], True)
    assert desk.thumbnail(context, number=hit.number).startswith(b"\x89PNG")
    like = desk.search(context, query={"k": 3, "leave_out": frozenset({"scan"})}, scan=None, like=hit.number, filters={})
    assert hit.number not in [other.number for other in like.hits]
    for call in (desk.thumbnail, desk.delete):
        with pytest.raises(UnknownId):
            call(context, number=10**6)
