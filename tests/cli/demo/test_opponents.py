"""The demo's opponents: each by the page's word, and how many volumes its training saw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoracle.cli.demo.opponents import DemoOpponents
from thoracle.errors import InputError
from thoracle.evaluation.demo.page import CONTRASTIVE, LIPRO, SUPERVISED, TUNED
from thoracle.evaluation.detection.results_json import SCHEMA
from thoracle.training.engine.config import RunConfig

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
