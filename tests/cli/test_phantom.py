from __future__ import annotations

import subprocess
import sys

import pytest

from thoracle.phantom.cohort import write_cohort


@pytest.fixture(scope="module")
def run():
    """The verb alone, so that this test needs no other."""
    code = "from thoracle.cli import app, phantom; app.VERBS = ('phantom',); app.app.callback()(app.root); app.main()"

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, "phantom", *arguments], capture_output=True, text=True, check=False)

    return call


def test_makes_a_cohort_and_says_what(run, tmp_path):
    out = tmp_path / "cohort"
    done = run("--out", str(out), "--cases", "3", "--seed", "2", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 scans of")
    write_cohort(tmp_path / "library", cases=3, seed=2, workers=1)
    assert {p.relative_to(out) for p in out.rglob("*.*")} == {
        p.relative_to(tmp_path / "library") for p in (tmp_path / "library").rglob("*.*")
    }
    again = run("--out", str(out), "--cases", "3", "--seed", "2", "--workers", "1")
    assert "3 were already there" in again.stdout


def test_a_wrong_argument_ends_in_2_and_a_foreign_folder_in_1(run, tmp_path):
    assert run("--out", str(tmp_path / "new"), "--preset", "huge").returncode == 2
    (tmp_path / "mine").write_text("mine")
    done = run("--out", str(tmp_path), "--cases", "1")
    assert done.returncode == 1
    assert "OutputConflict" in done.stderr
