"""Read on which side and in which lobes phantoms have their findings, as `thoracle phantom` wrote it beside the masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from thoracle.cohort.vqa.attributes import LOBES, FindingAttributes
from thoracle.errors import InputError
from thoracle.files.json_file import read_json_object
from thoracle.types import ABNORMALITIES

_SIDES: Final = {"right": "right", "left": "left", "bilateral": "both"}
_BUDGET: Final = 1 << 24

#: Attributes of each finding, by volume and name.
Truth = Mapping[str, Mapping[str, FindingAttributes]]


def read_truth(folder: Path) -> Truth:
    """Read FOLDER/truth/*.json; empty where there is none.

    Raises:
        InputError: a file is damaged.
    """
    hint = "Make the phantoms again."
    truth: dict[str, Mapping[str, FindingAttributes]] = {}
    for path in sorted((folder / "truth").glob("*.json")):
        truth |= read_json_object(path, parse=_parse, refusal=InputError, detail="is no phantom's truth", hint=hint, budget=_BUDGET)
    return truth


def _parse(values: dict[str, Any]) -> dict[str, Mapping[str, FindingAttributes]]:
    return {str(row["VolumeName"]): _findings(scan["findings"]) for scan in values["scans"] for row in scan["volumes"]}


def _findings(documents: list[dict[str, Any]]) -> Mapping[str, FindingAttributes]:
    attributes: dict[str, FindingAttributes] = {}
    for document in documents:
        name, lobes = document["abnormality"], tuple(document["lobes"])
        if name not in ABNORMALITIES or name in attributes or not set(lobes) <= set(LOBES):
            raise ValueError(f"finding {str(name)[:40]!r}")
        attributes[name] = FindingAttributes(side=None if document["side"] is None else _SIDES[document["side"]], lobes=lobes)
    return attributes
