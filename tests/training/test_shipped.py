"""Every configuration that ships is begun on two ranks, stopped after two of three steps, and gone on with by other processes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.training.conftest import StartRanks
from tests.training.shipped import CONFIGS, STEPS, STOPPED, write_parts
from thoracle.training.engine.checkpoints import checkpoints

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory, start_ranks: StartRanks) -> Path:
    """Two pairs of processes take all configurations in turn, for torch starts longer than they step; a failure ends them."""
    folder = tmp_path_factory.mktemp("rehearsal")
    write_parts(folder)
    failures = []
    for how in ("--stop", "--resume"):
        with start_ranks("-m", "tests.training.shipped", folder, how) as started:
            printed = [process.communicate(timeout=1500)[0] for process in started]
        failures += [text for process, text in zip(started, printed, strict=True) if process.returncode]
        for path in folder.glob("*.json"):
            if path.name != "vqa.json":
                path.rename(path.with_name(f"{path.stem}{how}"))
    (folder / "failures.txt").write_text("\n".join(failures))
    return folder


@pytest.mark.parametrize("name", [path.stem for path in CONFIGS])
def test_two_ranks_stop_and_go_on(name: str, rehearsed: Path) -> None:
    failures = (rehearsed / "failures.txt").read_text()
    taken = {}
    for how in ("--stop", "--resume"):
        first, second = (rehearsed / f"{name}.{rank}{how}" for rank in range(2))
        assert first.exists(), f"{name} was not reached, or failed: {failures}"
        taken[how] = json.loads(first.read_text())
        assert taken[how] == json.loads(second.read_text())  # ranks agree on the loss of all
    assert [step for step, _ in taken["--stop"]] == list(range(1, STOPPED + 1))
    assert [step for step, _ in taken["--resume"]] == list(range(STOPPED + 1, STEPS + 1))
    assert all(math.isfinite(loss) for losses in taken.values() for _, loss in losses)
    run = rehearsed / "runs" / name
    assert STEPS in [checkpoint.step for checkpoint in checkpoints(run / "checkpoints")]
    assert (run / "model").is_dir()


def test_no_configuration_is_left_out() -> None:
    assert len(CONFIGS) >= 16
