"""The document of a search's hits."""

from __future__ import annotations

import json

from thoracle.search.answers.answer_json import SCHEMA, answer_json
from thoracle.search.engine import Engine, Query
from thoracle.search.local.index import LocalIndex
from thoracle.search.record import Filters
from thoracle.types import ABNORMALITIES, RESEARCH_USE


def test_hits_keep_their_order_and_say_whose_they_are(index: LocalIndex) -> None:
    filters = Filters(sex="F", age_from=20)
    answer = Engine(index).search(Query(keyword="nodule", filters=filters, k=3))
    document = json.loads(json.dumps(answer_json(answer, filters=filters, trained=False)))
    assert (document["schema"], document["notice"], document["trained"]) == (SCHEMA, RESEARCH_USE, False)
    assert (document["filters"]["sex"], document["filters"]["age_from"], document["filters"]["age_to"]) == ("F", 20, None)
    assert set(document["seconds"]) == {"encoding", "searching"}
    assert [hit["rank"] for hit in document["hits"]] == [1, 2, 3]
    for hit, written in zip(answer.hits, document["hits"], strict=True):
        number = int(hit.record.volume[1:])
        assert (written["accession"], written["scan"], written["patient"]) == (f"a{number}", f"s{number}", f"p{number // 2}")
        assert (written["age"], written["sex"], written["labels"]) == (20 + number % 60, "F", [ABNORMALITIES[number % 18]])
        assert (written["score"], written["ranks"], written["sentence"]) == (hit.score, dict(hit.ranks), hit.sentence)
