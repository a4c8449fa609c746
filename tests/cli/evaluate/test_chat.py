"""`thoracle evaluate chat`: answers with the scan beside those without, what a judge adds, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.chat_training import TrainedChat
from tests.language_server import LanguageServer
from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.vqa.question_file import open_questions
from thoracle.cohort.vqa.vqa_file import write_questions
from thoracle.evaluation.chat.answers import answer_questions, draw_questions
from thoracle.inference.chat.session import Chat, load_chat
from thoracle.inference.llm import openai_client
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.training.chat.run import split_questions

NOTICE = "Research use only. Not a medical device."


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def asked(trained: TrainedChat, tmp_path: Path) -> tuple[Any, ...]:
    """The command, of a few questions and short answers."""
    return (
        *("evaluate", "chat", trained.chat, trained.cohort, "--questions", trained.folder / "vqa.json", "--out", tmp_path / "out"),
        *("--limit", 5, "--reports", 1, "--max-tokens", 4, "--resamples", 20),
    )


def test_answers_are_measured_beside_those_of_a_model_that_does_not_see(
    command, trained: TrainedChat, asked: tuple[Any, ...], tmp_path: Path
) -> None:
    ran = command(*asked)
    assert ran.status == 0, ran.err
    assert "with the scan without the scan" in ran.out
    assert "with the scan minus without the scan" in ran.out
    assert "distinct reports: 1.000" in ran.out, "of one report"
    assert f"Knows only noise. {NOTICE}" in ran.out
    assert "6/6" in ran.err
    document = json.loads((tmp_path / "out" / "chat.json").read_text())
    differences = document["differences"]["with the scan minus without the scan"]
    assert document["with the scan"].keys() == document["without the scan"].keys() == differences.keys()
    for name, figure in differences.items():
        pair = [document[way][name]["value"] for way in ("with the scan", "without the scan")]
        assert None in pair or figure["value"] == pytest.approx(pair[0] - pair[1])
    assert document["answered by"] == {"model": str(trained.chat)}
    assert (document["notice"], document["caution"], document["questions"]) == (NOTICE, "Knows only noise.", 5 + 1)
    answers = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert len(answers) == 5 + 1
    assert sum("report" in answer["question"].lower() for answer in answers) == 1
    written = [path.read_bytes() for path in sorted((tmp_path / "out").iterdir())]
    assert command(*asked).status == 0
    assert [path.read_bytes() for path in sorted((tmp_path / "out").iterdir())] == written, "a second run says the same"


def test_answers_that_are_written_are_those_with_the_scan(command, trained: TrainedChat, asked: tuple[Any, ...], tmp_path: Path) -> None:
    ran = command(*asked)
    assert ran.status == 0, ran.err
    chat, cohort = load_chat(trained.chat), open_cohort(trained.cohort)
    held_out = split_questions(open_questions(trained.folder / "vqa.json"), cohort, held_out="valid").held_out
    questions = draw_questions(held_out, limit=5, reports=1)
    seeing, unseeing = (
        [answered.answer for answered in answer_questions(chat, cohort, questions, sampling=SamplingOptions(max_tokens=4), blind=blind)]
        for blind in (False, True)
    )
    assert seeing != unseeing
    assert [answer["answer"] for answer in json.loads((tmp_path / "out" / "answers.json").read_text())] == seeing


@pytest.mark.parametrize("blind", [True, False])
def test_without_a_scan_the_same_words_are_answered_once(trained: TrainedChat, monkeypatch: pytest.MonkeyPatch, blind: bool) -> None:
    chat, cohort = load_chat(trained.chat), open_cohort(trained.cohort)
    held_out = split_questions(open_questions(trained.folder / "vqa.json"), cohort, held_out="valid").held_out
    questions = draw_questions(held_out, limit=12, reports=0)
    twice = [*questions, *(replace(question, id=f"{question.id} again") for question in questions)]
    asked: list[Any] = []
    generate = Chat.generate

    def counted(*given: Any, **options: Any) -> Any:
        asked.append(tuple(given[1]))
        return generate(*given, **options)

    monkeypatch.setattr(Chat, "generate", counted)
    answered = [one.answer for one in answer_questions(chat, cohort, twice, sampling=SamplingOptions(max_tokens=4), blind=blind)]
    assert answered[:12] == answered[12:]
    assert len(asked) == (len(set(asked)) if blind else 24)
    assert len(set(asked)) <= 12


def test_a_judge_scores_what_is_not_closed_and_is_named(
    command, asked: tuple[Any, ...], language_server: LanguageServer, tmp_path: Path
) -> None:
    language_server.say, language_server.models = lambda _: (200, json.dumps({"score": 7})), ["strict"]
    ran = command(*asked, "--judge-url", language_server.address, "--judge-model", "strict")
    assert ran.status == 0, ran.err
    document = json.loads((tmp_path / "out" / "chat.json").read_text())
    for way in ("with the scan", "without the scan"):
        assert document[way]["judge, 0 to 10"] == {"value": 7.0, "low": 7.0, "high": 7.0}
        assert document[way]["judge, answers scored"]["value"] == document[way]["judge, answers asked"]["value"] > 0
    assert document["judge"] == f"strict at {language_server.address}"
    assert {body["model"] for body in language_server.asked} == {"strict"}


def test_a_judge_that_does_not_answer_ends_in_1_and_leaves_nothing(command, asked: tuple[Any, ...], tmp_path: Path) -> None:
    ran = command(*asked, "--judge-url", "http://127.0.0.1:1/v1")
    assert (ran.status, "does not answer" in ran.err) == (1, True), ran.err
    assert not (tmp_path / "out").exists()


def test_answers_are_written_before_the_judge_is_asked_and_none_is_made_twice(
    command, asked: tuple[Any, ...], language_server: LanguageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_client, "_PAUSE", 0.0)
    language_server.say = lambda _: (401, "")
    ran = command(*asked, "--judge-url", language_server.address)
    assert (ran.status, "answers 401" in ran.err) == (1, True), ran.err
    answers = (tmp_path / "out" / "answers.json").read_bytes()
    assert len(json.loads(answers)) == 5 + 1
    assert not (tmp_path / "out" / "chat.json").exists()
    monkeypatch.setattr(Chat, "generate", lambda *_, **__: pytest.fail("an answer was made twice"))
    language_server.say = lambda _: (200, "I cannot say.")
    ran = command(*asked, "--judge-url", language_server.address)
    assert ran.status == 0, ran.err
    assert (tmp_path / "out" / "answers.json").read_bytes() == answers
    document = json.loads((tmp_path / "out" / "chat.json").read_text())["with the scan"]
    assert document["judge, 0 to 10"]["value"] is None, "a judge that never answers is a row"
    assert document["judge, answers scored"]["value"] == 0


def test_what_cannot_be_measured_is_refused(command, trained: TrainedChat, asked: tuple[Any, ...], tmp_path: Path) -> None:
    learned = [asking for asking in open_questions(trained.folder / "vqa.json") if not set(asking.images) & {"v4.nii.gz", "v5.nii.gz"}]
    write_questions(tmp_path / "learned.json", learned)
    for questions, words in (
        (tmp_path / "learned.json", "no question is about a scan of the split valid. Give the cohort's own questions."),
        (tmp_path / "none.json", "none.json: no such file"),
    ):
        ran = command(*asked, "--questions", questions)
        assert (ran.status, words in ran.err) == (2, True), ran.err
    assert not (tmp_path / "out").exists()
    ran = command(*asked[:2], trained.encoder, *asked[3:])
    assert (ran.status, "is no chat folder" in ran.err) == (1, True), ran.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["questions.json"], "which hangs on no model"


def test_a_published_file_gives_figures_of_every_type_and_no_report_where_none_is_asked(
    command, trained: TrainedChat, asked: tuple[Any, ...], tmp_path: Path
) -> None:
    """As CT-CHAT's authors published theirs: types and no topics, questions about no scan, volumes that the cohort has not."""

    def entry(kind: str, tag: str, answer: str, *images: str) -> dict[str, object]:
        turns = [{"from": "human", "value": f"<image>\nWhat of it? <{tag}>", "type": kind}, {"from": "gpt", "value": answer}]
        return {"id": f"{kind} {images}", **({"image": images[0]} if images else {}), "conversations": turns}

    entries = [
        entry(kind, tag, answer, volume)
        for kind, tag, answer in (
            ("free_response", "long_answer", "There is a nodule in the lung."),
            ("short_answer", "short_answer", "A nodule."),
            ("multiple_choice", "multiple_choice", "(b) a nodule"),
            ("report_generation", "report_generation", "Lung nodule is seen. No pleural effusion."),
        )
        for volume in ("v4.nii.gz", "v5.nii.gz", "v99.nii.gz")
    ]
    (tmp_path / "published.json").write_text(json.dumps([*entries, entry("free_response", "long_answer", "A wide airway.")]))
    command_line = (*asked, "--questions", tmp_path / "published.json", "--limit", 50, "--reports", 50)
    ran = command(*command_line)
    assert ran.status == 0, ran.err
    assert "4 of 13 questions are left out: they are about volumes that the cohort has not" in ran.err
    document = json.loads((tmp_path / "out" / "chat.json").read_text())
    assert document["questions"] == 9
    figures = document["with the scan"]
    for name in ("choice accuracy", "clinical F1", "CRG", "report BLEU-1", "long answer BLEU-1", "short answer BLEU-1"):
        assert name in figures, sorted(figures)
    answers = {answer["id"]: answer["answer"] for answer in json.loads((tmp_path / "out" / "answers.json").read_text())}
    assert "free_response ()" in answers
    journal = (tmp_path / "out" / "answers.jsonl").read_text().splitlines()
    assert len(journal) == 2 * 9 - 1, "what is about no scan is answered once"
    ran = command(*command_line[:-2], "--reports", 0)
    assert ran.status == 0, ran.err
    figures = json.loads((tmp_path / "out" / "chat.json").read_text())["with the scan"]
    assert not [name for name in figures if name.startswith(("report", "clinical", "CRG"))]


def test_the_language_model_is_computed_in_the_numbers_that_are_asked_for(
    command, trained: TrainedChat, asked: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.dtype] = []
    generate = Chat.generate

    def noted(self: Chat, *arguments: Any, **options: Any) -> Any:
        seen.append(self._language.model.get_input_embeddings().weight.dtype)
        return generate(self, *arguments, **options)

    monkeypatch.setattr(Chat, "generate", noted)
    for arguments, dtype in (((), torch.float32), (("--dtype", "bf16"), torch.bfloat16)):
        ran = command("chat", trained.scan, "--model", trained.chat, "--ask", "Is lung nodule present?", "--max-tokens", 2, *arguments)
        assert ran.status == 0, ran.err
        assert seen.pop() == dtype
    ran = command(*asked[:-2], "--limit", 1, "--reports", 0, "--resamples", 5, "--dtype", "bf16")
    assert ran.status == 0, ran.err
    assert set(seen) == {torch.bfloat16}


def _without_model(asked: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*asked[:2], *asked[3:])


def test_anybodys_answers_are_scored_and_stand_beside_a_models(
    command, trained: TrainedChat, asked: tuple[Any, ...], tmp_path: Path
) -> None:
    """Who answers by the references is right in everything; the model, of noise, is below it."""
    nobody = _without_model(asked)
    ran = command(*nobody)
    assert (ran.status, "6 questions to be answered" in ran.err) == (0, True), ran.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["questions.json"]
    questions = json.loads((tmp_path / "out" / "questions.json").read_text())
    references = {one.id: one.pairs[-1].answer for one in open_questions(trained.folder / "vqa.json")}
    assert {name for question in questions for name in question} == {"id", "images", "earlier", "question", "task"}, "and no answer"
    answers = [{"id": question["id"], "answer": references[question["id"]]} for question in questions]
    (tmp_path / "answers.json").write_text(json.dumps([*answers, {"id": "of another file", "answer": "Yes."}]))
    ran = command(*nobody, "--answers", tmp_path / "answers.json")
    assert ran.status == 0, ran.err
    assert 'answers 1 questions that are not asked here, and not scored: "of another file".' in ran.err
    document = json.loads((tmp_path / "out" / "chat.json").read_text())
    assert document["differences"] == {}
    assert {value["value"] for name, value in document["of the file"].items() if name.endswith(("accuracy", "BLEU-1"))} == {1.0}
    ran = command(*asked, "--answers", tmp_path / "answers.json")
    assert ran.status == 0, ran.err
    document = json.loads((tmp_path / "out" / "chat.json").read_text())
    below = document["differences"]["with the scan minus of the file"]
    assert below["report BLEU-1"]["value"] == pytest.approx(document["with the scan"]["report BLEU-1"]["value"] - 1)
    own = json.loads((tmp_path / "out" / "answers.json").read_text())
    ran = command(*nobody, "--answers", tmp_path / "out" / "answers.json")
    assert ran.status == 0, "what the command writes is what it reads"
    assert json.loads((tmp_path / "out" / "answers.json").read_text()) == own
    (tmp_path / "few.json").write_text(json.dumps(answers[1:]))
    ran = command(*nobody, "--answers", tmp_path / "few.json", "--out", tmp_path / "new")
    assert (ran.status, f'answers 5 of 6 questions, not "{answers[0]["id"]}"' in ran.err) == (2, True), ran.err
    assert json.loads((tmp_path / "new" / "questions.json").read_text()) == questions, "they are there to be answered"


def test_a_file_of_answers_is_not_written_over(command, asked: tuple[Any, ...], tmp_path: Path) -> None:
    nobody = _without_model(asked)
    assert command(*nobody).status == 0
    path = tmp_path / "out" / "answers.json"
    questions = json.loads((tmp_path / "out" / "questions.json").read_text())
    path.write_text(json.dumps([{"id": name, "answer": "Yes."} for name in (*(question["id"] for question in questions), "later")]))
    before = path.read_bytes()
    ran = command(*asked, "--answers", path)
    assert (ran.status, "the answers of whom is asked would replace this file" in ran.err) == (2, True), ran.err
    ran = command(*nobody, "--answers", path)
    assert (ran.status, path.read_bytes()) == (0, before), "it also answers what is not asked here"


def test_another_assistant_is_shown_slices_and_which_is_said(
    command, asked: tuple[Any, ...], language_server: LanguageServer, tmp_path: Path
) -> None:
    language_server.say = lambda body: (200, "Yes." if isinstance(body["messages"][0]["content"], list) else "No.")
    command_line = (*_without_model(asked), "--llm-url", language_server.address, "--slices", 3)
    ran = command(*command_line)
    assert ran.status == 0, ran.err
    document = json.loads((tmp_path / "out" / "chat.json").read_text())
    assert document["answered by"]["assistant"] == f"m at {language_server.address}"
    shown = document["answered by"]["shown"]
    assert len(shown["axial planes, from head to feet"]) == 3
    assert set(shown["windows, HU"]) == {"lung", "mediastinum"}
    pictures = [sum(part["type"] == "image_url" for part in body["messages"][0]["content"]) for body in language_server.asked[:6]]
    assert all(count in (3, 6) for count in pictures), "three of each scan"
    assert all(isinstance(body["messages"][0]["content"], str) for body in language_server.asked[6:])
    assert {answer["answer"] for answer in json.loads((tmp_path / "out" / "answers.json").read_text())} == {"Yes."}
    count = len(language_server.asked)
    assert command(*command_line).status == 0
    assert len(language_server.asked) == count == 2 * 6, "no question is asked twice"


def test_an_assistant_that_takes_no_pictures_or_a_second_one_that_is_asked_is_refused(
    command, asked: tuple[Any, ...], language_server: LanguageServer, tmp_path: Path
) -> None:
    language_server.say = lambda body: (400 if isinstance(body["messages"][0]["content"], list) else 200, "No.")
    language_server.refusal = b'{"error": {"message": "m is not a multimodal model"}}'
    ran = command(*_without_model(asked), "--llm-url", language_server.address)
    assert (ran.status, "gave no answer to 6 of 6 questions" in ran.err) == (1, True), ran.err
    assert "answers 400 Bad Request: m is not a multimodal model" in ran.err
    assert not (tmp_path / "out" / "chat.json").exists()
    ran = command(*asked, "--llm-url", language_server.address)
    assert (ran.status, "a chat folder and --llm-url are two that are asked" in ran.err) == (2, True), ran.err


def test_only_the_volumes_of_a_list_are_asked_about(command, trained: TrainedChat, asked: tuple[Any, ...], tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("VolumeName\nv5.nii.gz\n")
    ran = command(*_without_model(asked), "--only", tmp_path / "list.csv")
    assert ran.status == 0, ran.err
    questions = json.loads((tmp_path / "out" / "questions.json").read_text())
    assert {name for question in questions for name in question["images"]} == {"v5.nii.gz"}


def test_only_topics_that_are_named_are_asked_and_those_that_nobody_asks_for_are_said(
    command, asked: tuple[Any, ...], tmp_path: Path
) -> None:
    nobody = _without_model(asked)
    ran = command(*nobody, "--topic", "region", "--topic", "shape", "--reports", 0)
    assert (ran.status, "No question that was drawn asks for shape." in ran.err) == (0, True), ran.err
    questions = json.loads((tmp_path / "out" / "questions.json").read_text())
    assert len(questions) == 5
    assert all(question["task"] == "long_answer" for question in questions)
    ran = command(*nobody, "--topic", "shape")
    assert (ran.status, "no question asks for shape. Give topics of the question file." in ran.err) == (2, True), ran.err
