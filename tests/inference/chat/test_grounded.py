"""Grounded answers: text of reports is data and nothing else, and only what was given can be cited."""

from __future__ import annotations

import json

import pytest

from tests.injections import ASKED, INJECTIONS, MARKS, ORDERS
from tests.language_server import LanguageServer
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.inference.chat.grounded import (
    NO_CITATION,
    SimilarCase,
    answer,
    build_messages,
    cited_sources,
    collect_evidence,
    filter_citations,
)
from thoracle.inference.findings import Findings
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.openai_client import OpenAIClient

FINDINGS = Findings(
    abnormalities=("Pleural effusion", "Emphysema"),
    probabilities=(0.91, 0.08),
    model_kind="ct-clip",
    model_sha256="0" * 64,
    trained=True,
    precision="float32",
    preprocess=PreprocessConfig(),
    provenance=None,
    verdicts=("present", "absent"),
    coverage=0.9,
)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_no_report_leaves_its_data_field(injection: str) -> None:
    assert len(INJECTIONS) >= 50
    cases = [SimilarCase(name="p7", similarity=0.9, report=injection), SimilarCase(name="p8", similarity=0.8, report="Clear.")]
    turns = build_messages("Is there an effusion?", collect_evidence(FINDINGS, cases))
    assert [turn.role for turn in turns] == ["system", "user", "tool"]
    assert all(ASKED not in turn.content for turn in turns if turn.role != "tool")
    data = json.loads(turns[-1].content)
    assert data["cases"][0]["report"] == injection, "nothing was lost, and nothing broke out"
    assert set(data) == {"findings", "cases"}
    assert {frozenset(case) for case in data["cases"]} == {frozenset({"id", "similarity", "report"})}
    assert all(mark not in turns[-1].content for mark in MARKS[:14])


@pytest.mark.parametrize("order", ORDERS)
def test_a_model_that_obeys_cannot_cite_what_was_not_given(order: str, language_server: LanguageServer) -> None:
    evidence = collect_evidence(FINDINGS, [SimilarCase(name="p7", similarity=0.9, report=f"{ASKED} {order}")])
    language_server.words = ["There is no effusion [C9", "]. The heart is large [F7, F1]. As F9 says. ", "Other: [x](http://evil) [C1]."]
    text = "".join(answer(OpenAIClient(language_server.address, model="m").generate, "Effusion?", evidence, sampling=SamplingOptions()))
    assert "C9" not in text
    assert "F7" not in text
    assert "F9" not in text
    assert f"no effusion. {NO_CITATION}" in text
    assert "large [F1]." in text
    assert set(cited_sources(text, evidence)) == {"F1", "C1"}
    assert text.endswith("Research use only. Not a medical device.")


def test_only_the_given_cases_are_sent_and_data_is_a_tools_result(language_server: LanguageServer) -> None:
    archive = [SimilarCase(name=f"p{k}", similarity=1 - k / 100, report=f"secret-{k}") for k in range(100)]
    language_server.words = ["Yes [F1]."]
    evidence = collect_evidence(FINDINGS, archive[:3])
    asked = OpenAIClient(language_server.address, model="m").generate
    assert "".join(answer(asked, "Effusion?", evidence, before=[("Hello?", "Yes.")], sampling=SamplingOptions(stop=("END",)))).startswith(
        "Yes [F1]."
    )
    (body,) = language_server.asked
    sent = json.dumps(body)
    assert [k for k in range(100) if f"secret-{k}\\" in sent or f'secret-{k}"' in sent] == [0, 1, 2]
    assert "p0" not in sent, "names of cases stay here"
    assert [turn["role"] for turn in body["messages"]] == ["system", "user", "assistant", "user", "assistant", "tool"]
    assert "secret" not in json.dumps(body["messages"][:-1])
    assert (body["stop"], body["temperature"], body["stream"]) == (["END"], 0.0, True)


def test_sentences_come_as_they_are_whole() -> None:
    evidence = collect_evidence(FINDINGS)
    assert list(filter_citations(iter(["One [F1]. Tw", "o [F2]", ". Three."]), evidence)) == [
        "One [F1].",
        " Two [F2].",
        f" Three. {NO_CITATION}",
    ]
