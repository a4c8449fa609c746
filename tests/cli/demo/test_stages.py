"""The demo, small: every stage runs, is not done twice, and says what its figures are of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from thoracle.cli.demo import chat as demo_chat
from thoracle.cli.demo.stages import run
from thoracle.evaluation.demo.page import AVERAGED, BY_REGION, CONTRASTIVE, HISTOGRAM, LIPRO, SUPERVISED, TUNED, Figures
from thoracle.inference.chat.session import load_chat
from thoracle.inference.demo.locations import demo_chat as kept_chat
from thoracle.training.chat.task import ChatConfig
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.engine.config import builtin_config, load_config
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.vocabfine import VocabFineConfig
from thoracle.training.labeler.task import LabelerConfig
from thoracle.types import ABNORMALITIES, RESEARCH_USE

pytestmark = pytest.mark.slow  # one demo, three minutes


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Where it ran, where models are kept, what it measured."""

    out: Path
    cache: Path
    figures: Figures


def _run(out: Path) -> Figures:
    """72 phantoms and a few steps of each stage."""
    labeler = load_config(builtin_config("phantom-tiny-labeler"), LabelerConfig)
    contrastive = load_config(builtin_config("phantom-tiny"), ContrastiveConfig)
    vocabfine = load_config(builtin_config("phantom-tiny-vocabfine"), VocabFineConfig)
    lipro, supervised = (load_config(builtin_config(f"phantom-tiny-{name}"), ClassifierConfig) for name in ("classifier", "supervised"))
    few = {"cohort": str(out / "cohort"), "steps": 3, "save_every": 2}
    chat = replace(load_config(builtin_config("phantom-chat"), ChatConfig), steps=2, save_every=2, batch_size=1)
    return run(
        out,
        cases=72,
        seed=0,
        labeler=replace(labeler, **few, out=str(out / "labeler"), batch_size=8),
        runs={
            "contrastive": replace(
                contrastive, **few, out=str(out / "contrastive"), init_text_encoder=str(out / "labeler" / "model"), batch_size=8
            ),
            "vocabfine": replace(vocabfine, **few, out=str(out / "vocabfine"), init_from=str(out / "contrastive" / "model"), batch_size=8),
            "lipro": replace(lipro, **few, out=str(out / "lipro"), init_from=str(out / "contrastive" / "model"), batch_size=8),
            "supervised": replace(supervised, **few, out=str(out / "supervised"), batch_size=8),
        },
        chat=chat,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THORACLE_CACHE", str(folder / "cache"))
        patch.setattr(demo_chat, "_QUESTIONS", 6)  # an untrained model finds no end
        patch.setattr(demo_chat, "_REPORTS", 1)
        yield Demo(out=folder / "out", cache=folder / "cache", figures=_run(folder / "out"))


def test_the_page_shows_every_abnormality_with_its_figures_beside_the_histogram(demo: Demo) -> None:
    page = (demo.out / "report.html").read_text()
    assert RESEARCH_USE in page
    assert all(page.count(name) >= 2 for name in ABNORMALITIES)
    assert page.count("data:image/png") >= 10, "slices of phantoms"
    assert HISTOGRAM in page
    assert "has never seen a patient" in page


def test_figures_are_of_held_out_scans_alone(demo: Demo) -> None:
    held_out = {path.parent.name for path in (demo.out / "phantoms" / "valid").glob("*/*/*.nii.gz")}
    assert set(demo.figures.macro) == {CONTRASTIVE, TUNED, LIPRO, SUPERVISED, BY_REGION, AVERAGED, HISTOGRAM}
    assert all(demo.figures.positives[name] + demo.figures.negatives[name] == len(held_out) for name in ABNORMALITIES)


def test_a_supervised_model_of_the_same_encoder_stands_beside(demo: Demo) -> None:
    shown = (demo.out / "report.html").read_text().split("<h2>Beside a supervised model</h2>")[1].split("<h2>")[0]
    assert shown.count("less supervised") == 3
    assert f"<td>{SUPERVISED}</td><td>24 volumes with labels</td>" in shown, "3 steps of 8"
    configs = [json.loads((demo.out / name / "model" / "config.json").read_text()) for name in ("contrastive", "lipro", "supervised")]
    assert all(values["config"]["ctvit"] == configs[0]["config"]["ctvit"] for values in configs)
    assert [values["trained"] for values in configs] == [True, True, True]


def test_one_held_out_phantom_was_looked_into_with_the_model_that_is_kept(demo: Demo) -> None:
    written = json.loads((demo.out / "findings.json").read_text())
    assert len(written["findings"]) == 18
    assert "phantoms only" in written["warnings"][0]
    kept = demo.cache / "demo-model" / "model.safetensors"
    assert kept.read_bytes() == (demo.out / "vocabfine" / "model" / "model.safetensors").read_bytes()


def test_detect_takes_that_model_where_none_is_named(demo: Demo, command, sketch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(demo.cache))
    ran = command("detect", sketch)
    assert ran.status == 0, ran.err
    assert "knows only phantoms" in ran.err
    monkeypatch.setenv("THORACLE_CACHE", str(demo.cache / "elsewhere"))
    assert "run `thoracle demo` once" in command("detect", sketch).err


def test_held_out_phantoms_are_searched_and_the_figures_stand_beside_chance(demo: Demo, command, monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads((demo.out / "evaluation-search" / "results.json").read_text())
    assert found["gallery"]["scans"] == len({path.parent.name for path in (demo.out / "phantoms" / "valid").glob("*/*/*.nii.gz")})
    recall, precision = found["tasks"]["report to volume"]["figures"]["R@10"]["value"], found["precision@10"]["words to volume"]
    page = (demo.out / "report.html").read_text()
    shown = page.split("<h2>Search among held-out phantoms</h2>")[1].split("<h2>")[0]
    assert f"{recall:.3f} (" in shown
    assert all(
        f"<td>{name}</td><td>{value:.3f}</td><td>{found['prevalence'][name]:.3f}" in shown for name, value in precision.items() if value
    )
    assert shown.count("data:image/png") == 5
    monkeypatch.setenv("THORACLE_CACHE", str(demo.cache))
    ran = command("search", demo.out / "index", "--text", "pleural effusion", "--top", 5, "--json", "-")
    assert ran.status == 0, ran.err
    hits = json.loads((demo.out / "hits.json").read_text())["hits"]
    assert [hit["volume"] for hit in json.loads(ran.out)["hits"]] == [hit["volume"] for hit in hits]
    assert len(hits) == 5


def test_a_cohort_is_indexed_with_the_model_that_is_kept_where_none_is_named(
    demo: Demo, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(demo.cache))
    ran = command("index", demo.out / "cohort", "--split", "valid", "--out", tmp_path / "index")
    assert ran.status == 0, ran.err
    assert "knows only phantoms" in ran.err
    ran = command("search", tmp_path / "index", "--text", "emphysema", "--label", "Emphysema")
    assert ran.status == 0, ran.err
    assert "Research use only" in ran.out


def test_findings_are_read_by_region_and_their_maps_stand_beside_an_atlas(demo: Demo) -> None:
    page = (demo.out / "report.html").read_text()
    shown = page.split("<h2>Read by region</h2>")[1].split("<h2>")[0]
    labels = json.loads((demo.out / "regions" / "config.json").read_text())["labels"]
    examples = page.split("<h2>Held-out phantoms</h2>")[1].count("data:image/png")
    assert 0 < shown.count("data:image/png") == len([name for name in labels if f"<figcaption>{name}</figcaption>" in shown]) <= examples
    assert "atlas, body&#x27;s frame" in shown
    found = json.loads((demo.out / "evaluation-maps" / "explanation.json").read_text())
    assert all(sentence[:60] in shown for sentence in found["verdicts"])
    assert (demo.out / "regions" / "localization.json").is_file(), "explain says it"
    both = (demo.figures.labels[name]["Lung opacity"].value for name in (BY_REGION, AVERAGED))
    assert all(0 <= value <= 1 for value in both)


def test_one_held_out_phantom_was_asked_and_measured_beside_no_scan(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (demo.out / "report.html").read_text()
    turns = json.loads((demo.out / "talk.json").read_text())["turns"]
    assert [turn["task"] for turn in turns] == ["short_answer"] * 3
    assert all(turn["question"] in page for turn in turns)
    assert "Write the report of this scan." in page
    assert "without it" in page
    values = json.loads((demo.out / "evaluation-chat" / "chat.json").read_text())
    assert values["questions"] == 7
    monkeypatch.setenv("THORACLE_CACHE", str(demo.cache))
    assert load_chat(kept_chat() / "model", encoder=kept_chat() / "encoder", base=kept_chat() / "base").caution


def test_a_second_run_does_nothing_again_and_ends_alike(demo: Demo) -> None:
    written = {path: path.stat().st_mtime_ns for path in (demo.out / "cohort" / "cache").rglob("*")}
    weights = (demo.out / "vocabfine" / "model" / "model.safetensors").read_bytes()
    assert repr(_run(demo.out)) == repr(demo.figures), "NaN, where there is one answer only, is alike too"
    assert {path: path.stat().st_mtime_ns for path in (demo.out / "cohort" / "cache").rglob("*")} == written
    assert (demo.out / "vocabfine" / "model" / "model.safetensors").read_bytes() == weights
