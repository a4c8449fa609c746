"""Lists of volumes: what `thoracle search --all --csv` writes, and what commands on a cohort take as `--only`."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from thoracle.errors import InputError, MetadataError
from thoracle.files.atomic import write_atomic
from thoracle.files.listed_names import column_key, normalized_name
from thoracle.files.table import UTF_8, TextTable
from thoracle.text_safety import spreadsheet_safe

#: Columns of a list that is written; one that is read needs the first, which may be called VolumeName.
COLUMNS: Final = ("volume", "scan", "accession", "patient", "split", "source_sha256")
_NAMES: Final = (column_key("volume"), column_key("VolumeName"))
_HASH: Final = column_key("source_sha256")
_SUFFIXES: Final = (".nii.gz", ".nii")

Volume = TypeVar("Volume")


@dataclass(frozen=True, kw_only=True)
class VolumeIdentity:
    """Identify a volume.

    Attributes:
        names: what it is called: by its archive, or by a pseudonym.
        source_sha256: of its bytes, "" where nobody has read them.
    """

    names: tuple[str, ...]
    source_sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class VolumeList:
    """Hold the volumes that a table lists, by name and, where it has one, hash of the scan's bytes."""

    path: Path
    volumes: tuple[tuple[str, str], ...]

    def select(self, volumes: Sequence[Volume], *, identity: Callable[[Volume], VolumeIdentity]) -> tuple[list[Volume], int]:
        """Select the volumes that are listed, and count the listed that are not there.

        A listed volume is the one of its name, unless both have a hash and these differ. Where no name fits it is each one of its hash:
        the list may have pseudonyms where the volumes have real names.

        Raises:
            InputError: none of the listed is there.
        """
        by_name: dict[str, list[int]] = defaultdict(list)
        by_hash: dict[str, list[int]] = defaultdict(list)
        identities = [identity(volume) for volume in volumes]
        for position, named in enumerate(identities):
            for name in {_key(name) for name in named.names}:
                by_name[name].append(position)
            by_hash[named.source_sha256].append(position)
        chosen, absent = set[int](), 0
        for name, digest in self.volumes:
            same_name = by_name.get(_key(name), []) if name else []
            positions = [n for n in same_name if not digest or identities[n].source_sha256 in ("", digest)]
            positions = positions or (by_hash.get(digest, []) if digest else [])
            chosen.update(positions)
            absent += not positions
        if not chosen:
            detail = f"lists {len(self.volumes):,} volumes, and none of them is here"
            raise InputError(detail, hint="Give the list of this cohort or archive.", source=self.path)
        return [volumes[position] for position in sorted(chosen)], absent

    def summary(self, selected: int, absent: int) -> str:
        """Say how many volumes a list comes to."""
        missing = f"; {absent:,} of the {len(self.volumes):,} listed are not here" if absent else ""
        return f"{selected:,} volumes are listed in {self.path.name}{missing}."


def read_volume_list(path: Path, *, encoding: str = UTF_8) -> VolumeList:
    """Read a list: a table with a column `volume` or `VolumeName`, and `source_sha256` if it has one.

    Raises:
        InputError: no such file, or nothing is listed.
        MetadataError: not such a table, or a row names no volume.
    """
    if not path.is_file():
        raise InputError("no such file", hint="Give a list as `thoracle search --all --csv` writes it.", source=path)
    table = TextTable(path=path, encoding=encoding)
    columns = {column_key(column): column for column in table.columns}
    name = next((columns[key] for key in _NAMES if key in columns), None)
    if name is None:
        detail = f"has no column volume or VolumeName; its columns are {', '.join(table.columns)[:200] or 'none'}"
        raise MetadataError(detail, hint="Give a list as `thoracle search --all --csv` writes it.", source=path)
    digest = columns.get(_HASH)
    volumes = dict[tuple[str, str], None]()
    for row in table.rows(columns=[column for column in (name, digest) if column]):
        volume = (normalized_name(row.cells.get(name, "")), row.cells.get(digest, "").strip().lower() if digest else "")
        if volume == ("", ""):
            raise MetadataError(f"line {row.line} names no volume", hint="Name it, or leave the line out.", source=path)
        volumes[volume] = None
    if not volumes:
        raise InputError("lists no volume", hint="Search again: --count says how many match.", source=path)
    return VolumeList(path=path, volumes=tuple(volumes))


def write_volume_list(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write rows of `COLUMNS` as CSV, whole, for its owner alone. No spreadsheet runs a cell, and reading takes the names back."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)  # its own line end, "\r\n": with another, a lone "\r" in a cell stays unquoted
    writer.writerow(COLUMNS)
    writer.writerows([spreadsheet_safe(cell) for cell in row] for row in rows)
    write_atomic(path, text.getvalue().encode("utf-8", "replace"), private=True)


def _key(name: str) -> str:
    """A name without the endings that some tables leave out."""
    named = normalized_name(name)
    suffix = next((suffix for suffix in _SUFFIXES if named.endswith(suffix)), "")
    return named.removesuffix(suffix)
