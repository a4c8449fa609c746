"""The demo's opponents: each by the page's word, and how many volumes its training saw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import typer

from thoracle.cli.demo.opponents import DemoOpponents
from thoracle.errors import InputError
from thoracle.evaluation.demo.page import CONTRASTIVE, LIPRO, SUPERVISED, TUNED
from thoracle.evaluation.detection.results_json import SCHEMA
from thoracle.training.engine.config import RunConfig
from thoracle.training.finetuning.config import ClassifierConfig

CONFIGS = {
    name: RunConfig(steps=steps, batch_size=batch)
    for name, steps, batch in (("contrastive", 200, 48), ("vocabfine", 300, 32), ("lipro", 600, 64), ("supervised", 600, 32))
}


def write_results(folder: Path, probabilities: list[float], names: str = "abcd") -> None:
    """As much of results.json as runs are compared by: one label, present in the first two scans, decided at 0.5."""
    scans = {"names": list(names), "patients": list(names), "truth": [[1], [1], [0], [0]], "thresholds": [[0.5]] * 4}
    scans |= {"probabilities": [[p] for p in probabilities]}
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"schema": SCHEMA, "labels": {"x": {}}, "scans": scans}))


@pytest.fixture
def demo(tmp_path: Path) -> DemoOpponents:
    for name, second in (("contrastive", 0.1), ("vocabfine", 0.3), ("lipro", 0.8), ("supervised", 0.9)):
        write_results(tmp_path / f"evaluation-{name}", [0.95, second, 0.2, 0.15])
    return DemoOpponents(configs=CONFIGS, out=tmp_path)


def test_each_run_is_read_by_the_pages_word_for_it(demo: DemoOpponents) -> None:
    assert list(demo.scores) == [CONTRASTIVE, TUNED, LIPRO, SUPERVISED]
    assert demo.scores[TUNED].probabilities_NK[:, 0].tolist() == [0.95, 0.3, 0.2, 0.15]


def test_the_part_of_the_page_says_how_many_volumes_training_saw(demo: DemoOpponents) -> None:
    content = "".join(demo.section)
    assert "9,600 volumes with reports" in content
    assert "these, and 9,600 volumes with labels" in content
    assert "zero-shot&#x27;s latents of 38,400 volumes with labels" in content
    assert "19,200 volumes with labels" in content
    # Zero-shot puts 2 of 4 pairs in order, the supervised model all.
    assert "<td>-0.500 (" in content
    assert demo.sentences[0].startswith(f"{CONTRASTIVE} less supervised: AUROC -0.500 (")


def test_evaluations_of_other_scans_are_refused(demo: DemoOpponents) -> None:
    (demo.out / "evaluation-lipro" / "results.json").unlink()
    (demo.out / "evaluation-lipro").rmdir()
    write_results(demo.out / "evaluation-lipro", [0.9, 0.8, 0.2, 0.1], names="abce")
    with pytest.raises(InputError, match="in one run only"):
        _ = demo.section


@contextmanager
def unsaid(name: str, command: str) -> Iterator[None]:
    assert (name, command) == ("train supervised", "")
    yield


def without_cohort(folder: Path) -> DemoOpponents:
    config = ClassifierConfig(cohort=str(folder / "none"), init_from=str(folder / "none"), out=str(folder / "supervised"), steps=1)
    return DemoOpponents(configs={"supervised": config}, out=folder)


def test_a_supervised_run_that_fails_beside_says_why_and_ends_the_demo_with_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    with pytest.raises(typer.Exit) as ended, without_cohort(tmp_path).training_beside(unsaid):
        assert torch.get_num_threads() == max(1, threads - max(1, threads // 2))
    assert ended.value.exit_code == 2
    out, err = capsys.readouterr()
    assert f"$ thoracle train classifier --config {tmp_path / 'supervised.yaml'}" in out
    assert "none" in err
    assert err == (tmp_path / "supervised.log").read_text()
    assert torch.get_num_threads() == threads


def test_a_demo_that_fails_leaves_no_process_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "thoracle"
    module.mkdir()
    (module / "__main__.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # in place of the package: it ends only where it is ended
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="a stage"), without_cohort(tmp_path).training_beside(unsaid):
        raise InputError("a stage of the demo", hint="Mend it.")


def test_without_a_supervised_run_nothing_is_done_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with DemoOpponents(configs={}, out=tmp_path).training_beside(unsaid):
        pass
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())
