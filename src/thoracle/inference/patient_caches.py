"""Find what the caches of chat and prompts hold of a scan or a report, by hashes of content, and remove it.

A file of a scan's tokens begins with the hashes of the scan's file and of its voxels; a file of prompts lists the hashes of its texts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open

from thoracle.files.cache_folder import cache_dir
from thoracle.inference.demo.locations import demo_model
from thoracle.inference.model_locations import known_folders

#: The key of a prompt cache's metadata under which the hashes of its texts stand, with blanks between them.
TEXTS: Final = "texts"
_HASH: Final = 16  # characters of a hash in a file's name
_NAME: Final = re.compile(rf"([0-9a-fx]{{{_HASH}}})-([0-9a-f]{{{_HASH}}})-[0-9a-f]+\.safetensors")


def scan_origin(*, source_sha256: str, voxels_sha256: str) -> str:
    """Return what the names of a scan's cached files begin with.

    Args:
        source_sha256: of the file or series that was read; "" where it is not known.
        voxels_sha256: of the voxels as a cohort packs them.
    """
    return f"{source_sha256[:_HASH]:x<{_HASH}}-{voxels_sha256[:_HASH]}"


def text_hash(text: str) -> str:
    """Hash a text, whatever its case and blanks."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode("utf-8", "replace")).hexdigest()


def cached_scan_files(hashes: Collection[str]) -> list[Path]:
    """List cached tokens of scans whose file or voxels have one of these hashes.

    Files of before names said so belong to nobody who can be told, and are listed too.
    """
    beginnings = {value[:_HASH] for value in hashes if value}
    paths = []
    for path in sorted(cache_dir().glob("codes-*/*.safetensors")):
        match = _NAME.fullmatch(path.name)
        if match is None or beginnings.intersection(match.groups()):
            paths.append(path)
    return paths


def cached_prompt_files(texts: Iterable[str]) -> list[Path]:
    """List cached latents of prompts that one of these texts was made into, in the user's cache and beside the models of this machine."""
    hashes = {text_hash(text) for text in texts if text.strip()}
    folders = {folder.resolve(): folder for folder in (cache_dir(), demo_model(), *known_folders())}
    paths = (path for folder in folders.values() for path in sorted(folder.glob("prompt-latents-*.safetensors")))
    return [path for path in paths if hashes.intersection(_hashes_of(path))]


def _hashes_of(path: Path) -> list[str]:
    """None where the file is damaged: it is never read either."""
    try:
        with safe_open(path, framework="np") as file:
            metadata: dict[str, str] = file.metadata() or {}
            return metadata.get(TEXTS, "").split()
    except (OSError, SafetensorError):
        return []
