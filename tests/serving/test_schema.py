"""Whatever the API's own description allows, and much that it does not, gets an answer of the forms that it promises, and none of 5xx."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.language_server import LanguageServer
from tests.serving.conftest import API, Asked
from thoracle.serving.app import api

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SCHEMA = schemathesis.openapi.from_dict(api().openapi())
OPERATIONS = {operation.ok().label: operation.ok() for operation in SCHEMA.get_all_operations()}
#: Of these there is one request alone, and no more are generated.
TAKES_NOTHING = ("GET /healthz", "GET /readyz", "GET /metrics")
BINARY = {"Content-Type": "application/octet-stream"}


class Material:
    """What is at hand for requests that make sense: a scan that was read and mapped, its job, a case; others for requests that delete."""

    def __init__(self, asked: Asked, scan: str) -> None:
        self.asked, self.scan = asked, scan
        asked.done(asked.client.post(f"/scans/{scan}/findings"))
        made = asked.client.post(f"/scans/{scan}/maps", json={"finding": "Emphysema"})
        asked.done(made)
        self.job = made.json()["job"]
        hits = asked.client.post("/search", json={"keyword": "present", "top": 12}).json()["hits"]
        self.hit = next(hit["hit"] for hit in hits if hit["scan_available"])

    def path(self, label: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Put ids that exist in place of others."""
        ids: dict[str, Callable[[], str]] = {"scan": lambda: self.scan, "job": self.known_job, "hit": lambda: self.hit}
        if label == f"DELETE {API}/scans/{{scan}}":
            ids["scan"] = lambda: self.asked.client.post("/scans", content=b"x", headers=BINARY).json()["scan"]
        if label == f"DELETE {API}/index/records/{{hit}}":
            ids["hit"] = self.another_case
        fixed = {"finding": "Emphysema", "axis": "axial", "k": 40}
        return {name: ids[name]() if name in ids else fixed.get(name, value) for name, value in parameters.items()}

    def body(self, label: str, body: Any) -> Any:
        """Put values that make sense into a body."""
        sense: dict[str, dict[str, Any]] = {
            f"POST {API}/scans/{{scan}}/maps": {"finding": "Emphysema", "method": "gradient"},
            f"PUT {API}/scans/{{scan}}/verdicts/{{finding}}": {"verdict": "agree"},
            f"POST {API}/search": {"text": "effusion", "scan": None, "hit": None, "keyword": "", "filters": {}, "exclude": [], "top": 3},
            f"POST {API}/chat": {"scan": self.scan, "question": "Is it there?", "task": "long_answer"},
            f"POST {API}/index/scans": {"scan": self.scan},
        }
        return {**body, **sense[label]} if label in sense and isinstance(body, dict) else sense.get(label, body)

    def known_job(self) -> str:
        """Return a job that the server has not forgotten for newer ones."""
        if self.asked.client.get(f"/jobs/{self.job}").status_code == 404:
            self.job = self.asked.client.post(f"/scans/{self.scan}/findings").json()["job"]
        return self.job

    def another_case(self) -> str:
        self.asked.client.post("/index/scans", json={"scan": self.scan, "report": "A rare zebra."})
        return str(self.asked.client.post("/search", json={"keyword": "zebra"}).json()["hits"][0]["hit"])

    def clear(self, label: str, answer: httpx.Response) -> None:
        """Undo what a request did, so that limits are not reached."""
        if label.startswith("POST") and answer.status_code == 202:
            accepted = answer.json()
            self.asked.client.delete(f"/jobs/{accepted['job']}")
            if "scan" in accepted:
                self.asked.client.delete(f"/scans/{accepted['scan']}")
        if answer.status_code == 201:
            for hit in self.asked.client.post("/search", json={"scan": self.scan, "exclude": [], "top": 3}).json()["hits"]:
                if not hit["labels"]:
                    self.asked.client.delete(f"/index/records/{hit['hit']}")


def fuzz(label: str, material: Material, *, cases: int) -> Counter[int]:
    """Send generated cases of one operation, most of them with what is at hand; return how often each status came."""
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=cases, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(case=OPERATIONS[label].as_strategy(), sensible=st.sampled_from((True, True, False)))
    def run(case: schemathesis.Case, sensible: bool) -> None:
        if sensible:
            case.path_parameters = material.path(label, dict(case.path_parameters))
            case.body, case.query = material.body(label, case.body), {}
        options = case.as_transport_kwargs(base_url="http://server")
        request = requests.Request(**{key: value for key, value in options.items() if key not in ("timeout", "cookies")}).prepare()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ("authorization", "user-agent", "host")}
        sent = {**headers, "Authorization": f"Bearer {material.asked.server.settings.token}"}
        answer = material.asked.client.request(str(request.method), str(request.url), content=request.body or b"", headers=sent)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
        if answer.status_code not in (404, 405, 413):  # a path that is no path of the operation
            case.validate_response(answer, checks=CHECKS)
        if "json" in answer.headers.get("content-type", "") and answer.is_error:
            assert set(json.loads(answer.text)["error"]) == {"kind", "message", "detail", "hint"}
        material.clear(label, answer)

    run()
    return statuses


@pytest.fixture(scope="module")
def material(asked: Asked, sketch: Any, words: LanguageServer) -> Material:
    words.words = ["Yes [F1]."]
    return Material(asked, asked.open(sketch.read_bytes()))


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_operation_answers_in_its_forms(label: str, material: Material) -> None:
    statuses = fuzz(label, material, cases=18)
    assert sum(statuses.values()) == 18 or (label in TAKES_NOTHING and set(statuses) == {200})


@pytest.mark.slow
@pytest.mark.parametrize("label", OPERATIONS)
def test_of_ten_thousand_cases_none_is_a_fault_and_each_operation_succeeds_a_hundred_times(label: str, material: Material) -> None:
    statuses = fuzz(label, material, cases=-(-10_000 // len(OPERATIONS)))
    assert sum(count for status, count in statuses.items() if status < 400) >= 100 or (label in TAKES_NOTHING and set(statuses) == {200}), (
        statuses
    )
