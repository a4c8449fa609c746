from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from thoracle.cohort.vqa.attributes import FindingAttributes
from thoracle.errors import InputError
from thoracle.evaluation.explanation.phantom_truth import read_severity, read_truth, require_same_phantoms
from thoracle.phantom.cohort import write_cohort
from thoracle.types import ABNORMALITIES


def test_truth_of_phantoms_is_read_by_volume(tmp_path: Path) -> None:
    assert read_truth(tmp_path) == {}
    write_cohort(tmp_path / "phantoms", cases=4, seed=3, workers=1)
    truth = read_truth(tmp_path / "phantoms")
    documents = [json.loads(path.read_text()) for path in (tmp_path / "phantoms" / "truth").iterdir()]
    scans = {row["VolumeName"]: scan for document in documents for scan in document["scans"] for row in scan["volumes"]}
    assert set(truth) == set(scans)
    for volume, findings in truth.items():
        assert set(findings) == {name for name in ABNORMALITIES if scans[volume]["labels"][name]}
    sides = {attributes.side for findings in truth.values() for attributes in findings.values()}
    assert sides <= {None, "right", "left", "both"}
    assert "both" in sides
    severity = read_severity(tmp_path / "phantoms")
    assert severity == {name: {finding["abnormality"]: finding["severity"] for finding in scan["findings"]} for name, scan in scans.items()}
    assert {word for words in severity.values() for word in words.values()} <= {"mild", "moderate", "severe"}


def test_phantoms_of_another_seed_are_refused_whose_volumes_have_the_same_names(tmp_path: Path) -> None:
    folders = [tmp_path / "three", tmp_path / "four"]
    for folder, seed in zip(folders, (3, 4), strict=True):
        write_cohort(folder, cases=6, seed=seed, workers=1)
    theirs, others = map(read_truth, folders)
    assert set(theirs) & set(others)
    entries = [SimpleNamespace(volume=volume, labels=[int(name in truth) for name in ABNORMALITIES]) for volume, truth in theirs.items()]
    require_same_phantoms(entries, theirs)
    require_same_phantoms(entries, {})
    with pytest.raises(InputError, match="absent by the cohort's labels") as refused:
        require_same_phantoms(entries, others)
    assert refused.value.hint == "Give the phantoms that the cohort was prepared from."
    unknown = [SimpleNamespace(volume=entry.volume, labels=[None] * len(ABNORMALITIES)) for entry in entries]
    require_same_phantoms(unknown, others)


def test_a_finding_without_severity_is_refused_and_a_folder_without_phantoms(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no truth/"):
        read_severity(tmp_path)
    (tmp_path / "truth").mkdir()
    document = {"scans": [{"volumes": [{"VolumeName": "a.nii.gz"}], "findings": [{"abnormality": "Emphysema"}]}]}
    (tmp_path / "truth" / "a.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="no phantom's truth"):
        read_severity(tmp_path)


@pytest.mark.parametrize(
    "finding",
    [
        {"abnormality": "Gout", "side": None, "lobes": []},
        {"abnormality": "Emphysema", "side": "middle", "lobes": []},
        {"abnormality": "Emphysema", "side": None, "lobes": ["upper"]},
        {"abnormality": "Emphysema"},
    ],
)
def test_damaged_truth_is_refused(finding: dict, tmp_path: Path) -> None:
    document = {"scans": [{"volumes": [{"VolumeName": "a.nii.gz"}], "findings": [finding]}]}
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "a.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="no phantom's truth"):
        read_truth(tmp_path)


def test_sides_and_lobes_are_as_written(tmp_path: Path) -> None:
    findings = [
        {"abnormality": "Consolidation", "side": "left", "lobes": ["left lower lobe"]},
        {"abnormality": "Emphysema", "side": "bilateral", "lobes": []},
    ]
    document = {"scans": [{"volumes": [{"VolumeName": "a.nii.gz"}, {"VolumeName": "b.nii.gz"}], "findings": findings}]}
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "a.json").write_text(json.dumps(document))
    expected = {"Consolidation": FindingAttributes(side="left", lobes=("left lower lobe",)), "Emphysema": FindingAttributes(side="both")}
    assert read_truth(tmp_path) == {"a.nii.gz": expected, "b.nii.gz": expected}
