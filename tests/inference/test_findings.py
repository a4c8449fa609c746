from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.ct.volume import HounsfieldSource, Provenance
from thoracle.inference.findings import Findings

_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float), "null": type(None)}


def faults(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """What of `value` the schema forbids: the keywords that findings.schema.json uses, an unknown one is a fault."""
    known = {"$schema", "title", "description", "type", "properties", "required", "additionalProperties", "items", "const", "enum"}
    found = [f"{at}: unknown keyword {word}" for word in set(schema) - known - {"pattern", "minimum", "maximum"}]
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(isinstance(value, _TYPES[kind]) and not (kind == "number" and isinstance(value, bool)) for kind in kinds):
            return [*found, f"{at}: {type(value).__name__} is not {kinds}"]
    if value != schema.get("const", value) or value not in schema.get("enum", [value]):
        found.append(f"{at}: {value!r}")
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{at}: {value!r} does not match")
    if isinstance(value, float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{at}: {value} is out of range")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{at}: misses {name}" for name in schema.get("required", []) if name not in value]
        if schema.get("additionalProperties") is False:
            found += [f"{at}: has {name}" for name in set(value) - set(properties)]
        found += [fault for name in set(value) & set(properties) for fault in faults(value[name], properties[name], f"{at}.{name}")]
    if isinstance(value, list) and "items" in schema:
        found += [fault for i, item in enumerate(value) for fault in faults(item, schema["items"], f"{at}[{i}]")]
    return found


@pytest.fixture
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(files("thoracle.inference").joinpath("findings.schema.json").read_text("utf-8"))
    return loaded


@pytest.fixture
def findings() -> Findings:
    units = HounsfieldSource(slope=1.0, intercept=0.0, source="stored", evidence="air is at -1000 HU")
    return Findings(
        abnormalities=("Emphysema", "Cardiomegaly"),
        probabilities=(0.25, 1.0),
        model_kind="ct-clip",
        model_sha256="0" * 64,
        trained=False,
        precision="float32",
        preprocess=PreprocessConfig(),
        provenance=Provenance(sha256="f" * 64, format="NIfTI-1", hounsfield=units, geometry="sform"),
        warnings=("not a chest",),
    )


def written(findings: Findings) -> Any:
    return json.loads(json.dumps(findings.as_dict()))


def test_findings_are_written_as_the_schema_says(findings: Findings, schema: dict[str, Any]) -> None:
    assert faults(written(findings), schema) == []


def test_the_schema_forbids_what_it_does_not_name(findings: Findings, schema: dict[str, Any]) -> None:
    for change in (
        {"schema": "thoracle.findings/1"},
        {"path": "/home/me/scan.nii"},
        {"findings": [{"abnormality": "Emphysema", "probability": 1.5}]},
        {"model": {"kind": "ct-clip"}},
        {"notice": ""},
    ):
        assert faults({**written(findings), **change}, schema), change


def test_the_written_form_is_versioned_and_says_what_it_is_for(findings: Findings) -> None:
    values = written(findings)
    assert values["schema"] == "thoracle.findings/3"
    assert values["notice"] == "Research use only. Not a medical device."
    assert values["findings"] == [
        {"abnormality": "Emphysema", "probability": 0.25, "verdict": None, "calibrated": False, "prompts": None},
        {"abnormality": "Cardiomegaly", "probability": 1.0, "verdict": None, "calibrated": False, "prompts": None},
    ]
    assert values["calibration"] is None
    assert values["model"] == {"kind": "ct-clip", "sha256": "0" * 64, "trained": False, "precision": "float32"}
    assert values["warnings"] == ["not a chest"]


def test_a_calibrated_one_follows_the_schema_too(findings: Findings, schema: dict[str, Any]) -> None:
    values = written(replace(findings, verdicts=("cannot tell", None), prompts=(None, ("a", "b")), coverage=0.9))
    assert faults(values, schema) == []
    assert [(one["calibrated"], one["prompts"]) for one in values["findings"]] == [(True, None), (False, ["a", "b"])]
    assert [one["verdict"] for one in values["findings"]] == ["cannot tell", None]
    assert values["calibration"] == {"coverage": 0.9}
