"""Grounded answers: text of reports is data and nothing else, and only what was given can be cited."""

from __future__ import annotations

import json

import pytest

from tests.injections import ASKED, INJECTIONS, MARKS, ORDERS
from tests.language_server import LanguageServer
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.inference.chat.citations import NO_CITATION
from thoracle.inference.chat.grounded import SimilarCase, answer, build_messages, cited_sources, collect_evidence
from thoracle.inference.findings import Findings
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.openai_client import OpenAIClient
from thoracle.models.chat.layout import BEGIN_DATA, END_DATA, SERVER_LAYOUTS, EvidencePlacement, to_turns
from thoracle.models.chat.prompt import IMAGE

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


@pytest.mark.parametrize("placement", ["user", "tool"])
@pytest.mark.parametrize("injection", INJECTIONS)
def test_no_report_leaves_its_line(injection: str, placement: EvidencePlacement) -> None:
    assert len(INJECTIONS) >= 50
    cases = [SimilarCase(name="p7", similarity=0.9, report=injection), SimilarCase(name="p8", similarity=0.8, report="Clear.")]
    messages = build_messages("Is there an effusion?", collect_evidence(FINDINGS, cases))
    assert [message.role for message in messages] == ["system", "user", "tool"]
    turns = to_turns(messages, SERVER_LAYOUTS[placement])
    lines = turns[-1]["content"].split("\n")
    if placement == "user":
        assert len(turns) == 1
        assert lines[lines.index(END_DATA) + 1 :] == ["", "Is there an effusion?"]
        lines = lines[lines.index(BEGIN_DATA) + 1 : lines.index(END_DATA)]
    assert [line.split(":")[0] for line in lines] == ["F1", "F2", "C1", "C2"]
    assert json.loads(f'"{lines[2].split("report: ", 1)[1]}"') == injection, "nothing was lost, and nothing broke out"
    assert json.dumps(turns).count(ASKED) == injection.count(ASKED)
    assert all(mark not in lines[2] for mark in MARKS[:15])


@pytest.mark.parametrize("injection", INJECTIONS)
def test_an_earlier_answer_that_quotes_a_report_is_data_too(injection: str) -> None:
    before = [("What says C1?", f"It says: {injection} [F1]")]
    turns = build_messages("And <image> now? <im<image>age>", collect_evidence(FINDINGS), before=before)
    assert [turn.role for turn in turns] == ["system", "user", "tool", "assistant", "user"]
    assert all(mark not in turns[3].content for mark in MARKS[:14])
    assert turns[3].content.endswith(" [F1]"), "as the model is to cite"
    assert all(IMAGE not in turn.content for turn in turns)
    assert turns[4].content == "And  now?", "the evidence is not sent twice"


@pytest.mark.parametrize("order", ORDERS)
def test_a_model_that_obeys_cannot_cite_what_was_not_given(order: str, language_server: LanguageServer) -> None:
    evidence = collect_evidence(FINDINGS, [SimilarCase(name="p7", similarity=0.9, report=f"{ASKED} {order}")])
    language_server.words = ["There is no effusion [C9", "]. The heart is large [F7, F1]. As F9 says. ", "Other: [x](http://evil) [C1]."]
    text = "".join(answer(OpenAIClient(language_server.address, model="m").generate, "Effusion?", evidence, sampling=SamplingOptions()))
    assert "C9" not in text
    assert "F7" not in text
    assert "F9" not in text
    assert "evil" not in text
    assert f"no effusion. {NO_CITATION}" in text
    assert "large [F1]." in text
    assert set(cited_sources(text, evidence)) == {"F1", "C1"}
    assert text.endswith("Research use only. Not a medical device.")


def test_only_the_given_cases_are_sent_in_plain_turns_of_the_user(language_server: LanguageServer) -> None:
    archive = [SimilarCase(name=f"p{k}", similarity=1 - k / 100, report=f"secret-{k}.") for k in range(100)]
    language_server.words = ["Yes [F1]."]
    evidence = collect_evidence(FINDINGS, archive[:3])
    asked = OpenAIClient(language_server.address, model="m").generate
    assert "".join(answer(asked, "Effusion?", evidence, before=[("Hello?", "Yes.")], sampling=SamplingOptions(stop=("END",)))).startswith(
        "Yes [F1]."
    )
    (body,) = language_server.asked
    sent = json.dumps(body)
    assert [k for k in range(100) if f"secret-{k}." in sent] == [0, 1, 2]
    assert "p0" not in sent, "names of cases stay here"
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert "secret" not in json.dumps(body["messages"][1:])
    assert (body["stop"], body["temperature"], body["stream"]) == (["END"], 0.0, True)


def test_what_was_sent_before_is_the_beginning_of_what_is_sent_next(language_server: LanguageServer) -> None:
    evidence, client = collect_evidence(FINDINGS), OpenAIClient(language_server.address, model="m")
    language_server.words = ["Yes [F1]."]
    before: list[tuple[str, str]] = []
    for question in ("Effusion?", "Sure?", "Why?"):
        list(answer(client.generate, question, evidence, before=before, sampling=SamplingOptions()))
        before.append((question, "Yes [F1]."))
    sent = [body["messages"] for body in language_server.asked]
    assert sent[1][:1] == sent[0]
    assert sent[2][:3] == sent[1]
