"""The tasks over a gallery: what belongs to a query, what is left out, what stands beside as published."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thoracle.errors import InputError
from thoracle.evaluation.retrieval.tasks import SCORING_NOTES, Gallery, run_tasks


def _unit(latents: np.ndarray) -> np.ndarray:
    return latents / np.linalg.norm(latents, axis=1, keepdims=True)


@pytest.fixture
def volumes() -> Gallery:
    """Six scans of six patients, of two labels, with reports."""
    return Gallery(
        latents_NL=_unit(np.random.default_rng(0).standard_normal((6, 4))),
        labels_NC=np.array([[1, 0], [0, 0], [0, 0], [1, 0], [0, 1], [0, 0]]),
        scans=tuple("abcdef"),
        patients=tuple("abcdef"),
        texts=("nodule", "no nodule", "clear", "nodes", "effusion", "no effusion"),
        voxels=("",) * 6,
    )


def test_keywords_are_judged_by_labels_and_as_medfinder_did_by_the_words_that_reports_hold(volumes: Gallery) -> None:
    nothing = -np.inf
    keyword = np.array([[2.0, 1.9, nothing, nothing, nothing, nothing], [nothing, nothing, nothing, nothing, 1, 2]])
    found, published = run_tasks(
        volumes, protocol="bimcv-r", texts_NL=None, words_CL=volumes.latents_NL[[0, 5]], keyword_CN=keyword, resamples=5
    )
    one = found["keyword"].per_query
    assert one["R@1"].tolist() == [1.0, 0.0]
    assert one["precision@5"].tolist() == [0.2, 0.2]
    assert one["MAP@5"].tolist() == [0.5, 0.5]
    assert published["words to volume"]["precision@50"] == pytest.approx(2 / 50), "two reports hold each keyword, one denies it"


def test_volume_to_volume_leaves_out_the_querys_patient_and_its_copies(volumes: Gallery) -> None:
    near = volumes.latents_NL.copy()
    near[3] = near[0]  # alike, and of one label; nothing else has it
    for change, without in (
        ({"latents_NL": near}, 4),
        ({"latents_NL": near, "patients": tuple("abcaef")}, 6),
        ({"latents_NL": near, "voxels": ("x", "", "", "x", "", "")}, 6),
        ({"latents_NL": near, "scans": tuple("abcaef"), "patients": tuple("abcaef")}, 6),
    ):
        found, published = run_tasks(replace(volumes, **change), protocol="ct-clip", texts_NL=None, words_CL=None, resamples=5)
        assert found["volume to volume"].queries_without_relevant == without
        if without == 4:
            assert published["volume to volume"]["R@1, one shared label a hit"] == 1
            assert found["volume to volume"].metrics["overlap@1"].value == 1
        assert all(name.startswith(("nDCG", "overlap@")) for name in found["volume to volume"].metrics)
        assert published["volume to volume"]["running mean overlap@1"] == pytest.approx(3 / 6), (
            "as published, each labelled query finds itself"
        )


def test_to_a_report_belong_all_volumes_of_its_scan_and_of_reports_with_its_words(volumes: Gallery) -> None:
    texts = volumes.latents_NL.copy()
    found, published = run_tasks(volumes, protocol="ct-clip", texts_NL=texts, words_CL=None, resamples=5)
    assert found["report to volume"].metrics["R@1"].value == published["report to volume"]["R@5"] == 1
    moved = replace(volumes, scans=("a", "a", *"cdef"), texts=("x", "x", "same", "same", "", "y"))
    texts = volumes.latents_NL[[1, 1, 3, 2, 4, 5]]  # of its scan the other volume, of its words the other scan's
    found, _ = run_tasks(moved, protocol="ct-clip", texts_NL=texts, words_CL=None, resamples=5)
    assert found["report to volume"].metrics["R@1"].value == 1
    assert found["report to volume"].queries == 4, "one for each scan that has a report"
    assert found["volume to report"].queries == 5


def test_reports_of_one_impression_and_other_findings_are_two_that_tie(volumes: Gallery) -> None:
    """Whole reports say what belongs together; the latents are of what is encoded of them."""
    impression = volumes.latents_NL[[0, 0, 2, 3, 4, 5]]
    found, _ = run_tasks(replace(volumes, latents_NL=impression), protocol="ct-clip", texts_NL=impression, words_CL=None, resamples=5)
    assert found["volume to report"].per_query["rank"].tolist() == [2, 2, 1, 1, 1, 1]
    assert found["report to volume"].per_query["rank"].tolist() == [2, 2, 1, 1, 1, 1]
    assert "whichever section is encoded" in SCORING_NOTES


def test_one_volume_is_no_gallery(volumes: Gallery) -> None:
    one = Gallery(
        **{name: getattr(volumes, name)[:1] for name in ("latents_NL", "labels_NC", "scans", "patients", "texts", "voxels")},
    )
    with pytest.raises(InputError, match="no gallery"):
        run_tasks(one, protocol="ct-clip", texts_NL=None, words_CL=None)


def test_two_volumes_of_one_scan_are_no_gallery(volumes: Gallery) -> None:
    one_scan = replace(volumes, scans=("a",) * len(volumes.scans))
    with pytest.raises(InputError, match=r"\d volumes of 1 scans are no gallery"):
        run_tasks(one_scan, protocol="ct-clip", texts_NL=None, words_CL=None)
