"""Read on which side, in which lobes and how severe phantoms have their findings, as `thoracle phantom` wrote it beside the masks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.vqa.attributes import LOBES, FindingAttributes
from thoracle.errors import InputError
from thoracle.files.json_file import read_json_object
from thoracle.types import ABNORMALITIES

_SIDES: Final = {"right": "right", "left": "left", "bilateral": "both"}
_BUDGET: Final = 1 << 24

#: Attributes of each finding, by volume and name.
Truth = Mapping[str, Mapping[str, FindingAttributes]]
_Value = TypeVar("_Value")


def read_truth(folder: Path) -> Truth:
    """Read FOLDER/truth/*.json; empty where there is none.

    Raises:
        InputError: a file is damaged.
    """
    return _read(folder, _findings)


def read_severity(folder: Path) -> Mapping[str, Mapping[str, str]]:
    """Read how severe each finding is, by volume and name; raises InputError where a file is damaged, or there is none."""
    severity = _read(folder, lambda documents: {str(document["abnormality"]): str(document["severity"]) for document in documents})
    if not severity:
        raise InputError("holds no truth/ with facts of phantoms", hint="Give what `thoracle phantom` wrote.", source=folder)
    return severity


def require_same_phantoms(entries: Sequence[CohortEntry], findings: Mapping[str, Collection[str]]) -> None:
    """Raise InputError where a cohort's labels deny most of the findings that phantoms have, by volume: those of all seeds share names."""
    stated = [
        entry.labels[ABNORMALITIES.index(name)] for entry in entries for name in findings.get(entry.volume, ()) if name in ABNORMALITIES
    ]
    denied, present = stated.count(False), stated.count(True)
    if denied > present:
        detail = f"{denied:,} findings that the phantoms have are absent by the cohort's labels, {present:,} are present"
        raise InputError(detail, hint="Give the phantoms that the cohort was prepared from.", source="phantoms")


def _read(folder: Path, parse: Callable[[list[dict[str, Any]]], _Value]) -> dict[str, _Value]:
    def by_volume(values: dict[str, Any]) -> dict[str, _Value]:
        return {str(row["VolumeName"]): parse(scan["findings"]) for scan in values["scans"] for row in scan["volumes"]}

    truth: dict[str, _Value] = {}
    for path in sorted((folder / "truth").glob("*.json")):
        truth |= read_json_object(
            path, parse=by_volume, refusal=InputError, detail="is no phantom's truth", hint="Make the phantoms again.", budget=_BUDGET
        )
    return truth


def _findings(documents: list[dict[str, Any]]) -> Mapping[str, FindingAttributes]:
    attributes: dict[str, FindingAttributes] = {}
    for document in documents:
        name, lobes = document["abnormality"], tuple(document["lobes"])
        if name not in ABNORMALITIES or name in attributes or not set(lobes) <= set(LOBES):
            raise ValueError(f"finding {str(name)[:40]!r}")
        attributes[name] = FindingAttributes(side=None if document["side"] is None else _SIDES[document["side"]], lobes=lobes)
    return attributes
