"""Checkpoints: whole or absent at whatever moment a process is killed, refused when damaged, and as many as are to be kept."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from thoracle.errors import CheckpointDamaged
from thoracle.training.engine.checkpoints import Checkpoint, CheckpointWriter, best, checkpoints, clean, last_whole, save_checkpoint

#: Audited events that change a folder, or open what will be changed.
_EVENTS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"})


def _state(step: int) -> dict[str, Any]:
    moments = {"state": {0: {"step": torch.tensor(float(step)), "exp_avg": torch.full((3,), 0.5)}}, "param_groups": [{"lr": 0.1}]}
    return {"step": step, "weights": {"layer.weight": torch.arange(6.0).view(2, 3) + step}, "moments": moments}


def _save(folder: Path, step: int, *, score: float | None = None, keep_last: int = 3) -> Checkpoint:
    return save_checkpoint(folder, _state(step), step=step, score=score, keep_last=keep_last)


def _steps(folder: Path) -> list[int]:
    return [checkpoint.step for checkpoint in checkpoints(folder)]


def test_a_state_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    saved = _save(tmp_path, 7, score=0.25)
    (checkpoint,) = checkpoints(tmp_path)
    assert checkpoint == saved
    assert (checkpoint.path, checkpoint.step, checkpoint.score) == (tmp_path / "step-00000007", 7, 0.25)
    state = checkpoint.load()
    assert torch.equal(state["weights"]["layer.weight"], torch.tensor([[7.0, 8, 9], [10, 11, 12]]))
    assert state["moments"]["state"][0]["step"] == 7
    assert (state["step"], state["moments"]["param_groups"]) == (7, [{"lr": 0.1}])


@pytest.mark.parametrize(("keep_last", "expected"), [(1, [2, 6]), (2, [2, 5, 6]), (3, [2, 4, 5, 6]), (9, [1, 2, 3, 4, 5, 6])])
def test_the_last_are_kept_and_the_best_beside_them(keep_last: int, expected: list[int], tmp_path: Path) -> None:
    for step, score in enumerate((0.1, 0.9, None, 0.3, 0.2, 0.4), start=1):
        _save(tmp_path, step, score=score, keep_last=keep_last)
    assert _steps(tmp_path) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:08d}" for step in expected], "nothing else is left"


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for step in (30, 4, 200):
        _save(tmp_path, step)
    assert _steps(tmp_path) == [4, 30, 200]
    assert checkpoints(tmp_path / "nowhere") == []


def test_the_best_has_the_highest_score_and_is_the_later_of_equals(tmp_path: Path) -> None:
    def of(*scores: float | None) -> int:
        return best([Checkpoint(path=tmp_path, step=step, score=score, sha256="") for step, score in enumerate(scores)]).step

    assert of(0.2, 0.7, 0.1) == 1
    assert of(0.7, 0.7, 0.1) == 1
    assert of(-3.0, None) == 0
    assert of(None, None, None) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        Path.unlink,
    ],
    ids=["a bit", "cut", "empty", "absent"],
)
def test_a_damaged_state_is_refused_and_the_one_before_is_whole(damage: Callable[[Path], object], tmp_path: Path) -> None:
    _save(tmp_path, 1)
    last = _save(tmp_path, 2)
    damage(last.path / "state.pt")
    with pytest.raises(CheckpointDamaged, match="not the file that was saved") as caught:
        last.load()
    assert caught.value.source == str(last.path / "state.pt")
    assert checkpoints(tmp_path)[0].load()["step"] == 1


def test_the_last_that_is_whole_is_found_and_what_is_passed_over_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert last_whole(tmp_path) is None
    saved = [_save(tmp_path, step) for step in (1, 2, 3)]
    assert last_whole(tmp_path) == saved[2]
    (saved[2].path / "state.pt").write_bytes(b"PK")
    assert last_whole(tmp_path) == saved[1]
    assert "step-00000003/state.pt is not the file that was saved" in caplog.text


def test_the_hash_of_what_was_written_is_that_of_the_file(tmp_path: Path) -> None:
    path = _save(tmp_path, 2).path
    assert json.loads((path / "checkpoint.json").read_text())["sha256"] == hashlib.sha256((path / "state.pt").read_bytes()).hexdigest()


def test_a_writer_writes_beside_its_caller_in_order_and_is_done_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is listed while the first is held up, and the second waits for it."""
    gate, plain = threading.Event(), torch.save

    def held_up(*args: Any, **named: Any) -> None:
        assert gate.wait(60)
        plain(*args, **named)

    monkeypatch.setattr(torch, "save", held_up)
    with CheckpointWriter(tmp_path, keep_last=3) as writer:
        writer.save(_state(1), step=1, score=0.5)
        assert checkpoints(tmp_path) == []
        assert not writer.failed
        gate.set()
        writer.save(_state(2), step=2, score=None)
        assert _steps(tmp_path) in ([1], [1, 2])
    assert _steps(tmp_path) == [1, 2]
    assert [checkpoint.load()["step"] for checkpoint in checkpoints(tmp_path)] == [1, 2]


def test_a_full_disk_is_raised_where_the_writer_is_asked_next_and_the_one_before_is_whole(tmp_path: Path) -> None:
    """The kernel refuses files beyond a size, in a process of its own, as a full disk would: in the middle of a large state."""
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=_fill_the_disk, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert _steps(tmp_path) == [1]
    assert checkpoints(tmp_path)[0].load()["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_failed_write_does_not_hide_the_error_that_ends_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyError, match="diverged"):
        _diverge(tmp_path / "file")
    assert "the last checkpoint was not written" in caplog.text


def _diverge(folder: Path) -> None:
    with CheckpointWriter(folder, keep_last=1) as writer:
        writer.save(_state(1), step=1, score=None)
        raise KeyError("diverged")


def _fill_the_disk(folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with CheckpointWriter(folder, keep_last=3) as writer:
        writer.save(_state(1), step=1, score=None)
        writer.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))
        writer.save({**_state(2), "large": torch.zeros(2**20)}, step=2, score=None)
        with pytest.raises(OSError, match="File too large"):
            writer.wait()


@pytest.mark.parametrize(
    "text",
    ['{"format": "thoracle.checkpoint/4", "st', "[]", "", '{"format": "thoracle.checkpoint/2", "step": 2, "score": null, "sha256": "0"}'],
)
def test_what_does_not_describe_itself_is_passed_over_with_a_line_in_the_log(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    (tmp_path / "step-00000002" / "checkpoint.json").write_text(text)
    assert _steps(tmp_path) == [1]
    assert "step-00000002 is no checkpoint" in caplog.text


def test_a_description_holds_what_the_documentation_says(tmp_path: Path) -> None:
    path = _save(tmp_path, 2, score=None).path
    about = json.loads((path / "checkpoint.json").read_text())
    assert sorted(about) == ["format", "score", "sha256", "step"]
    assert sorted(file.name for file in path.iterdir()) == ["checkpoint.json", "state.pt"]


@pytest.mark.parametrize("step", [3, 2], ids=["a new one", "one that is there"])
def test_killed_at_any_moment_what_is_listed_is_whole(step: int, tmp_path: Path) -> None:
    """A process is killed before its first, second, … change of the folder, until it comes to its end."""
    fork = multiprocessing.get_context("fork")
    for calls in range(1, 100):
        folder = tmp_path / str(calls)
        for number in (1, 2):
            _save(folder, number, keep_last=2)
        process = fork.Process(target=_save_until_killed, args=(folder, step, calls))
        process.start()
        process.join()
        for checkpoint in checkpoints(folder):
            assert checkpoint.load()["step"] == checkpoint.step
        # To replace one is two renames: between them it is not there, and the one before is.
        assert set(_steps(folder)) >= ({2} if step == 3 else {1})
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        clean(folder)
        assert all(path.name.startswith("step-") for path in folder.iterdir())
        _save(folder, 3, keep_last=2)
        assert _steps(folder)[-1] == 3
    assert 8 < calls < 99, "an open, a rename and a removal at least were among the moments"
    assert _steps(folder) == ([2, 3] if step == 3 else [1, 2])


def _save_until_killed(folder: Path, step: int, calls: int) -> None:
    left = [calls]

    def count(event: str, _: tuple[object, ...]) -> None:
        if event in _EVENTS:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    _save(folder, step, keep_last=2)
