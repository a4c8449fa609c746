"""`thoracle compare`: what it prints of two runs, whose differences are worked by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

NOTICE = "Research use only. Not a medical device."
#: Of four patients, two of whom have the finding: all right; a positive below a negative.
RIGHT, WRONG = [0.9, 0.8, 0.2, 0.1], [0.6, 0.3, 0.4, 0.1]


def _write_run(path: Path, probabilities: Sequence[float], **changes: Any) -> Path:
    """A results.json as `thoracle evaluate detection` writes it, of what `compare` reads."""
    truth: Mapping[str, Any] = {"names": list("abcd"), "patients": list("pqrs"), "truth": [[1], [1], [0], [0]], "thresholds": None}
    scans = {**truth, "probabilities": [[value] for value in probabilities], **changes}
    path.write_text(json.dumps({"schema": "thoracle.evaluation/1", "labels": {"[Hernia]": {}}, "scans": scans}))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    return _write_run(tmp_path / "right.json", RIGHT), _write_run(tmp_path / "wrong.json", WRONG)


def test_the_difference_of_auroc_is_printed_with_delongs_interval_and_p(command, runs: tuple[Path, Path]) -> None:
    """AUROC 1 minus 3/4. Placements differ by (0, 1/2) of positives and (1/2, 0) of negatives: a variance of 1/8 / 2 + 1/8 / 2."""
    ran = command("compare", *runs, "--resamples", 50)
    assert ran.status == 0, ran.err
    assert "right.jsonminus" in "".join(ran.out.split())  # a long path is wrapped
    assert "4 scans of 4 patients, 95% intervals" in ran.out
    assert "macro AUROC 0.250 (" in ran.out
    # 1/4 -+ 1.959964 * sqrt(1/8); twice the normal's tail beyond 1/4 / sqrt(1/8) = sqrt(1/2)
    assert "AUROC, [Hernia] (DeLong) 0.250 (-0.443 to 0.943) 0.480" in ran.out
    assert "p is of each line alone" in ran.out
    assert NOTICE in ran.out


def test_turned_round_the_sign_turns_and_draws_are_those_of_the_seed(command, runs: tuple[Path, Path]) -> None:
    back, again, others = (command("compare", *runs[::-1], "--resamples", 5, "--seed", seed).out for seed in (3, 3, 4))
    assert "AUROC, [Hernia] (DeLong) -0.250 (-0.943 to 0.443) 0.480" in back
    assert back == again != others


def test_where_there_is_no_answer_there_is_a_dash(command, tmp_path: Path) -> None:
    everywhere = {"truth": [[1], [1], [1], [1]]}
    paths = [_write_run(tmp_path / f"{name}.json", values, **everywhere) for name, values in (("a", RIGHT), ("b", WRONG))]
    ran = command("compare", *paths, "--resamples", 5)
    assert ran.status == 0, ran.err
    assert "AUROC, [Hernia] (DeLong) – –" in ran.out


def test_a_run_of_the_command_does_not_differ_from_itself(command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ran = command("evaluate", "detection", model_dir, noise, "--protocol", "ct-rate", "--out", out, "--resamples", 20)
    assert ran.status == 0, ran.err
    same = command("compare", out / "results.json", out / "results.json", "--resamples", 20)
    assert same.status == 0, same.err
    assert "17 scans of 16 patients" in same.out
    assert "macro AUROC 0.000 (0.000 to 0.000) 1.000" in same.out


def test_runs_that_cannot_be_compared_end_with_2_and_say_why(command, runs: tuple[Path, Path], tmp_path: Path) -> None:
    others = _write_run(tmp_path / "others.json", RIGHT, names=list("abce"))
    for second, words in ((others, "2 scans are in one run only: d, e"), (tmp_path / "absent.json", "absent.json: no such file")):
        ran = command("compare", runs[0], second)
        assert (ran.status, words in ran.err, ran.out) == (2, True, ""), ran.err
    assert command("compare", *runs, "--resamples", 0).status == 2


def test_a_file_that_is_no_run_ends_with_1(command, runs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "findings.json").write_text('{"schema": "thoracle.findings/1"}')
    ran = command("compare", runs[0], tmp_path / "findings.json")
    assert ran.status == 1
    assert "findings.json: is no run" in ran.err
    assert "Give a results.json that `thoracle evaluate detection` wrote." in ran.err
