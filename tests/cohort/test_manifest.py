from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.cohort.listing import UNLABELLED
from thoracle.cohort.manifest import Entry, claim, open_cohort, write_manifest
from thoracle.cohort.reports import Report
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import CohortUnfinished, OutputConflict

_SETTINGS = {"preprocess": PreprocessConfig().as_dict(), "split_seed": 0}
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))


def _entry(findings: str = "", impression: str = "", labels: tuple[int | None, ...] = UNLABELLED) -> Entry:
    report = Report(findings=findings, impression=impression)
    return Entry(
        volume="v", scan="s", patient="p", split="test", source_sha256="a", cache="cache/x", cache_sha256="b", report=report, labels=labels
    )


@given(findings=_TEXT, impression=_TEXT, labels=st.tuples(*[st.sampled_from([0, 1, None])] * 18))
def test_what_is_written_is_read_again(
    findings: str, impression: str, labels: tuple[int | None, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cohort")
    claim(folder, _SETTINGS)
    write_manifest(folder, [_entry(findings, impression, labels)])
    cohort = open_cohort(folder)
    assert cohort.entries == (_entry(findings, impression, labels),)
    assert cohort.preprocess == PreprocessConfig()


def test_only_the_same_settings_continue_a_cohort(tmp_path: Path) -> None:
    claim(tmp_path, _SETTINGS)
    claim(tmp_path, _SETTINGS)
    with pytest.raises(OutputConflict, match="another split_seed"):
        claim(tmp_path, {**_SETTINGS, "split_seed": 1})


@pytest.mark.parametrize("content", ["", "VolumeName,split\n", "\x00", "1\n2\n"])
def test_a_manifest_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    claim(tmp_path, _SETTINGS)
    with pytest.raises(CohortUnfinished):
        open_cohort(tmp_path)
    (tmp_path / "manifest.csv").write_text(content)
    with pytest.raises(OutputConflict):
        open_cohort(tmp_path)


def test_settings_of_another_schema_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cohort.json").write_text("{}")
    (tmp_path / "manifest.csv").write_text("")
    for act in (lambda: open_cohort(tmp_path), lambda: claim(tmp_path, _SETTINGS)):
        with pytest.raises(OutputConflict, match="schema"):
            act()
