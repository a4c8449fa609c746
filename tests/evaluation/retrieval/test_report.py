"""What results.json and the page say of a retrieval evaluation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from thoracle.evaluation.retrieval.report import SCHEMA, RetrievalReport, write_page
from thoracle.evaluation.retrieval.tasks import Gallery, run_tasks
from thoracle.types import RESEARCH_USE


@pytest.fixture
def report() -> RetrievalReport:
    """Of six scans of six patients, of two labels and one that none has."""
    latents = np.random.default_rng(0).standard_normal((6, 4))
    volumes = Gallery(
        latents_NL=latents / np.linalg.norm(latents, axis=1, keepdims=True),
        labels_NC=np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]),
        scans=tuple("abcdef"),
        patients=tuple("abcdef"),
        texts=("nodule", "no nodule", "clear", "nodes", "effusion", "no effusion"),
        voxels=("",) * 6,
    )
    keyword = np.full((3, 6), -np.inf)
    keyword[0, [0, 1]] = 2, 1
    tasks, published = run_tasks(
        volumes, protocol="ct-clip", texts_NL=volumes.latents_NL, words_CL=volumes.latents_NL[:3], keyword_CN=keyword, resamples=5
    )
    return RetrievalReport(
        protocol="ct-clip",
        tasks=tasks,
        published=published,
        prevalence={"nodule": 1 / 3, "effusion": 1 / 6, "<hernia>": 0.0},
        gallery={"volumes": 6, "scans": 6, "patients": 6},
        model={"model": "m" * 64, "section": "both"},
        trained=True,
    )


def test_the_document_has_every_task_and_null_where_nothing_can_be_found(report: RetrievalReport) -> None:
    document = json.loads(json.dumps(report.as_dict()))
    assert (document["schema"], document["notice"], document["gallery"]["scans"]) == (SCHEMA, RESEARCH_USE, 6)
    assert set(document["tasks"]) == set(report.tasks)
    recall = report.tasks["report to volume"].metrics["R@1"]
    assert document["tasks"]["report to volume"]["figures"]["R@1"] == {"value": recall.value, "low": recall.low, "high": recall.high}
    assert document["published"]["report to volume"]["R@5"] == report.published["report to volume"]["R@5"]
    assert document["precision@10"]["keyword"] == {"nodule": 0.1, "effusion": 0.0, "<hernia>": None}


def test_no_name_stands_for_two_measures(report: RetrievalReport) -> None:
    """Average precision has one name; the published mean of overlaps, and what counts one shared label as a hit, have others."""
    document = json.loads(json.dumps(report.as_dict()))
    assert "MAP@10" in document["tasks"]["words to volume"]["figures"]
    graded = document["tasks"]["volume to volume"]
    assert set(graded["figures"]) == set(graded["random"])
    assert {name.partition("@")[0] for name in graded["figures"]} == {"nDCG", "overlap"}
    assert not any(name in graded["figures"] or name.startswith("MAP") for name in document["published"]["volume to volume"])
    assert {name for name, *_ in report.rows("volume to volume")} == {"nDCG@10", "nDCG@50", "overlap@10", "overlap@50"}


def test_the_page_warns_of_untrained_weights_and_escapes_names(report: RetrievalReport) -> None:
    content = write_page(report).decode()
    assert RESEARCH_USE in content
    assert "By abnormality" in content
    assert "&lt;hernia&gt;" in content
    assert "ct-clip as published, R@5: " in content
    assert "ct-clip as published, R@10, one shared label a hit, random: " in content
    assert report.summary("keyword") in content
    assert "UNTRAINED" not in content
    assert "UNTRAINED WEIGHTS" in write_page(replace(report, trained=False)).decode()
