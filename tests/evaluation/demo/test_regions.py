"""What the demo's page says of regions: averages and differences of the same scans and labels, and maps that were measured on others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thoracle.errors import MetadataError
from thoracle.evaluation.demo.regions import MapPicture, averaged, read_quality, section, sentences
from thoracle.evaluation.detection.summary import Scores

NAMES = ("a", "b", "c", "d")
#: Prompts put three of four pairs of the first label in order. Regions, which do not know the second, put all; their scans are reversed.
PROMPTS = Scores(
    names=NAMES,
    patients=NAMES,
    labels=("first", "second"),
    probabilities_NK=np.array([[0.9, 0.1], [0.3, 0.2], [0.4, 0.3], [0.1, 0.4]]),
    truth_NK=np.array([[1.0, 1], [1, 0], [0, 0], [0, 1]]),
)
REGIONS = Scores(
    names=("d", "c", "b", "a"),
    patients=("d", "c", "b", "a"),
    labels=("first",),
    probabilities_NK=np.array([[0.2], [0.1], [0.6], [0.5]]),
    truth_NK=np.array([[0.0], [0], [1], [1]]),
)


def _found(**more: object) -> dict[str, object]:
    scores = {"pointing": {"regions": {"value": 0.8, "low": 0.7, "high": 0.9}, "<atlas>": {"value": 0.6, "low": None, "high": None}}}
    return {"verdicts": ["<verdict>"], "split": "dev", "volumes": 1200, "found": {"all abnormalities": {"scores": scores}}, **more}


def test_probabilities_of_the_same_scan_and_label_are_averaged() -> None:
    both = averaged(PROMPTS, REGIONS)
    assert (both.names, both.labels) == (REGIONS.names, REGIONS.labels)
    np.testing.assert_allclose(both.probabilities_NK[:, 0], [0.15, 0.25, 0.45, 0.7])


def test_the_difference_is_of_the_labels_and_scans_that_both_have(tmp_path: Path) -> None:
    path = tmp_path / "explanation.json"
    path.write_text(json.dumps(_found()))
    quality = read_quality(path, prompts=PROMPTS, regions=REGIONS)
    assert quality.difference.value == pytest.approx(1 - 0.75)
    first, *verdicts = sentences(quality)
    assert first.startswith("Macro AUROC by region less that with tuned prompts: +0.250 (")
    assert first.endswith("Maps on 1,200 volumes of split dev:")
    assert verdicts == ["<verdict>"]
    worse = replace(REGIONS, probabilities_NK=1 - REGIONS.probabilities_NK)
    assert sentences(read_quality(path, prompts=PROMPTS, regions=worse))[0].split(": ")[1].startswith("-0.750")


def test_the_section_shows_each_map_with_its_scores_and_escapes_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "explanation.json"
    path.write_text(json.dumps(_found()))
    quality = read_quality(path, prompts=PROMPTS, regions=REGIONS)
    content = "".join(section(quality, [MapPicture(label="<label>", picture=b"png")]))
    assert "<td>regions</td><td>0.800 (0.700 to 0.900)</td>" in content
    assert "<td>&lt;atlas&gt;</td><td>0.600</td>" in content
    assert "&lt;verdict&gt;" in content
    assert "&lt;label&gt;" in content


def test_another_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"found": {}}))
    with pytest.raises(MetadataError, match="is no evaluation of maps"):
        read_quality(path, prompts=PROMPTS, regions=REGIONS)
