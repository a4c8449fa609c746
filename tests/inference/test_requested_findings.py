from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.errors import InputError
from thoracle.inference.requested_findings import Finding, findings_settings, requested_findings, resolve_findings, uncalibrated_note
from thoracle.models.common.prompts import PROMPTS
from thoracle.types import ABNORMALITIES

RIB = Finding(name="Rib fracture", prompts=("A rib is broken.", "All ribs are whole."))


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_names_take_the_models_templates_and_pairs_stand_for_themselves() -> None:
    assert Finding(name="Pneumothorax").texts(PROMPTS) == ["Pneumothorax is present.", "Pneumothorax is not present."]
    assert RIB.texts(PROMPTS) == ["A rib is broken.", "All ribs are whole."]
    own = Finding(name="Mass", prompts=("A {abnormality} is seen.", "No {abnormality} is seen."))
    assert own.texts(PROMPTS) == ["A Mass is seen.", "No Mass is seen."]


def test_nothing_is_requested_where_nothing_is_named() -> None:
    assert requested_findings((), None) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.yaml", "Pneumothorax:\nRib fracture: [A rib is broken., All ribs are whole.]\n"),
        ("f.csv", "name,present,absent\nPneumothorax,,\nRib fracture,A rib is broken.,All ribs are whole.\n"),
        ("f.csv", "name;present;absent\nPneumothorax;;\nRib fracture;A rib is broken.;All ribs are whole.\n"),
        (
            "f.jsonl",
            '{"name": "Pneumothorax", "present": null, "absent": null}\n'
            '{"name": "Rib fracture", "present": "A rib is broken.", "absent": "All ribs are whole."}\n',
        ),
    ],
)
def test_yaml_and_tables_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    requested = requested_findings(["Mass "], _file(tmp_path, name, text))
    assert requested == (Finding(name="Mass"), Finding(name="Pneumothorax"), RIB)


def test_a_list_of_names_is_enough(tmp_path: Path) -> None:
    expected = (Finding(name="Mass"), Finding(name="Pneumothorax"))
    assert requested_findings((), _file(tmp_path, "f.yaml", "- Mass\n- Pneumothorax\n")) == expected
    assert requested_findings((), _file(tmp_path, "f.csv", "name\nMass\nPneumothorax\n")) == expected


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("f.yaml", "a: [", "is not YAML"),
        ("f.yaml", "7", "expected names of findings"),
        ("f.yaml", "Mass: [only]", "the prompts of 'Mass' must be two different texts"),
        ("f.yaml", "Mass: [same, same]", "two different texts"),
        ("f.yaml", "Mass: {present: a}", "two different texts"),
        ("f.yaml", "[]", "0 findings"),
        ("f.yaml", "[Mass, mass]", "'Mass' is empty, is a column of every table, or stands twice"),
        ("f.yaml", "[Mass, Cyst, Mass]", "'Mass' is empty, is a column of every table, or stands twice"),
        ("f.yaml", "Mass: [a, b]\nCyst:\nMass: [c, d]\n", "is not YAML \\('Mass' stands twice"),
        ("f.json", '{"Mass": null, "Mass": ["a", "b"]}', "'Mass' stands twice"),
        ("f.yaml", "No: [a, b]\n", "the name False is no text. Put it in quotes"),
        ("f.yaml", "Cyst:\n~:\n", "the name None is no text"),
        ("f.csv", "name\nVolumeName\n", "'VolumeName' is empty, is a column"),
        ("f.csv", "finding\nMass\n", "expected the columns name"),
        ("f.csv", "name,present\nMass,a\n", "expected the columns name"),
        ("f.csv", "name,present,absent\nMass,a,\n", "two different texts"),
        ("f.tsv", "name\n", "0 findings"),
    ],
)
def test_what_is_no_finding_is_refused(tmp_path: Path, name: str, text: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        requested_findings((), _file(tmp_path, name, text))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        requested_findings((), tmp_path / "no.yaml")


def test_labels_are_the_default_and_any_words_are_for_prompted_models() -> None:
    labels = tuple(Finding(name=name) for name in ABNORMALITIES)
    assert resolve_findings(None, labels=ABNORMALITIES, is_prompted=False) == labels
    assert resolve_findings(["Mass", RIB], labels=ABNORMALITIES, is_prompted=True) == (Finding(name="Mass"), RIB)
    for words in ("Mass", RIB, Finding(name="Emphysema", prompts=("a", "b"))):  # prompts that nobody would read
        with pytest.raises(InputError, match=r"does not know .*, and takes no prompts") as error:
            resolve_findings([words], labels=ABNORMALITIES, is_prompted=False)
        assert "Medical material, Arterial wall calcification" in str(error.value)
    for nothing in ((), ("Mass", "Mass")):
        with pytest.raises(InputError, match="named, each once"):
            resolve_findings(nothing, labels=ABNORMALITIES, is_prompted=True)


def test_settings_and_note_say_what_nobody_calibrated() -> None:
    findings = (Finding(name="Emphysema"), RIB, Finding(name="Mosaic attenuation pattern", prompts=("a", "b")))
    settings = findings_settings(findings, labels=ABNORMALITIES, templates=PROMPTS)
    assert settings == {
        "labels": ["Emphysema", "Rib fracture", "Mosaic attenuation pattern"],
        "prompts": list(PROMPTS),
        "findings": [
            {"name": "Rib fracture", "prompts": ("A rib is broken.", "All ribs are whole."), "calibrated": False},
            {"name": "Mosaic attenuation pattern", "prompts": ("a", "b"), "calibrated": False},
        ],
    }
    note = uncalibrated_note(findings, labels=ABNORMALITIES)
    assert "Not calibrated" in note
    assert "Rib fracture, Mosaic attenuation pattern" in note
    assert "Emphysema" not in note
    assert uncalibrated_note(findings[:1], labels=ABNORMALITIES) == ""
    assert "findings" not in findings_settings(findings[:1], labels=ABNORMALITIES, templates=PROMPTS)
