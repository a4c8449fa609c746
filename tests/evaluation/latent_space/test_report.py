"""The latent space as a page and as pictures: what is unknown is neither, names are data, and figures that there are none of are null."""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from thoracle.evaluation.latent_space import measures as space
from thoracle.evaluation.latent_space import report
from thoracle.evaluation.latent_space.evaluate import SpaceEvaluation
from thoracle.evaluation.latent_space.hierarchy import measure_hierarchy
from thoracle.evaluation.latent_space.order import measure_order
from thoracle.evaluation.latent_space.report import GROUPS, pictures, report_files, space_json, write_page
from thoracle.types import RESEARCH_USE


def _sphere(seed: int, count: int = 60, width: int = 8) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, width))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def _measured(image: np.ndarray, text: np.ndarray, truth: np.ndarray, labels: tuple[str, ...], **graded: Any) -> SpaceEvaluation:
    draws: dict[str, Any] = {"patients": [f"p{n}" for n in range(len(image))], "resamples": 5}
    return SpaceEvaluation(
        geometry=space.measure_latent_space(image, text, truth_NK=truth, labels=labels, **draws),
        order=measure_order(image, truth_NK=truth, labels=labels, **draws, **graded),
        hierarchy=measure_hierarchy(image, truth_NK=truth, **draws),
    )


def test_the_page_holds_its_map_and_asks_for_nothing() -> None:
    image, text = _sphere(6, 12), _sphere(7, 12)
    truth, labels = np.random.default_rng(0).integers(2, size=(12, 2)).astype(float), ("x", "</script><b>")
    truth[0, 0] = np.nan
    places = {method: space.project(np.concatenate([image, text]), method) for method in space.PROJECTIONS}
    drawn = pictures(places, truth_NK=truth, labels=labels)
    assert sorted(drawn) == ["pca-labels.png", "pca-number.png", "tsne-labels.png", "tsne-number.png"]
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())
    names = [f"s{n}" for n in range(12)]
    cosines = {"of one scan": (image * text).sum(axis=1)}
    found = _measured(image, text, truth, labels)
    page = write_page(
        found, points=places, names=names, truth_NK=truth, labels=labels, cosines=cosines, drawn=drawn, notes=["12 scans"]
    ).decode()
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', page)[1])
    assert [row["name"] for row in data["rows"]] == names
    assert data["rows"][0]["unknown"] == ["x"]
    assert [row["labels"] for row in data["rows"][1:]] == [[label for label, v in zip(labels, row, strict=True) if v] for row in truth[1:]]
    assert set(data["places"]) == {"t-SNE", "PCA"}
    assert all(len(data["places"][m][h]) == 12 for m in data["places"] for h in ("image", "text"))
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<b>" not in page
    assert page.count("<script") == 2


def test_groups_are_whole() -> None:
    assert [n for _, low, high in GROUPS for n in range(low, high + 1)] == list(range(19))


@pytest.fixture
def measured() -> tuple[SpaceEvaluation, np.ndarray, np.ndarray, np.ndarray]:
    """Twelve scans; nobody has the second label, so that no silhouette of it is defined."""
    image, text = _sphere(6, 12), _sphere(7, 12)
    truth = np.stack([np.arange(12) % 2, np.zeros(12)], axis=1).astype(float)
    return _measured(image, text, truth, ("x", "<y>")), image, text, truth


def test_the_document_has_the_notice_and_null_for_what_is_not_defined(measured: Any) -> None:
    evaluated = replace(measured[0], geometry=replace(measured[0].geometry, hubness_of_texts=float("nan")))
    document = space_json(evaluated, facts={"model": "tiny", "scans": 12})
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["notice"], document["model"], document["scans"]) == (RESEARCH_USE, "tiny", 12)
    assert document["silhouette"]["<y>"] is None
    assert document["hubness_of_texts"] is None
    assert document["image"]["effective_rank"] == evaluated.geometry.image.effective_rank
    assert document["alignment"] == asdict(evaluated.geometry.alignment)
    assert document["order"]["severity"] is None
    assert document["hierarchy"]["number"]["4"]["value"] == pytest.approx(evaluated.hierarchy.number[4].value)


def test_files_are_named_and_the_page_has_their_figures_and_the_notice(measured: Any) -> None:
    found, image, text, truth = measured
    names, notes = [f"<s{n}>" for n in range(12)], ["<note>"]
    files = report_files(found, image, text, names=names, truth_NK=truth, labels=("x", "<y>"), notes=notes)
    assert sorted(files) == ["pca-labels.png", "pca-number.png", "space.html", "tsne-labels.png", "tsne-number.png"]
    page = files["space.html"].decode()
    assert RESEARCH_USE in page
    assert "<p>&lt;note&gt;</p>" in page
    alignment = found.geometry.alignment
    assert alignment.value == pytest.approx(((image - text) ** 2).sum(axis=1).mean())
    assert f"<td>alignment</td><td>{alignment.value:.3f} ({alignment.low:.3f} to {alignment.high:.3f})</td>" in page
    assert "<td>16 clusters, findings</td>" in page
    assert "more severe" not in page, "nobody knows grades"
    assert "<td>&lt;y&gt;</td><td>–</td>" in page, "no silhouette where all have one answer"
    assert "<option>&lt;y&gt;</option>" in page
    assert not re.search("<(y|note|s[0-9]+)>", page)
    assert page.count("data:image/png;base64,") == 4
    assert "of one scan" in page


def test_points_keep_their_shape_between_0_and_1() -> None:
    halves = report._halves(np.array([[0.0, 0.0], [4.0, 1.0], [2.0, 2.0], [1.0, 0.0]]))
    assert halves == {"image": [[0, 0], [1, 0.25]], "text": [[0.5, 0.5], [0.25, 0]]}, "both axes by the longer one"
    assert report._halves(np.ones((2, 2))) == {"image": [[0, 0]], "text": [[0, 0]]}


def test_a_number_of_abnormalities_is_counted_without_the_unknown(measured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, image, text, truth = measured
    truth[0, 0] = truth[1, 0] = np.nan
    drawn: list[Any] = []
    monkeypatch.setattr(report, "scatter", lambda halves, groups, **words: drawn.append((groups, words)) or b"")
    pictures({"PCA": space.project(np.concatenate([image, text]), "PCA")}, truth_NK=truth, labels=("x", "<y>"))
    (number, words), (by_label, _) = drawn
    counted = {group.label: int(group.keep.sum()) for group in number[0]}
    assert counted == {"0": 7, "1 to 3": 5, "4 to 6": 0, "7 to 9": 0, "10 to 12": 0, "13 or more": 0}
    assert [int(group.keep.sum()) for group in by_label[0]] == [5, 5], "who is unknown is in neither"
    assert RESEARCH_USE in words["note"]


def test_pictures_have_a_panel_for_each_label(measured: Any) -> None:
    _, image, text, truth = measured
    drawn = pictures({"PCA": space.project(np.concatenate([image, text]), "PCA")}, truth_NK=truth, labels=("x", "<y>"))
    wide, one = (Image.open(io.BytesIO(drawn[name])) for name in ("pca-labels.png", "pca-number.png"))
    assert wide.width == pytest.approx(2 * wide.height, abs=2), "two panels side by side"
    assert one.width == one.height


def test_severity_has_rows_where_grades_are_known(measured: Any) -> None:
    _, image, text, truth = measured
    grades = np.where(truth == 1, 1 + np.arange(12)[:, None] % 3, np.nan)
    graded = _measured(image, text, truth, ("x", "<y>"), margins_NK=np.nan_to_num(grades), grades_NK=grades)
    rows = {name: value for name, value, _ in report.order_rows(graded)}
    assert rows["severity of a finding"].startswith("1.000 (")
    assert rows["AUROC, severe"].startswith("1.000")
    names = [f"s{n}" for n in range(12)]
    page = report_files(graded, image, text, names=names, truth_NK=truth, labels=("x", "<y>"), notes=[])["space.html"].decode()
    assert "Is a more severe finding nearer" in page
