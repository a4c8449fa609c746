"""Answers from a detector and a real index through the command: reports that would be obeyed stay data, and no other one is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.injections import ASKED, INJECTIONS, MARKS
from tests.language_server import LanguageServer
from thoracle.cohort.reports import Report
from thoracle.inference.model import load
from thoracle.search.open_index import open_index_for_writing
from thoracle.search.record import IndexedVolume, LatentArray, Record


@pytest.fixture
def index(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """52 scans of as many patients, each with a report that would be obeyed, but the last."""
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    model = load(model_dir)
    latents = np.random.default_rng(0).standard_normal((len(INJECTIONS) + 1, model.dim_latent)).astype(np.float32)
    latents /= np.linalg.norm(latents, axis=1, keepdims=True)
    settings = {**model.settings(), "dim_latent": model.dim_latent, "key": None}
    with open_index_for_writing(str(tmp_path / "index"), settings) as opened:
        opened.add([_case(k, text, latent) for k, (text, latent) in enumerate(zip([*INJECTIONS, "Clear."], latents, strict=True))])
    return tmp_path / "index"


def _report(k: int, text: str) -> Report:
    return Report(findings=f"Report-{k}: {text}")


def _case(k: int, text: str, latent: LatentArray) -> IndexedVolume:
    record = Record(volume=f"v{k}", scan=f"s{k}", accession=f"acc-{k}", patient=f"pat-{k}", report=_report(k, text))
    return IndexedVolume(record=record, latent_L=latent)


def ask(command: Callable[..., Any], server: LanguageServer, scan: Path, model: Path, index: Path, *more: object) -> tuple[Any, Any]:
    ran = command(
        "chat", scan, "--detector", model, "--index", index, "--llm-url", server.address, "--ask", "Is there an effusion?", *more
    )  # fmt: skip
    assert ran.status == 0, ran.err
    return ran, server.asked[-1]


def test_fifty_reports_that_would_be_obeyed_stay_data(
    command: Callable[..., Any], language_server: LanguageServer, sketch: Path, model_dir: Path, index: Path
) -> None:
    language_server.words = ["There is none [C51]. As C1 says [C1, F13]. ", "[C9", "9] Obeyed."]
    ran, body = ask(command, language_server, sketch, model_dir, index, "--num-similar", 50)
    turns = body["messages"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "tool"]
    assert ASKED not in json.dumps(turns[:-1])
    data = json.loads(turns[-1]["content"])
    sent = {case["report"] for case in data["cases"]}
    assert len(sent) == 50
    assert sent <= {_report(k, text).text("both") for k, text in enumerate([*INJECTIONS, "Clear."])}, "whole, and nothing broke out"
    assert {frozenset(case) for case in data["cases"]} == {frozenset({"id", "similarity", "report"})}
    assert all(mark not in turns[-1]["content"] for mark in MARKS[:14])
    assert "C51" not in ran.out
    assert "C99" not in ran.out
    assert "There is none. [no source]" in ran.out
    assert "[C1] case acc-" in ran.out, "whom it rests on is said here, and not there"
    assert "acc-" not in json.dumps(body)
    assert "pat-" not in json.dumps(body)


def test_only_the_most_similar_are_sent_the_most_similar_first(
    command: Callable[..., Any], language_server: LanguageServer, sketch: Path, model_dir: Path, index: Path
) -> None:
    language_server.words = ["Yes [F1]."]
    ran = command("search", index, "--scan", sketch, "--model", model_dir, "--top", 3, "--json", "-")
    expected = [hit["accession"].removeprefix("acc-") for hit in json.loads(ran.out)["hits"]]
    _, body = ask(command, language_server, sketch, model_dir, index, "--num-similar", 3)
    data = json.loads(body["messages"][-1]["content"])
    assert [case["report"].split(":")[0].removeprefix("Report-") for case in data["cases"]] == expected
    assert json.dumps(body).count("Report-") == 3


def test_an_index_that_is_not_there_is_said(command: Callable[..., Any], sketch: Path, model_dir: Path, tmp_path: Path) -> None:
    ran = command(
        "chat", sketch, "--detector", model_dir, "--index", tmp_path / "none", "--llm-url", "http://127.0.0.1:1/v1", "--ask", "Why?"
    )  # fmt: skip
    assert ran.status == 1
    assert "thoracle index COHORT" in ran.err
