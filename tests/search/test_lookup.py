"""Scans and patients by what people call them, under pseudonyms too; a name never means more than it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from thoracle.cohort.pseudonyms import SiteKey
from thoracle.cohort.sources import VolumeSource
from thoracle.errors import InputError
from thoracle.search.backend import IndexBackend
from thoracle.search.local.index import LocalIndex
from thoracle.search.lookup import find_patient, find_scan, require_scored, site_key_for
from thoracle.search.open_index import open_index_for_writing
from thoracle.search.record import Filters

KEY = SiteKey(secret=bytes(range(32)))
#: Volume, scan, accession and patient; ACC1 is of two scans, as where a hospital counts anew.
NAMES = [
    ("V1", "S1", "ACC0", "PAT1"),
    ("V2", "S1", "ACC0", "PAT1"),
    ("V3", "S2", "ACC1", "PAT1"),
    ("V4", "S3", "ACC1", "PAT2"),
]


@pytest.fixture
def opened(settings: dict[str, Any], make) -> Iterator[Callable[..., IndexBackend]]:
    """Open an index of `NAMES` at a location, under pseudonyms where there is a key."""
    with ExitStack() as stack:

        def opened(location: str, key: SiteKey | None = None) -> IndexBackend:
            chosen = {**settings, "key": None if key is None else key.fingerprint}
            index = stack.enter_context(open_index_for_writing(location, chosen))
            for number, (volume, scan, accession, patient) in enumerate(NAMES):
                source = VolumeSource(volume=volume, scan=scan, accession=accession, patient=patient, path=Path())
                named = source if key is None else key.pseudonymize(source)
                names = {name: getattr(named, name) for name in ("volume", "scan", "accession", "patient")}
                index.add([make(number, **names)])
            return index

        yield opened


@pytest.fixture(params=["real", "pseudonyms", "pseudonyms on a server"])
def index(request: pytest.FixtureRequest, opened: Callable[..., IndexBackend], tmp_path: Path) -> IndexBackend:
    if "server" in request.param:
        pytest.importorskip("qdrant_client")
        return opened(f"qdrant:{tmp_path}/server/cases", KEY)
    return opened(str(tmp_path / "index"), None if request.param == "real" else KEY)


def _key(index: IndexBackend) -> SiteKey | None:
    return KEY if index.settings["key"] else None


def test_a_scan_is_found_by_each_of_its_names_with_all_its_volumes(index: IndexBackend, make) -> None:
    reports = {make(number).record.source_sha256 for number in (0, 1)}
    for name in ("ACC0", "S1", "V1", "V2"):
        numbers = find_scan(index, name, key=_key(index))
        assert {record.source_sha256 for record in index.records(numbers).values()} == reports, name
    for name in ("S3", "V4"):
        assert len(find_scan(index, name, key=_key(index))) == 1


def test_a_patient_is_found_with_all_volumes(index: IndexBackend) -> None:
    assert len(find_patient(index, "PAT1", key=_key(index))) == 3
    assert len(find_patient(index, "PAT2", key=_key(index))) == 1


def test_pseudonyms_are_names_with_and_without_the_key(opened: Callable[..., IndexBackend], tmp_path: Path) -> None:
    index = opened(str(tmp_path / "index"), KEY)
    scan = find_scan(index, "S1", key=KEY)
    record = index.records(scan)[scan[0]]
    for key in (None, KEY):
        for name in (record.accession, record.scan, record.volume):
            assert find_scan(index, name, key=key) == scan
        assert find_patient(index, record.patient, key=key) == find_patient(index, "PAT1", key=KEY)


def test_several_scans_of_one_accession_are_said_and_none_is_chosen(index: IndexBackend) -> None:
    with pytest.raises(InputError, match=r"2 scans have the accession 'ACC1'.*Name the scan or a volume"):
        find_scan(index, "ACC1", key=_key(index))


@pytest.mark.parametrize("name", ["S9", "*", "*1", "*S1", "acc0", "ACC0 "])
def test_a_name_that_is_nobodys_finds_nothing(index: IndexBackend, name: str) -> None:
    with pytest.raises(InputError, match=r"no scan '.*' in the index.*Check the name"):
        find_scan(index, name, key=_key(index))
    with pytest.raises(InputError, match=r"no patient '.*' in the index.*Check the name"):
        find_patient(index, name, key=_key(index))


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_an_empty_name_is_nobodys(index: IndexBackend, make, name: str) -> None:
    index.add([make(9, patient="", accession="")])
    for find in (find_scan, find_patient):
        with pytest.raises(InputError, match="an empty name is nobody's"):
            find(index, name, key=_key(index))


def test_a_star_in_a_name_is_a_letter_of_it(index: IndexBackend, make) -> None:
    index.add([make(9, patient="*1", scan="*S1", accession="*CC0", volume="*V1")])
    for find, name in ((find_patient, "*1"), (find_scan, "*CC0"), (find_scan, "*S1"), (find_scan, "*V1")):
        assert find(index, name, key=_key(index)) == index.ids_where(patient="*1"), name


def test_without_the_key_a_real_name_is_not_found_and_the_key_is_asked_for(opened: Callable[..., IndexBackend], tmp_path: Path) -> None:
    index = opened(str(tmp_path / "index"), KEY)
    for find, name in ((find_scan, "ACC0"), (find_patient, "PAT1")):
        with pytest.raises(InputError, match=r"Its names are pseudonyms; for real ones give the site's key \(--site-key\)"):
            find(index, name)


# The key


@pytest.fixture
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own key file, which holds `KEY`."""
    path = tmp_path / "own" / "site.key"
    path.parent.mkdir()
    path.write_text(KEY.secret.hex())
    monkeypatch.setenv("THORACLE_SITE_KEY", str(path))
    return path


def test_the_users_own_key_is_taken_where_it_is_that_of_the_index(
    opened: Callable[..., IndexBackend], own_key: Path, tmp_path: Path
) -> None:
    index, folder = opened(str(tmp_path / "index"), KEY), tmp_path / "index"
    assert site_key_for(index, None, outside=folder) == KEY
    own_key.write_text("ab" * 32)
    assert site_key_for(index, None, outside=folder) is None, "another's is no fault where nobody named it"
    own_key.unlink()
    assert site_key_for(index, None, outside=folder) is None
    assert not own_key.exists(), "looking up makes no key"


def test_real_names_need_no_key(index: IndexBackend, own_key: Path, tmp_path: Path) -> None:
    if index.settings["key"] is None:
        assert site_key_for(index, None, outside=tmp_path / "index") is None
    else:
        assert site_key_for(index, own_key, outside=tmp_path / "index") == KEY


def test_a_key_that_was_named_must_be_there_and_the_right_one(opened: Callable[..., IndexBackend], tmp_path: Path) -> None:
    index, folder = opened(str(tmp_path / "index"), KEY), tmp_path / "index"
    file = tmp_path / "named.key"
    with pytest.raises(InputError, match="no such file") as error:
        site_key_for(index, file, outside=folder)
    assert (error.value.source, file.exists()) == (str(file), False)
    file.write_text("ab" * 32)
    with pytest.raises(InputError, match=r"is not the key that this index's pseudonyms were made with"):
        site_key_for(index, file, outside=folder)
    file.write_text("not a key")
    with pytest.raises(InputError, match="is not a site key"):
        site_key_for(index, file, outside=folder)
    (folder / "site.key").write_text(KEY.secret.hex())
    with pytest.raises(InputError, match="lies in the cohort's folder"):
        site_key_for(index, folder / "site.key", outside=folder)
    assert isinstance(index, LocalIndex)


def test_a_finding_that_nobody_asked_for_is_said_to_be_none(index: IndexBackend, make) -> None:
    index.add([make(9, volume="V9", scores=(("Rib fracture", 0.0), ("Ölflecken=2", 0.25)))])
    require_scored(index, Filters())
    require_scored(index, Filters(scored=(("Rib fracture", 0.9), ("Ölflecken=2", 1.0))))
    for name in ("rib fracture", "Rib", "Mass"):
        with pytest.raises(InputError, match=f"nothing in the index has a probability of '{name}'"):
            require_scored(index, Filters(scored=(("Rib fracture", 0.1), (name, 0.1))))
