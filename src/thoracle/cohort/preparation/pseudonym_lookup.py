"""Tell the site that holds the key which scan a pseudonym is: it names the archive's scans again, and no file maps one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thoracle.cohort.manifest import Cohort
from thoracle.cohort.prepare import LAYOUTS
from thoracle.cohort.pseudonyms import SiteKey
from thoracle.cohort.sources import VolumeSource
from thoracle.errors import InputError


@dataclass(frozen=True, kw_only=True)
class IdentifiedVolume:
    """Hold a volume under its own names and under its pseudonyms."""

    source: VolumeSource
    pseudonyms: VolumeSource


def identify(cohort: Cohort, src: Path, name: str, *, key: SiteKey) -> list[IdentifiedVolume]:
    """List the volumes of an archive that a name means.

    Args:
        cohort: prepared of the archive; a volume that it refused has a pseudonym too.
        src: the archive.
        name: a pseudonym of a patient, scan, volume or accession number; or one of these themselves, or a path.
        key: the site's.

    Raises:
        InputError: the cohort's names are no pseudonyms, or another key's; there is no such folder, or no volume of this name in it.
    """
    if cohort.site_key_fingerprint is None:
        raise InputError("its names are no pseudonyms", hint="Look for them in the archive.", source=cohort.folder)
    if key.fingerprint != cohort.site_key_fingerprint:
        raise InputError("the key is not the one that its pseudonyms were made with", hint="Give that one.", source=cohort.folder)
    if not src.is_dir():
        raise InputError("no such folder", hint="Give the archive that the cohort was prepared of.", source=src)
    volumes = (IdentifiedVolume(source=source, pseudonyms=key.pseudonymize(source)) for source in LAYOUTS[cohort.layout](src).sources)
    matches = [
        volume for volume in volumes if name in _names(volume.source) | _names(volume.pseudonyms) or _holds(volume.source, src, name)
    ]
    if not matches:
        hint = "Give the archive that the cohort was prepared of; a scan may be gone from it."
        raise InputError(f"no volume in it has this name or pseudonym: {name:.80}", hint=hint, source=src)
    return matches


def _names(source: VolumeSource) -> set[str]:
    return {name for name in (source.volume, source.scan, source.patient, source.accession) if name}


def _holds(source: VolumeSource, src: Path, name: str) -> bool:
    paths = {path.absolute() for path in (source.path, *source.files)}
    return bool(name) and not paths.isdisjoint({Path(name).absolute(), (src / name).absolute()})
