from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.cohort.pseudonyms import SiteKey, default_key_file
from thoracle.cohort.sources import VolumeSource
from thoracle.errors import InputError

_SOURCE = VolumeSource(volume="1.2.3", scan="1.2", patient="MRN 7", path=Path("x"))


def test_a_pseudonym_is_the_same_for_the_same_key_and_tells_nothing_without_it(tmp_path: Path) -> None:
    key = SiteKey.open(tmp_path / "a.key", outside=tmp_path / "out")
    again = SiteKey.open(tmp_path / "a.key", outside=tmp_path / "out")
    other = SiteKey.open(tmp_path / "b.key", outside=tmp_path / "out")
    one = key.pseudonymize(_SOURCE)
    assert one == again.pseudonymize(_SOURCE)
    assert (one.patient, one.scan, one.volume) != tuple(
        getattr(other.pseudonymize(_SOURCE), name) for name in ("patient", "scan", "volume")
    )
    assert (key.fingerprint == again.fingerprint, key.fingerprint == other.fingerprint) == (True, False)
    assert key.pseudonymize(replace(_SOURCE, volume="1.2.4")).scan == one.scan
    assert one.scan.endswith(key.endings("1.2")[0])
    assert one.volume.endswith(key.endings("1.2.3")[1])
    assert key.pseudonymize(replace(_SOURCE, accession="A7")).accession == key.accession("A7")
    assert one.accession == one.scan
    assert one.patient == key.patient("MRN 7")
    assert key.secret.hex() not in repr(key)


def test_the_key_is_never_in_the_cohort_and_nothing_else_is_a_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in the cohort's folder"):
        SiteKey.open(tmp_path / "out" / "keys" / "a.key", outside=tmp_path / "out")
    (tmp_path / "a.key").write_text("secret")
    with pytest.raises(InputError, match="not a site key"):
        SiteKey.open(tmp_path / "a.key", outside=tmp_path / "out")


def test_where_the_key_is_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_key_file() == tmp_path / "thoracle" / "site.key"
    monkeypatch.setenv("THORACLE_SITE_KEY", str(tmp_path / "k"))
    assert default_key_file() == tmp_path / "k"
