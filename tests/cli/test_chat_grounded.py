"""Answers from a detector and a real index through the command: reports that would be obeyed stay data, and no other one is sent."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.injections import ASKED, INJECTIONS, MARKS
from tests.language_server import FAULTS, LanguageServer
from thoracle.cohort.reports import Report
from thoracle.inference.demo.assets import write_scan
from thoracle.inference.llm import openai_client
from thoracle.inference.model import load
from thoracle.models.chat.layout import BEGIN_DATA, END_DATA
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
    (turn,) = body["messages"]
    lines = turn["content"].split("\n")
    cases = lines[lines.index(BEGIN_DATA) + 19 : lines.index(END_DATA)]
    assert ASKED not in "\n".join(line for line in lines if line not in cases)
    sent = {json.loads('"' + line.split("report: ", 1)[1] + '"') for line in cases}
    assert len(sent) == len(cases) == 50
    assert sent <= {_report(k, text).text("both") for k, text in enumerate([*INJECTIONS, "Clear."])}, "whole, and nothing broke out"
    assert [line.split(":")[0] for line in cases] == [f"C{number}" for number in range(1, 51)]
    assert all(mark not in turn["content"] for mark in MARKS[:14])
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
    assert re.findall(r"Report-(\w+)", body["messages"][0]["content"]) == expected
    assert json.dumps(body).count("Report-") == 3


def test_the_evidence_is_the_return_of_a_tool_where_that_is_asked_for(
    command: Callable[..., Any], language_server: LanguageServer, sketch: Path, model_dir: Path, index: Path
) -> None:
    language_server.words = ["Yes [F1]."]
    _, body = ask(command, language_server, sketch, model_dir, index, "--evidence", "tool")
    assert [turn["role"] for turn in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert [line.split(":")[0] for line in body["messages"][-1]["content"].split("\n")][:19] == [*(f"F{k}" for k in range(1, 19)), "C1"]


def test_an_index_that_is_not_there_is_said(
    command: Callable[..., Any], language_server: LanguageServer, sketch: Path, model_dir: Path, tmp_path: Path
) -> None:
    ran = command(
        "chat", sketch, "--detector", model_dir, "--index", tmp_path / "none", "--llm-url", language_server.address, "--ask", "Why?"
    )  # fmt: skip
    assert ran.status == 1
    assert "thoracle index COHORT" in ran.err


@pytest.fixture
def questions(
    command: Callable[..., Any],
    language_server: LanguageServer,
    sketch: Path,
    model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    """The command with a server and a conversation's file; without an index."""
    monkeypatch.setattr(openai_client, "_PAUSE", 0.0)

    def run(*asked: str, more: tuple[object, ...] = ()) -> Any:
        asks = [part for question in asked for part in ("--ask", question)]
        return command(
            "chat", sketch, "--detector", model_dir, "--llm-url", language_server.address, "--conversation",
            tmp_path / "talk.json", *asks, *more,
        )  # fmt: skip

    return run


def turns(tmp_path: Path) -> list[dict[str, str]]:
    return json.loads((tmp_path / "talk.json").read_text())["turns"]


def test_what_is_kept_is_what_the_model_said(questions: Callable[..., Any], language_server: LanguageServer, tmp_path: Path) -> None:
    language_server.thoughts, language_server.words = ["Is it?"], ["\x1b[2JIt is large. ", "Yes [F1].\r"]
    ran = questions("Is it there?", "And now?")
    assert ran.status == 0, ran.err
    assert ran.out.count("It is large. [no source] Yes [F1].") == 2
    assert ran.out.count("Research use only") == 2
    assert "\x1b" not in ran.out
    assert "Is it?" not in ran.out
    assert [turn["answer"] for turn in turns(tmp_path)] == ["\x1b[2JIt is large. Yes [F1]."] * 2
    assert [turn["role"] for turn in language_server.asked[1]["messages"]] == ["user", "assistant", "user"]
    assert language_server.asked[1]["messages"][1]["content"] == "\\u005b2JIt is large. Yes [F1]."


@pytest.mark.parametrize(("fault", "words"), [*FAULTS, ({"raw": b'{"error": "out of \\u001b[31m slots"}'}, "sends out of [31m slots")])
def test_an_answer_that_breaks_off_is_marked_and_not_kept_and_the_next_is_asked(
    fault: dict[str, Any], words: str, questions: Callable[..., Any], language_server: LanguageServer, tmp_path: Path
) -> None:
    language_server.say = lambda _: (200, "There is no")
    for name, value in fault.items():
        setattr(language_server, name, value)
    ran = questions("Is it there?", more=("--timeout", 0.3))
    assert ran.status == 1
    assert "[broken off, not kept: " in ran.out
    assert words in ran.out
    assert words in ran.err
    assert "\x1b" not in ran.out + ran.err
    assert turns(tmp_path) == []


def test_one_answer_that_fails_does_not_end_the_conversation(
    questions: Callable[..., Any], language_server: LanguageServer, tmp_path: Path
) -> None:
    language_server.say = lambda body: (400 if "Too long" in body["messages"][-1]["content"] else 200, "Yes [F1].")
    ran = questions("Too long?", "Is it there?")
    assert ran.status == 1
    assert "Yes [F1]." in ran.out
    assert [turn["question"] for turn in turns(tmp_path)] == ["Is it there?"]
    assert "Too long" not in json.dumps(language_server.asked[-1]), "what has no answer is no turn"


def test_a_wrong_name_is_told_before_a_scan_is_read(
    command: Callable[..., Any], language_server: LanguageServer, model_dir: Path, tmp_path: Path
) -> None:
    language_server.models = ["smollm2", "qwen"]
    for more, words in (((), "has 2 models (smollm2, qwen)"), (("--llm-model", "smolm"), "has no model 'smolm'; it has smollm2, qwen")):
        ran = command(
            "chat", tmp_path / "absent.nii", "--detector", model_dir, "--llm-url", language_server.address, "--ask", "Why?", *more
        )  # fmt: skip
        assert (ran.status, words in ran.err) == (1, True), ran.err


def test_another_scan_does_not_get_this_ones_conversation(
    questions: Callable[..., Any], command: Callable[..., Any], language_server: LanguageServer, model_dir: Path, tmp_path: Path
) -> None:
    language_server.words = ["Yes [F1]."]
    assert questions("Is it there?").status == 0
    before, asked = (tmp_path / "talk.json").read_bytes(), len(language_server.asked)
    image, other = nib.load(write_scan(tmp_path / "same.nii.gz")), tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), other)
    ran = command(
        "chat", other, "--detector", model_dir, "--llm-url", language_server.address, "--conversation",
        tmp_path / "talk.json", "--ask", "And?",
    )  # fmt: skip
    assert (ran.status, "is a conversation about other scans" in ran.err) == (2, True), ran.err
    assert ((tmp_path / "talk.json").read_bytes(), len(language_server.asked)) == (before, asked)


@pytest.mark.slow
def test_ctrl_c_ends_an_answer_and_keeps_the_conversation(
    language_server: LanguageServer, sketch: Path, model_dir: Path, tmp_path: Path
) -> None:
    gone = threading.Event()
    language_server.say = lambda _: (200, "Yes [F1].") if len(language_server.asked) == 1 else (gone.wait(200), (200, ""))[1]
    arguments = (
        sys.executable, "-c", _INTERRUPTED, "chat", sketch, "--detector", model_dir, "--llm-url", language_server.address, "--conversation",
        tmp_path / "talk.json", "--ask", "Is it there?", "--ask", "And now?",
    )  # fmt: skip
    with subprocess.Popen(list(map(str, arguments)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while len(language_server.asked) < 2 and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    gone.set()
    assert process.returncode == 130, err
    assert "Yes [F1]." in out
    assert "[broken off, not kept: interrupted]" in out
    assert [turn["answer"] for turn in turns(tmp_path)] == ["Yes [F1]."]


_INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background inherits that Ctrl-C is ignored
sys.argv = ["thoracle", *sys.argv[1:]]
from thoracle.cli.app import main
main()
"""
