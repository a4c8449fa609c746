"""Keep a scan that was read in a folder of its own: voxels that can be mapped into memory, and what the reader knows of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from thoracle.ct.volume import HeaderTags, Provenance, Volume
from thoracle.errors import NotReady
from thoracle.files.json_file import load_json, write_json

VOXELS: Final = "volume.npy"
_FACTS: Final = "volume.json"
_BUDGET: Final = 1 << 24


def save_volume(folder: Path, volume: Volume) -> None:
    """Write a volume, axial slices one after the other.

    Raises:
        OSError: it cannot be written.
    """
    np.save(folder / VOXELS, np.asfortranarray(volume.array))
    facts = {
        "shape": list(volume.array.shape),
        "spacing": list(volume.spacing),
        "affine": volume.affine.tolist(),
        "provenance": asdict(volume.provenance),
        "tags": asdict(volume.tags),
        "hu_range": [float(volume.array.min()), float(volume.array.max())],
    }
    write_json(folder / _FACTS, facts, private=True)


def load_volume(folder: Path) -> Volume:
    """Read a volume that `save_volume` wrote; its voxels are mapped, and equal those that were read.

    Raises:
        NotReady: there is none any more.
    """
    try:
        facts = volume_facts(folder)
        array: Any = np.load(folder / VOXELS, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise NotReady("the scan is not there any more", hint="Open it again.") from error
    x, y, z = facts["spacing"]
    return Volume(
        array=array,
        spacing=(x, y, z),
        affine=np.array(facts["affine"]),
        provenance=msgspec.convert(facts["provenance"], Provenance),
        tags=msgspec.convert(facts["tags"], HeaderTags),
    )


def volume_facts(folder: Path) -> dict[str, Any]:
    """Read what is known of a volume: spacing, affine, provenance, tags and hu_range.

    Raises:
        OSError: there is none.
    """
    facts: dict[str, Any] = load_json(folder / _FACTS, budget=_BUDGET)
    return facts
