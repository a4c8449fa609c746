"""A real llama.cpp server with a real small model behind every verb that asks one: each ends well, or says why."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.chat_training import TrainedChat

pytestmark = pytest.mark.manual

_PAGE: Final = Path(__file__).parents[2] / "docs" / "develop" / "test-with-a-real-server.md"
#: An answer that a small model gives instead of what was asked for, or that did not end.
_REASON: Final = re.compile(r"is cut off: it reached the limit of [\d,]+ tokens|not of the form that was asked for")
NODULE: Final = "There is a solid nodule of 8 mm in the right upper lobe. No pleural effusion. The heart is of normal size."
CLEAR: Final = "The lungs are clear. No pericardial effusion is seen. Mild emphysema in both upper lobes."

_INTERRUPTIBLE: Final = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background inherits that Ctrl-C is ignored
sys.argv = ["thoracle", *sys.argv[1:]]
from thoracle.cli.app import main
main()
"""


@dataclass(frozen=True, kw_only=True)
class LlamaServer:
    """One that runs; `log` is what it writes."""

    address: str
    log: Path
    process: subprocess.Popen[bytes]

    def words(self) -> int:
        """How many tokens the answers under way have by now."""
        with urllib.request.urlopen(self.address.removesuffix("/v1") + "/slots", timeout=60) as response:
            slots = json.load(response)
        tokens = [token for slot in slots if slot["is_processing"] for token in slot["next_token"]]
        return sum(token["n_decoded"] for token in tokens)

    def wait_for_words(self, asking: subprocess.Popen[str]) -> None:
        """Until an answer is on its way."""
        while self.words() < 5:
            assert asking.poll() is None, "the verb ended before an answer was on its way"
            time.sleep(0.1)


def _file(name: str) -> str:
    path = os.environ.get(name)
    if path is None:
        (commands, *_) = re.findall(r"```sh\n(.*?)```", _PAGE.read_text(), re.DOTALL)
        pytest.skip(f"{name} is not set; what makes it:\n{commands}")
    assert Path(path).is_file(), f"{name} names {path}, which is no file"
    return path


@contextmanager
def _running(folder: Path, *options: str) -> Iterator[LlamaServer]:
    program, weights = _file("THORACLE_LLAMA_SERVER"), _file("THORACLE_GGUF")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "server.log"
    # one thread: two wait for each other in a loop, and are 60 times slower on cores that others use
    arguments = [program, "-m", weights, "--alias", "smollm2", "--host", "127.0.0.1", "--port", str(port), "-np", "4", "-t", "1", *options]
    with log.open("wb") as file:
        process = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT)
    try:
        _wait_until_loaded(process, port, log)
        yield LlamaServer(address=f"http://127.0.0.1:{port}/v1", log=log, process=process)
    finally:
        process.kill()
        process.wait()


def _wait_until_loaded(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60):
                return
        except OSError:  # it is not there yet, or answers 503 while it loads
            time.sleep(0.2)
    pytest.fail(f"the server ended: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """As it comes, with room for four long prompts."""
    with _running(tmp_path_factory.mktemp("llama"), "-c", "16384") as server:
        yield server


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[LlamaServer]:
    """Its model never ends an answer by itself, so that a signal finds it in the middle of one."""
    with _running(tmp_path, "-c", "16384", "--ignore-eos") as server:
        yield server


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[LlamaServer]:
    """One that reads 512 tokens."""
    with _running(tmp_path, "-c", "512", "-np", "1") as server:
        yield server


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))


def _start(*arguments: object) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-c", _INTERRUPTIBLE, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def question(sketch: Path, model_dir: Path, tmp_path: Path) -> tuple[object, ...]:
    """The verb with a scan, a detector and a file of the conversation; the server is still to be named."""
    return (
        *("chat", sketch, "--detector", model_dir, "--conversation", tmp_path / "talk.json", "--timeout", 600),
        *("--ask", "Which findings are present?"),
    )


def _turns(tmp_path: Path) -> list[dict[str, str]]:
    return json.loads((tmp_path / "talk.json").read_text())["turns"]


def test_reports_are_labelled_or_unknown_with_a_reason(command: Callable[..., Any], llama: LlamaServer, tmp_path: Path) -> None:
    texts, out = {"a": NODULE, "b": CLEAR, "c": f"{CLEAR} {NODULE}"}, tmp_path / "out.csv"
    rows = "".join(f'{name},"{text}"\n' for name, text in texts.items())
    (tmp_path / "reports.csv").write_text(f"AccessionNo,report_text\n{rows}")
    asked = (
        *("label", tmp_path / "reports.csv", "--out", out, "--evidence", tmp_path / "why.jsonl", "--backend", "llm"),
        *("--llm-url", llama.address, "--max-tokens", 400, "--timeout", 600),
    )
    ran = command(*asked)
    table = list(csv.reader(out.open()))[1:]
    assert [row[0] for row in table] == list(texts), ran.err
    assert {cell for row in table for cell in row[1:]} <= {"0", "1", ""}
    failed = list(csv.DictReader((tmp_path / "out.unknown.csv").open())) if ran.status else []
    assert ran.status == bool(failed), ran.err
    assert all(_REASON.search(row["reason"]) for row in failed), failed
    answers = (tmp_path / "out.csv.answers.jsonl").read_text() if (tmp_path / "out.csv.answers.jsonl").exists() else ""
    assert len(answers.splitlines()) == len(texts) - len(failed), "what was answered is on the disk, and nothing else"
    for line in (tmp_path / "why.jsonl").read_text().splitlines():
        entry = json.loads(line)
        mentions = [mention for label in (entry["labels"] or {}).values() for mention in label["evidence"]]
        assert all(texts[entry["id"]][mention["start"] : mention["end"]] == mention["sentence"] for mention in mentions)
    print("\nlabel:", [(row[0], Counter(row[1:])) for row in table], [row["reason"] for row in failed])


def test_each_report_has_questions_or_is_named_with_a_reason(
    command: Callable[..., Any], llama: LlamaServer, hospital: Path, tmp_path: Path
) -> None:
    asked = ("vqa", hospital, "--out", tmp_path / "vqa.json", "--llm-url", llama.address, "--max-tokens", 600, "--timeout", 600)
    ran = command(*asked)
    failed = re.findall(r"(PAT\d_\d) has no questions: ", ran.err)
    assert ran.status == bool(failed), ran.err
    assert len(_REASON.findall(ran.err)) >= len(failed)
    journal = tmp_path / "vqa.json.written.jsonl"
    written = [json.loads(line)["answer"] for line in journal.read_text().splitlines()] if journal.exists() else []
    assert len(written) + len(failed) == 8
    entries = json.loads((tmp_path / "vqa.json").read_text())
    assert len(entries) == sum(len(answer["pairs"]) for answer in written)
    dropped = sum(answer["dropped"] for answer in written)
    print(f"\nvqa: {len(failed)} of 8 reports failed, {len(entries)} questions, {dropped} dropped", Counter(_REASON.findall(ran.err)))


def test_a_judge_scores_or_is_counted_as_silent(
    command: Callable[..., Any], llama: LlamaServer, trained: TrainedChat, tmp_path: Path
) -> None:
    ran = command(
        *(
            "evaluate",
            "chat",
            trained.cohort,
            "--model",
            trained.chat,
            "--questions",
            trained.folder / "vqa.json",
            "--out",
            tmp_path / "out",
        ),
        *("--limit", 5, "--reports", 1, "--max-tokens", 4, "--resamples", 20, "--judge-url", llama.address, "--timeout", 600),
    )
    assert ran.status == 0, ran.err
    document = json.loads((tmp_path / "out" / "chat.json").read_text())
    assert document["judge"] == f"smollm2 at {llama.address}"
    for way in ("with the scan", "without the scan"):
        scored, asked, mark = (document[way][f"judge, {name}"]["value"] for name in ("answers scored", "answers asked", "0 to 10"))
        assert 0 <= scored <= asked
        assert asked > 0
        assert 0 <= mark <= 10 if scored else mark is None
        print(f"\njudge, {way}: {scored} of {asked} scored, {mark}")


def test_an_answer_is_whole_and_kept_or_marked(
    command: Callable[..., Any], llama: LlamaServer, question: tuple[object, ...], tmp_path: Path
) -> None:
    ran = command(*question, "--llm-url", llama.address, "--ask", "Is there an effusion?", "--max-tokens", 400)
    turns, marks = _turns(tmp_path), ran.out.count("[broken off, not kept: ")
    assert len(turns) + marks == 2, ran.out
    assert ran.status == (marks > 0), ran.err
    assert len(_REASON.findall(ran.out)) == marks
    assert all(turn["answer"] for turn in turns)
    assert "The server's model is smollm2." in ran.err
    print(f"\nchat: {len(turns)} whole, {marks} marked: {ran.out[:400]}")


def test_an_answer_of_a_server_that_is_killed_is_not_believed(endless: LlamaServer, question: tuple[object, ...], tmp_path: Path) -> None:
    with _start(*question, "--llm-url", endless.address, "--max-tokens", 4000) as asking:
        endless.wait_for_words(asking)
        endless.process.kill()
        out, err = asking.communicate(timeout=600)
    assert asking.returncode == 1, err
    assert "[broken off, not kept: " in out
    assert "EndpointFailed: " in err
    assert _turns(tmp_path) == []
    print(f"\nkilled: {out}{err}")


def test_ctrl_c_ends_the_servers_work(endless: LlamaServer, question: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text("AccessionNo,report_text\n" + "".join(f'r{k},"{NODULE} Number {k}."\n' for k in range(6)))
    label = ("label", tmp_path / "reports.csv", "--out", tmp_path / "out.csv", "--backend", "llm", "--max-tokens", 4000, "--timeout", 600)
    for verb in ((*question, "--max-tokens", 4000), label):
        before = endless.log.read_text(errors="replace").count("cancel task")
        with _start(*verb, "--llm-url", endless.address) as asking:
            endless.wait_for_words(asking)
            asking.send_signal(signal.SIGINT)
            out, err = asking.communicate(timeout=600)
        assert asking.returncode == 130, err
        while endless.words():
            time.sleep(0.1)
        cancelled = endless.log.read_text(errors="replace").count("cancel task") - before
        assert cancelled >= 1
        print(f"\nCtrl-C, {verb[0]}: {cancelled} tasks cancelled; {out}{err[-200:]}")


def test_what_is_wrong_is_said_before_a_scan_is_read(
    command: Callable[..., Any], llama: LlamaServer, model_dir: Path, tmp_path: Path
) -> None:
    absent = ("chat", tmp_path / "absent.nii", "--detector", model_dir, "--ask", "Why?")
    for more, words in (
        (("--llm-url", llama.address, "--llm-model", "smolm"), "has no model 'smolm'; it has smollm2. Give one of them."),
        (("--llm-url", llama.address.removesuffix("/v1") + "/v2"), "does not list its models"),
    ):
        ran = command(*absent, *more)
        assert (ran.status, words in ran.err) == (1, True), ran.err


def test_the_limit_of_words_is_said(
    command: Callable[..., Any], endless: LlamaServer, question: tuple[object, ...], tmp_path: Path
) -> None:
    ran = command(*question, "--llm-url", endless.address, "--max-tokens", 5)
    assert ran.status == 1
    assert "an answer is cut off: it reached the limit of 5 tokens" in ran.err
    assert _turns(tmp_path) == []
    print(f"\nlimit: {ran.out} {ran.err}")


def test_the_servers_reason_is_quoted_where_its_context_is_too_small(
    command: Callable[..., Any], narrow: LlamaServer, question: tuple[object, ...], tmp_path: Path
) -> None:
    ran = command(*question, "--ask", "Is there an effusion? " * 120, "--llm-url", narrow.address)
    assert ran.status == 1
    assert re.search(r"answers 400 .*exceeds the available context size \(512 tokens\)", ran.err), ran.err
    assert not any("effusion" in turn["question"] for turn in _turns(tmp_path))
    print(f"\ncontext: {ran.err}")
