from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.manifest import CohortEntry, claim, open_cohort, read_manifest, require_cohort_or_empty, with_dev, write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.sources import UNLABELLED, Split
from thoracle.config_reader import config_to_mapping
from thoracle.ct.chest.input_box import InputBox
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import CohortUnfinished, InputError, OutputConflict

_SETTINGS = {"preprocess": config_to_mapping(PreprocessConfig()), "split_seed": 0}
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))


def _entry(findings: str = "", impression: str = "", labels: tuple[int | None, ...] = UNLABELLED) -> CohortEntry:
    report = Report(findings=findings, impression=impression)
    return CohortEntry(
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


def test_facts_and_the_number_of_the_visit_are_kept(tmp_path: Path) -> None:
    facts = Demographics(age=61, sex="F", date="2019-03", scanner="GE, Revolution")
    entry = replace(_entry("Clear."), accession="A1", facts=facts, visit=2)
    claim(tmp_path, {**_SETTINGS, "layout": "dicom", "site_key": "12345678"})
    write_manifest(tmp_path, [entry])
    cohort = open_cohort(tmp_path)
    assert (cohort.entries, cohort.naming, cohort.site_key_fingerprint) == ((entry,), "pseudonyms", "12345678")
    assert read_manifest(tmp_path) == (entry,)
    assert cohort.layout == "dicom"


def test_the_box_of_the_chest_is_kept_and_a_manifest_of_before_has_none(tmp_path: Path) -> None:
    box = InputBox(low=(-0.05, 0.1, 0.2), high=(0.9, 0.8, 0.75), encloses="lungs", cut=("top",))
    claim(tmp_path, _SETTINGS)
    write_manifest(tmp_path, [replace(_entry(), box=box), replace(_entry(), volume="w")])
    assert [entry.box for entry in read_manifest(tmp_path)] == [box, None]
    rows = [line.rpartition(",")[0] for line in (tmp_path / "manifest.csv").read_text().splitlines()]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    assert [entry.box for entry in read_manifest(tmp_path)] == [None, None]
    (tmp_path / "manifest.csv").write_text("\n".join([f"{rows[0]},chest_box", f"{rows[1]},lungs 1 2 3"]) + "\n")
    with pytest.raises(OutputConflict, match="is not the manifest"):
        read_manifest(tmp_path)


def test_the_foreground_of_a_scan_is_kept_where_a_recipe_crops_to_it(tmp_path: Path) -> None:
    write_manifest(tmp_path, [replace(_entry(), foreground="3:90 0:96 1:80"), replace(_entry(), volume="w", foreground="0:1 0:2 0:3")])
    assert [entry.foreground for entry in read_manifest(tmp_path)] == ["3:90 0:96 1:80", "0:1 0:2 0:3"]
    (tmp_path / "manifest.csv").write_text((tmp_path / "manifest.csv").read_text().replace("3:90", "90:3"))
    with pytest.raises(OutputConflict, match="is not the manifest"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, [_entry()])
    assert "foreground" not in (tmp_path / "manifest.csv").read_text()


@pytest.mark.parametrize(("layout", "names"), [("dicom", "real"), ("folder", "real"), ("ct-rate", "published")])
def test_whose_names_a_cohort_has(layout: str, names: str, tmp_path: Path) -> None:
    claim(tmp_path, {**_SETTINGS, "layout": layout, "site_key": None})
    write_manifest(tmp_path, [])
    assert open_cohort(tmp_path).naming == names


def test_only_the_same_settings_continue_a_cohort(tmp_path: Path) -> None:
    claim(tmp_path, _SETTINGS)
    claim(tmp_path, _SETTINGS)
    with pytest.raises(OutputConflict, match="another split_seed"):
        claim(tmp_path, {**_SETTINGS, "split_seed": 1})


def _patients(count: int, split: Split = "train") -> list[CohortEntry]:
    """Two volumes of each."""
    return [
        replace(_entry(), volume=f"{split}_{n}_{v}", patient=f"{split}_{n}", split=split, cache_sha256=f"{split}{n}{v}")
        for n in range(count)
        for v in "ab"
    ]


def test_split_dev_is_told_from_train_as_a_manifest_is_read_and_is_not_in_it(tmp_path: Path) -> None:
    entries = [*_patients(200), *_patients(20, "valid")]
    claim(tmp_path, {**_SETTINGS, "dev_share": 0.2})
    write_manifest(tmp_path, entries)
    cohort = open_cohort(tmp_path)
    by_patient = {
        patient: {entry.split for entry in cohort.entries if entry.patient == patient} for patient in {e.patient for e in entries}
    }
    assert all(len(splits) == 1 for splits in by_patient.values()), "all volumes of a patient together"
    assert {next(iter(splits)) for patient, splits in by_patient.items() if patient.startswith("valid")} == {"valid"}
    assert sum(splits == {"dev"} for splits in by_patient.values()) == pytest.approx(40, abs=12)
    assert [replace(entry, split="train") if entry.split == "dev" else entry for entry in cohort.entries] == list(read_manifest(tmp_path))
    assert {entry.split for entry in read_manifest(tmp_path)} == {"train", "valid"}


def test_a_cohort_of_before_the_split_has_its_dev_by_the_default_share(tmp_path: Path) -> None:
    claim(tmp_path, _SETTINGS)
    write_manifest(tmp_path, _patients(400))
    settings = json.loads((tmp_path / "cohort.json").read_text())
    assert settings.pop("dev_share") == 0.05
    (tmp_path / "cohort.json").write_text(json.dumps(settings))
    assert {entry.patient for entry in open_cohort(tmp_path).entries if entry.split == "dev"} == {
        entry.patient for entry in with_dev(_patients(400), dev_share=0.05) if entry.split == "dev"
    }
    claim(tmp_path, _SETTINGS)  # is continued
    with pytest.raises(OutputConflict, match="another dev_share"):
        claim(tmp_path, {**_SETTINGS, "dev_share": 0.1})


def test_a_list_of_volumes_leaves_who_is_in_dev(tmp_path: Path) -> None:
    claim(tmp_path, {**_SETTINGS, "dev_share": 0.5})
    write_manifest(tmp_path, _patients(10))
    (tmp_path / "list.csv").write_text("volume\n" + "".join(f"train_{n}_a\n" for n in range(5)))
    chosen = open_cohort(tmp_path, only=tmp_path / "list.csv").entries
    whole = {entry.volume: entry.split for entry in open_cohort(tmp_path).entries}
    assert {entry.volume: entry.split for entry in chosen} == {f"train_{n}_a": whole[f"train_{n}_a"] for n in range(5)}


def test_an_archives_own_split_dev_is_kept_and_none_is_drawn() -> None:
    entries = [*_patients(50), *_patients(3, "dev")]
    assert with_dev(entries, dev_share=0.5) == tuple(entries)


@pytest.mark.parametrize("share", [1, -0.1, "a tenth"])
def test_a_share_that_is_none_is_refused(share: object, tmp_path: Path) -> None:
    claim(tmp_path, {**_SETTINGS, "dev_share": share})
    write_manifest(tmp_path, [])
    with pytest.raises(OutputConflict, match="does not describe a cohort"):
        open_cohort(tmp_path)


@pytest.mark.parametrize("content", ["", "VolumeName,split\n", "\x00", "1\n2\n"])
def test_a_manifest_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    claim(tmp_path, _SETTINGS)
    with pytest.raises(CohortUnfinished):
        open_cohort(tmp_path)
    (tmp_path / "manifest.csv").write_text(content)
    with pytest.raises(OutputConflict):
        open_cohort(tmp_path)


def test_settings_of_another_schema_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cohort.json").write_text('{"schema": "thoracle.cohort/2", "preprocess": {}}')
    (tmp_path / "manifest.csv").write_text("")
    for act in (lambda: open_cohort(tmp_path), lambda: claim(tmp_path, _SETTINGS)):
        with pytest.raises(OutputConflict, match=r"schema thoracle\.cohort/3.*`thoracle prepare`"):
            act()


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    require_cohort_or_empty(tmp_path / "absent")
    (tmp_path / ".lock").write_text("")
    require_cohort_or_empty(tmp_path)
    assert read_manifest(tmp_path) == ()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(OutputConflict, match="holds no cohort"):
        require_cohort_or_empty(tmp_path)
    claim_folder = tmp_path / "cohort"
    claim(claim_folder, _SETTINGS)
    require_cohort_or_empty(claim_folder)


def test_a_list_selects_of_a_cohort_and_says_how_many(tmp_path: Path) -> None:
    claim(tmp_path, _SETTINGS)
    entries = [replace(_entry(), volume=f"v{n}.nii.gz", source_sha256=f"{n}" * 64) for n in range(5)]
    write_manifest(tmp_path, entries)
    (tmp_path / "list.csv").write_text(f"volume,source_sha256\nv3,\nx,{'1' * 64}\nv9,\n")
    cohort = open_cohort(tmp_path, only=tmp_path / "list.csv")
    assert cohort.entries == (entries[1], entries[3])
    assert cohort.selection == "2 volumes are listed in list.csv; 1 of the 3 listed are not here."
    (tmp_path / "none.csv").write_text("volume\nv9\n")
    with pytest.raises(InputError, match="none of them is here"):
        open_cohort(tmp_path, only=tmp_path / "none.csv")
    for nothing in (None, ""):
        assert (len(open_cohort(tmp_path, only=nothing).entries), open_cohort(tmp_path, only=nothing).selection) == (5, "")
