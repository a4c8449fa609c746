"""Cases are found by the engine of the command line, under ids that are nobody's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.serving.conftest import Asked
from thoracle.types import ABNORMALITIES


def hits(asked: Asked, **query: Any) -> list[dict[str, Any]]:
    answer = asked.client.post("/search", json=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["hits"]
    return found


def test_keywords_words_a_report_a_scan_and_a_case_find_cases(asked: Asked, scan: str) -> None:
    by_keyword = hits(asked, keyword="emphysema")
    assert [hit["labels"] for hit in by_keyword] == [["Emphysema"]]
    assert by_keyword[0]["sentence"] == "Emphysema is present."
    for query in ({"text": "emphysema"}, {"report": "Emphysema is present."}, {"scan": scan}, {"hit": by_keyword[0]["hit"]}):
        found = hits(asked, **query, top=5)
        assert len(found) == 5
        assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
    fused = hits(asked, text="emphysema", keyword="emphysema", top=12)
    assert fused[0]["hit"] == by_keyword[0]["hit"]


def test_filters_hold_of_every_case(asked: Asked) -> None:
    assert [hit["labels"] for hit in hits(asked, text="x", filters={"labels": ["Emphysema"]})] == [["Emphysema"]]
    assert len(hits(asked, text="x", filters={"without_labels": ["Emphysema"]}, top=50)) == 11
    assert hits(asked, text="x", filters={"age_min": 40}) == []


def test_cases_have_pictures_and_nobody_s_name(asked: Asked) -> None:
    answer = asked.client.post("/search", json={"text": "x", "top": 12})
    assert "case_" not in answer.text
    assert "patient_" not in answer.text
    address = answer.json()["hits"][0]["thumbnail"]
    assert asked.client.get(f"http://server{address}").content.startswith(b"\x89PNG")


def test_a_case_whose_file_is_at_hand_opens(asked: Asked) -> None:
    by_name = {hit["labels"][0]: hit for hit in hits(asked, text="x", top=12)}
    assert [name for name, hit in by_name.items() if hit["scan_available"]] == [ABNORMALITIES[0]]
    opened = asked.client.post(f"/hits/{by_name[ABNORMALITIES[0]]['hit']}/open")
    asked.done(opened)
    assert asked.client.get(f"/scans/{opened.json()['scan']}").json()["shape"] == [128, 112, 88]
    refused = asked.client.post(f"/hits/{by_name['Emphysema']['hit']}/open")
    assert (refused.status_code, refused.json()["error"]["hint"].split(" --")[0]) == (422, "Start the server with")


@pytest.mark.parametrize(
    ("query", "status"),
    [({}, 422), ({"text": " "}, 422), ({"keyword": "("}, 422), ({"text": "x", "top": 0}, 422), ({"text": "x", "top": 2000}, 422),
     ({"text": "x", "filters": {"sex": "?"}}, 422), ({"text": "x", "filters": {"labels": ["Broken leg"]}}, 422),
     ({"text": "x", "exclude": ["patient"]}, 422), ({"scan": "nobody"}, 404), ({"hit": "nobody"}, 404)],
)  # fmt: skip
def test_what_makes_no_query_is_refused(query: dict[str, Any], status: int, asked: Asked) -> None:
    assert asked.client.post("/search", json=query).status_code == status


def test_a_case_that_is_none_has_no_picture(asked: Asked) -> None:
    assert asked.client.get("/hits/nobody/thumbnail.png").status_code == 404
    assert asked.client.post("/hits/nobody/open").status_code == 404


def test_the_index_grows_by_an_open_scan_under_a_random_name_and_loses_it_again(asked: Asked, scan: str) -> None:
    added = asked.client.post("/index/scans", json={"scan": scan, "report": "A rare zebra."})
    assert (added.status_code, added.json()) == (201, {"records": 13})
    assert asked.client.get("/status").json()["index"]["records"] == 13
    (found,) = hits(asked, keyword="zebra")
    assert hits(asked, scan=scan, top=1)[0]["hit"] == found["hit"]
    assert found["thumbnail"] is not None
    assert asked.client.delete(f"/index/records/{found['hit']}").json() == {"records": 12}
    assert hits(asked, keyword="zebra") == []
    assert asked.client.delete(f"/index/records/{found['hit']}").status_code == 404


def test_a_read_only_index_stays_as_it_is(asked: Asked, scan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = replace(asked.server.settings, models=replace(asked.server.settings.models, read_only_index=True))
    (found,) = hits(asked, keyword="emphysema")
    monkeypatch.setattr(asked.server, "settings", closed)
    for answer in (asked.client.post("/index/scans", json={"scan": scan}), asked.client.delete(f"/index/records/{found['hit']}")):
        assert (answer.status_code, answer.json()["error"]["kind"]) == (403, "AccessDenied")
    assert len(hits(asked, keyword="emphysema")) == 1


def test_without_an_index_search_says_how_to_get_one(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked.server.facts is not None
    monkeypatch.setattr(asked.server, "facts", replace(asked.server.facts, index=None))
    refused = asked.client.post("/search", json={"text": "x"})
    assert (refused.status_code, refused.json()["error"]["kind"]) == (409, "IndexMissing")
