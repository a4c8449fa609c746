"""Commands beside the demo: in turn, each with its words in a file; a failure ends the demo, and a failing demo leaves none behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import typer

from thoracle.cli.demo.beside import commands_beside
from thoracle.errors import InputError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in place of ours, whose command appends its words to a file, fails when it is told to, and else may take its time."""
    folder = tmp_path / "package"
    (folder / "thoracle").mkdir(parents=True)
    (folder / "thoracle" / "__init__.py").touch()
    (folder / "thoracle" / "__main__.py").write_text(
        "import os, sys, time\n"
        "print(*sys.argv[1:], os.environ['OMP_NUM_THREADS'], flush=True)\n"
        "open('said.txt', 'a').write(sys.argv[1] + '\\n')\n"
        "time.sleep(600 if sys.argv[1] == 'sleep' else 0)\n"
        "sys.exit(3 if sys.argv[1] == 'fail' else 0)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.chdir(folder)
    return folder


def test_commands_run_in_turn_on_half_of_the_cores_with_their_words_in_files(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    with commands_beside(tmp_path / "demo") as beside:
        assert torch.get_num_threads() == max(1, threads - max(1, threads // 2))
        beside.run("train one", ["one", "--out", "x"])
        beside.run("train two", ["two"])
        beside.wait()
    assert torch.get_num_threads() == threads
    assert (package / "said.txt").read_text() == "one\ntwo\n"
    assert (tmp_path / "demo" / "logs" / "train-one.txt").read_text() == f"one --out x {max(1, threads // 2)}\n"
    out = capsys.readouterr().out
    assert "$ thoracle one --out x\n" in out
    assert str(tmp_path / "demo" / "logs" / "train-two.txt") in out


def test_one_that_fails_is_the_last_and_its_words_and_status_are_the_demos(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with commands_beside(tmp_path / "demo") as beside:
        beside.run("one", ["fail", "because"])
        beside.run("two", ["two"])
        with pytest.raises(typer.Exit) as ended:
            beside.wait()
    assert ended.value.exit_code == 3
    assert capsys.readouterr().err.startswith("fail because")
    assert (package / "said.txt").read_text() == "fail\n"


def demo_that_fails(package: Path, out: Path) -> None:
    with commands_beside(out) as beside:
        beside.run("long", ["sleep"])
        beside.run("two", ["two"])
        while not (package / "said.txt").exists():
            time.sleep(0.05)
        raise InputError("a stage", hint="Mend it.")


def test_a_demo_that_fails_leaves_no_command_behind(package: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a stage"):
        demo_that_fails(package, tmp_path / "demo")
    assert (package / "said.txt").read_text() == "sleep\n"
