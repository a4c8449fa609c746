from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from thoracle.cohort.journal import Journal, VolumeOutcome
from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.preparation import retention
from thoracle.cohort.preparation.retention import Cache, retained_rows, standing_outcome, sweep
from thoracle.cohort.reports import Report
from thoracle.cohort.sources import UNLABELLED, VolumeSource
from thoracle.cohort.worker import VOXELS_VERSION
from thoracle.errors import NotCT
from thoracle.version import __version__

_CONTENT = b"voxels"
_MADE = VolumeOutcome(
    volume="v",
    stamp="1",
    cache="a/v.vol",
    cache_sha256=sha256(_CONTENT).hexdigest(),
    cache_bytes=len(_CONTENT),
    voxels_version=VOXELS_VERSION,
)
_REFUSED = VolumeOutcome(volume="v", stamp="1", error="GantryTilt", message="why", reader=__version__)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    (tmp_path / "cache" / "a").mkdir(parents=True)
    (tmp_path / "cache" / "a" / "v.vol").write_bytes(_CONTENT)
    return Journal(tmp_path / "journal.jsonl")


def _standing(journal: Journal, tmp_path: Path, stamp: str = "1", **options: object) -> VolumeOutcome | None:
    verify, retry, error = (options.get(name) for name in ("verify", "retry", "error"))
    source = VolumeSource(volume="v", scan="s", patient="p", path=tmp_path, error=error)  # type: ignore[arg-type]
    cache = _verified(journal, tmp_path) if verify else Cache(folder=tmp_path / "cache")
    return standing_outcome(journal, source, stamp, cache=cache, retry=bool(retry))


def _verified(journal: Journal, tmp_path: Path, *entries: CohortEntry) -> Cache:
    return Cache.verified(tmp_path / "cache", journal, entries, progress=lambda count, total: None)


def test_a_cached_volume_stands_while_nothing_changed(journal: Journal, tmp_path: Path) -> None:
    assert _standing(journal, tmp_path) is None
    journal.add([_MADE])
    assert _standing(journal, tmp_path) == _standing(journal, tmp_path, verify=True, retry=True) == _MADE
    assert _standing(journal, tmp_path, stamp="2") is None
    assert _standing(journal, tmp_path, stamp="") is None, "a file that cannot be looked at"
    assert _standing(journal, tmp_path, error=NotCT("is MR", hint="")) is None
    (tmp_path / "cache" / "a" / "v.vol").write_bytes(b"VOXELS")
    assert _standing(journal, tmp_path) == _MADE
    assert _standing(journal, tmp_path, verify=True) is None
    (tmp_path / "cache" / "a" / "v.vol").write_bytes(b"cut")
    assert _standing(journal, tmp_path) is None


def test_a_refusal_stands_unless_its_reason_passes_or_another_try_is_wanted(journal: Journal, tmp_path: Path) -> None:
    journal.add([_REFUSED])
    assert _standing(journal, tmp_path) == _REFUSED
    assert _standing(journal, tmp_path, retry=True) is None
    for refusal in (replace(_REFUSED, temporary=True), replace(_REFUSED, reader="0.0.1"), replace(_REFUSED, stamp="2")):
        journal.add([refusal])
        assert _standing(journal, tmp_path) is None


def test_what_was_cached_before_a_reason_that_passed_stands(journal: Journal, tmp_path: Path) -> None:
    journal.add([_MADE, replace(_REFUSED, stamp="", temporary=True)])
    assert _standing(Journal(tmp_path / "journal.jsonl"), tmp_path) == _MADE


def _entry(volume: str, scan: str = "s") -> CohortEntry:
    return CohortEntry(
        volume=volume,
        scan=scan,
        patient="p",
        split="train",
        source_sha256="",
        cache="cache/a/v.vol",
        cache_sha256=_MADE.cache_sha256,
        report=Report(),
        labels=UNLABELLED,
    )


def test_rows_are_kept_by_why_their_volume_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    listed = {
        name: VolumeSource(volume=name, scan=name, patient="p", path=tmp_path / ("there" if name != "row" else "absent"))
        for name in ("busy", "tilted", "row", "fine")
    }
    outcomes = {
        "busy": replace(_REFUSED, volume="busy", temporary=True),
        "tilted": replace(_REFUSED, volume="tilted"),
        "row": replace(_REFUSED, volume="row", temporary=True),
        "fine": replace(_MADE, volume="fine"),
    }
    before = [_entry(name) for name in ("busy", "tilted", "row", "fine", "deleted")]
    retained = retained_rows(before, listed, outcomes, one_per_scan=False, prune=False)
    assert [entry.volume for entry in retained.gone] == ["row", "deleted"]
    assert [entry.volume for entry in retained.unreadable] == ["busy"]
    assert retained.kept == retained.gone + retained.unreadable
    assert retained.notes({}) == (
        "2 volumes are no longer in SRC; kept. --prune removes them.",
        "1 volumes cannot be read at present; kept as they were.",
    )
    pruned = replace(retained, prune=True)
    assert pruned.kept == retained.unreadable
    assert pruned.notes({})[0] == "2 volumes are no longer in SRC; removed, as --prune says."


def test_a_row_is_whole_while_its_file_is_what_the_manifest_says(journal: Journal, tmp_path: Path) -> None:
    plain = Cache(folder=tmp_path / "cache")
    assert plain.holds_row(_entry("v"), None)
    assert _verified(journal, tmp_path, _entry("v")).holds_row(_entry("v"), _MADE)
    (tmp_path / "cache" / "a" / "v.vol").write_bytes(b"cut")
    assert not plain.holds_row(_entry("v"), _MADE)
    assert plain.holds_row(_entry("v"), replace(_MADE, cache_sha256="of another")), "nobody knows its size"
    assert not _verified(journal, tmp_path, _entry("v")).holds_row(_entry("v"), None)


def test_each_volume_of_journal_and_manifest_is_hashed_once_and_counted(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.add([_MADE, replace(_MADE, volume="missing", cache="a/missing.vol"), _REFUSED])
    for name in ("w", "bad disk"):
        (tmp_path / "cache" / "a" / f"{name}.vol").write_bytes(name.encode())
    hashed: list[str] = []

    def hash_file(path: Path) -> str:
        hashed.append(path.name)
        if path.name == "bad disk.vol":
            raise OSError(5, "Input/output error")
        return sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(retention, "sha256", hash_file)
    rows = [replace(_entry(name), cache=f"cache/a/{name}.vol") for name in ("v", "w", "bad disk")]
    counted: list[tuple[int, int]] = []
    cache = Cache.verified(tmp_path / "cache", journal, rows, progress=lambda count, total: counted.append((count, total)))
    assert sorted(hashed) == ["bad disk.vol", "missing.vol", "v.vol", "w.vol"]
    assert counted == [(count, 4) for count in range(5)]
    assert [cache.holds(f"a/{name}.vol", sha256_hex=sha256(name.encode()).hexdigest()) for name in ("w", "v", "bad disk", "missing")] == [
        True,
        False,  # of other bytes
        False,
        False,
    ]


def test_only_what_is_named_is_left_by_a_sweep(journal: Journal, tmp_path: Path) -> None:
    for name in ("a/old.vol", "a/.v.vol.1.tmp"):
        (tmp_path / "cache" / name).write_bytes(b"")
    (tmp_path / ".manifest.csv.1.tmp").write_bytes(b"")
    sweep(tmp_path, {"cache/a/v.vol"})
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["v.vol"]
