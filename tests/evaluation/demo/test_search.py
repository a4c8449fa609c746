"""What the demo's page says of search: times chance, worked by hand, and hits with all that was painted into them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.errors import MetadataError
from thoracle.evaluation.demo.search import HitPicture, SearchQuality, read_found, section, sentences
from thoracle.metrics.bootstrap import Interval

QUALITY = SearchQuality(
    recall=(Interval(value=0.5, low=0.25, high=0.75), 0.1),
    words={"<a>": (0.6, 0.2), "b": (0.4, 0.4), "c": (0.5, 0.25), "d": (0.5, 0.1)},  # 3, 1, 2 and 5 times chance
    scans=1200,
)


def test_a_search_is_told_in_times_of_chance() -> None:
    recall, words = sentences(QUALITY)
    assert recall.startswith("Of 1,200 held-out scans")
    assert "0.500 (0.250 to 0.750): 5.0 times chance, which is 0.100." in recall
    assert "2.5 times as many" in words, "the median of an even number is between two"
    assert "2.0 times as many" in sentences(replace(QUALITY, words={name: QUALITY.words[name] for name in ("<a>", "b", "c")}))[1]


def test_without_an_abnormality_nothing_is_said_of_their_names() -> None:
    assert len(sentences(replace(QUALITY, words={}))) == 1


def test_a_section_has_a_row_for_each_name_and_escapes_what_it_is_given() -> None:
    hits = [HitPicture(slices=b"png", labels=["<x>", "y"]), HitPicture(slices=b"png", labels=[])]
    content = "".join(section(QUALITY, query_text="</p><script>", hits=hits))
    assert "<td>&lt;a&gt;</td><td>0.600</td><td>0.200</td><td>3.0</td>" in content
    assert "“&lt;/p&gt;&lt;script&gt;”" in content
    assert "<script>" not in content
    assert "1. &lt;x&gt;, y" in content
    assert "2. no abnormality" in content


def _document() -> dict:
    return {
        "tasks": {"report to volume": {"figures": {"R@10": {"value": 0.5, "low": 0.25, "high": 0.75}}, "random": {"R@10": 0.1}}},
        "precision@10": {"words to volume": {"a": 0.6, "b": None}},
        "prevalence": {"a": 0.2, "b": 0.0},
        "gallery": {"scans": 12},
    }


def test_what_no_scan_has_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(_document()))
    expected = SearchQuality(recall=QUALITY.recall, words={"a": (0.6, 0.2)}, scans=12)
    assert read_found(tmp_path / "results.json") == expected


@pytest.mark.parametrize("part", ["tasks", "precision@10", "prevalence", "gallery"])
def test_another_file_is_refused(part: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps({name: values for name, values in _document().items() if name != part}))
    with pytest.raises(MetadataError, match="is no evaluation of retrieval"):
        read_found(tmp_path / "results.json")
