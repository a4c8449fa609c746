"""Look up records by what a person calls a scan or a patient, real names too where the site's key is at hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from thoracle.cohort.pseudonyms import SiteKey, default_key_file
from thoracle.errors import InputError
from thoracle.search.backend import IndexBackend
from thoracle.search.record import Filters


def site_key_for(index: IndexBackend, path: Path | None, *, outside: Path) -> SiteKey | None:
    """Find the key that an index's pseudonyms were made with, where it is at hand.

    Args:
        index: its settings hold the key's fingerprint, or None.
        path: the key file; by default the user's own.
        outside: the index's folder, which must not hold the key.

    Raises:
        InputError: the file given is absent, no key, or another one.
    """
    fingerprint, file = index.settings.get("key"), path or default_key_file()
    if fingerprint is None or not (path or file.exists()):
        return None
    if not file.exists():
        raise InputError("no such file", hint="Check the path.", source=file)
    key = SiteKey.open(file, outside=outside)
    if key.fingerprint == fingerprint:
        return key
    if path is not None:
        raise InputError("is not the key that this index's pseudonyms were made with", hint="Give that one.", source=file)
    return None


def find_scan(index: IndexBackend, name: str, *, key: SiteKey | None = None) -> list[int]:
    """List the volumes of one scan, by accession, scan or volume.

    Raises:
        InputError: the name is empty, there is none, or several scans are called so.
    """
    _require_name(name)
    lookups = [partial(index.ids_where, accession=name), partial(index.ids_where, scan=name), partial(index.ids_where, volume=name)]
    if key is not None:
        scan, volume = key.endings(name)
        lookups += [partial(index.ids_where, accession=key.accession(name))]
        lookups += [partial(index.ids_ending, scan=scan), partial(index.ids_ending, volume=volume)]
    matches = next((numbers for lookup in lookups if (numbers := lookup())), [])
    scans = {record.scan for record in index.records(matches).values()}
    if len(scans) == 1:
        return index.ids_where(scan=scans.pop())
    if scans:
        raise InputError(f"{len(scans)} scans have the accession {name!r:.60}", hint="Name the scan or a volume.")
    raise InputError(f"no scan {name!r:.60} in the index", hint=_hint(index, key))


def find_patient(index: IndexBackend, name: str, *, key: SiteKey | None = None) -> list[int]:
    """List the volumes of one patient.

    Raises:
        InputError: the name is empty, or there is none.
    """
    _require_name(name)
    matches = index.ids_where(patient=name) or (index.ids_where(patient=key.patient(name)) if key is not None else [])
    if not matches:
        raise InputError(f"no patient {name!r:.60} in the index", hint=_hint(index, key))
    return matches


def _require_name(name: str) -> None:
    """Refuse what names nobody, though records without a name may be there."""
    if not name.strip():
        raise InputError("an empty name is nobody's", hint="Give the name of a scan or patient.")


def _hint(index: IndexBackend, key: SiteKey | None) -> str:
    hidden = index.settings.get("key") is not None and key is None
    return "Its names are pseudonyms; for real ones give the site's key (--site-key)." if hidden else "Check the name."


def require_scored(index: IndexBackend, filters: Filters) -> None:
    """Raise InputError where filters ask for a finding that no record has a probability of: that nothing passes would say nothing of it."""
    for name, _ in filters.scored:
        if not index.matching_records(None, filters=Filters(scored=((name, 0.0),))):
            hint = "Write it as it was asked for, or ask for it: thoracle index COHORT --out INDEX --finding NAME."
            raise InputError(f"nothing in the index has a probability of {name!r:.60}", hint=hint)
