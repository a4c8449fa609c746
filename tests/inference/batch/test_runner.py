from __future__ import annotations

import csv
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import thoracle
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.ct.volume import Volume
from thoracle.errors import GantryTilt, MetadataError, OutsideIntendedUse
from thoracle.inference.batch import runner as batch
from thoracle.inference.batch.discover_scans import ScanLocation, find_scans
from thoracle.inference.batch.result_table import ResultTable
from thoracle.inference.batch.runner import ReadOptions, load_metadata, metadata_coverage, process_scans, read_scan
from thoracle.inference.batch.scan_source import pending_scans
from thoracle.inference.prepare import PreparedVolume

SMALL = PreprocessConfig(spacing=(20, 20, 20), size=(16, 16, 16))


@pytest.fixture
def scans(sketch: Path, tmp_path: Path) -> tuple[ScanLocation, ...]:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(6):
        shutil.copy(sketch, folder / f"{number}.nii.gz")
    return find_scans([folder])


@pytest.fixture
def table(tmp_path: Path) -> Iterator[ResultTable]:
    with ResultTable(tmp_path / "out.csv", columns=("mean",), settings={}) as rows:
        yield rows


def mean(scan: ScanLocation, prepared: PreparedVolume) -> Sequence[str]:
    return [f"{prepared.array.mean():.6f}"]


def test_every_scan_is_a_row_in_order(scans: tuple[ScanLocation, ...], table: ResultTable, sketch: Path) -> None:
    outcomes = list(process_scans(scans, table, preprocess=SMALL, reading=ReadOptions(), row=mean))
    expected = f"{thoracle.preprocess(thoracle.read(sketch), SMALL).mean():.6f}"
    assert [outcome.name for outcome in outcomes] == [f"{n}.nii.gz" for n in range(6)]
    assert table.rows == {f"{n}.nii.gz": (expected,) for n in range(6)}


def test_the_next_scan_is_read_while_one_is_encoded_and_no_further(
    scans: tuple[ScanLocation, ...], table: ResultTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = [threading.Event() for _ in scans]

    def watched(scan: ScanLocation, reading: ReadOptions) -> Volume:
        started[scans.index(scan)].set()
        return read_scan(scan, reading)

    def row(scan: ScanLocation, prepared: PreparedVolume) -> Sequence[str]:
        at = scans.index(scan)
        assert at + 1 == len(scans) or started[at + 1].wait(60), "the next is not read meanwhile"
        assert not any(event.is_set() for event in started[at + 2 :]), "more than two volumes"
        return mean(scan, prepared)

    monkeypatch.setattr(batch, "read_scan", watched)
    assert len(list(process_scans(scans, table, preprocess=SMALL, reading=ReadOptions(), row=row))) == 6


def test_no_scans_are_no_error(table: ResultTable) -> None:
    assert list(process_scans((), table, preprocess=SMALL, reading=ReadOptions(), row=mean)) == []


@pytest.mark.parametrize(
    "fault",
    [
        GantryTilt("sheared\x1b[2J\nby 3 degrees", hint="Ask again.", source="/home/DOE^JOHN/x.dcm"),
        PermissionError(13, "Permission denied", "/home/DOE^JOHN/x.dcm"),
        ValueError("/home/DOE^JOHN/x.dcm"),
        MemoryError(),
        KeyError("/home/DOE^JOHN"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_scan_that_fails_is_noted_without_its_path(
    scans: tuple[ScanLocation, ...], table: ResultTable, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def failing(scan: ScanLocation, reading: ReadOptions) -> Volume:
        if scan == scans[2]:
            raise fault
        return read_scan(scan, reading)

    monkeypatch.setattr(batch, "read_scan", failing)
    outcomes = list(process_scans(scans, table, preprocess=SMALL, reading=ReadOptions(), row=mean))
    assert [outcome.name for outcome in outcomes if outcome.failure] == ["2.nii.gz"]
    assert len(table.rows) == 5
    errors = table.path.with_name("out.errors.csv")
    (line,) = list(csv.DictReader(errors.open()))
    assert (line["VolumeName"], line["error"]) == ("2.nii.gz", type(fault).__name__)
    assert line["message"]
    assert "DOE" not in errors.read_text()
    assert "\x1b" not in errors.read_text()
    assert errors.read_text().count("\n") == 2


def test_a_fault_of_the_model_stops_the_run(scans: tuple[ScanLocation, ...], table: ResultTable) -> None:
    def row(scan: ScanLocation, prepared: PreparedVolume) -> Sequence[str]:
        raise RuntimeError("out of memory on the device")

    with pytest.raises(RuntimeError):
        list(process_scans(scans, table, preprocess=SMALL, reading=ReadOptions(), row=row))
    assert table.rows == {}


def test_a_table_is_parsed_once(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("VolumeName,XYSpacing\na.nii,1\n")
    (tmp_path / "row.json").write_text("{}")
    parsed = load_metadata(tmp_path / "rows.csv")
    assert not isinstance(parsed, Path)
    assert load_metadata(tmp_path / "row.json") == tmp_path / "row.json"
    (tmp_path / "rows.json").write_text('[{"VolumeName": "a.nii", "RescaleSlope": 1}]')
    assert "a" in load_metadata(tmp_path / "rows.json")  # type: ignore[operator]  # a table
    assert load_metadata(None) is None


def test_scans_with_a_row_are_counted_by_the_names_of_their_files(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("VolumeName,RescaleSlope\na.nii.gz,1\nb,1\nc,1\n")
    scans = [ScanLocation(name=name, path=Path("p", name)) for name in ("a.nii", "b.nrrd", "d.nii.gz")]
    table = load_metadata(tmp_path / "rows.csv")
    assert metadata_coverage(scans, table) == "2 of 3 scans have a row in the table of --metadata."
    with pytest.raises(MetadataError, match=r"rows\.csv: none of its 3 rows is of any of 1 scans, the first of which is d\.nii\.gz"):
        metadata_coverage(scans[2:], table)
    assert [metadata_coverage(scans, other) for other in (None, {"RescaleSlope": 1}, tmp_path / "row.json")] == ["", "", ""]
    assert metadata_coverage([], table) == "0 of 0 scans have a row in the table of --metadata."


def test_a_scan_is_not_encoded_again_where_its_bytes_have_a_row(
    scans: tuple[ScanLocation, ...], table: ResultTable, tmp_path: Path
) -> None:
    """Copied elsewhere, with other times: only the bytes count."""
    list(process_scans(scans, table, preprocess=SMALL, reading=ReadOptions(), row=mean))
    before = table.path.read_bytes()
    shutil.copytree(scans[0].path.parent, tmp_path / "moved")
    moved = find_scans([tmp_path / "moved"])
    assert pending_scans(moved, table, metadata=None, series=None) == list(moved)
    outcomes = list(process_scans(moved, table, preprocess=SMALL, reading=ReadOptions(), row=lambda *_: pytest.fail("encoded")))
    assert [outcome.note for outcome in outcomes] == [""] * 6
    assert table.path.read_bytes() == before
    assert pending_scans(moved, table, metadata=None, series=None) == []


def test_what_a_row_comes_with_is_made_for_a_row_that_stays(scans: tuple[ScanLocation, ...], table: ResultTable) -> None:
    list(process_scans(scans, table, preprocess=SMALL, reading=ReadOptions(), row=mean))
    made = []

    def row(scan: ScanLocation, prepared: PreparedVolume) -> Sequence[str]:
        made.append(scan.name)
        return mean(scan, prepared)

    def is_complete(name: str) -> bool:
        return name != "3.nii.gz" or name in made

    todo = pending_scans(scans, table, metadata=None, series=None, is_complete=is_complete)
    list(process_scans(todo, table, preprocess=SMALL, reading=ReadOptions(), row=row, is_complete=is_complete))
    assert made == ["3.nii.gz"]


def test_a_row_of_a_file_that_can_no_longer_be_read_is_removed(scans: tuple[ScanLocation, ...], table: ResultTable) -> None:
    list(process_scans(scans, table, preprocess=SMALL, reading=ReadOptions(), row=mean))
    scans[1].path.write_bytes(scans[1].path.read_bytes()[:999])
    todo = pending_scans(scans, table, metadata=None, series=None)
    (outcome,) = process_scans(todo, table, preprocess=SMALL, reading=ReadOptions(), row=mean)
    assert outcome.failure is not None
    assert "is removed" in outcome.note
    assert list(table.rows) == [f"{n}.nii.gz" for n in (0, 2, 3, 4, 5)]
    assert "1.nii.gz" not in table.path.read_text()


def test_scans_are_encoded_in_batches_and_a_refused_one_fails_alone(scans: tuple[ScanLocation, ...], table: ResultTable) -> None:
    sizes: list[int] = []
    refused: list[PreparedVolume] = []

    def encode(volumes: Sequence[PreparedVolume]) -> list[float]:
        sizes.append(len(volumes))
        if len(volumes) == 4 and not refused:
            refused.append(volumes[1])
        if any(volume is scan for volume in volumes for scan in refused):
            raise OutsideIntendedUse("no lungs", hint="Give a chest.")
        return [float(volume.array.mean()) for volume in volumes]

    outcomes = list(
        process_scans(
            scans, table, preprocess=SMALL, reading=ReadOptions(), encode=encode, row=lambda _, value: [f"{value:.6f}"], batch_size=4
        )
    )
    assert sizes == [4, 1, 1, 1, 1, 2], "each of the batch alone, then the rest"
    assert [outcome.failure.error if outcome.failure else "" for outcome in outcomes] == ["", "OutsideIntendedUse", "", "", "", ""]
    assert [*table.rows] == [f"{number}.nii.gz" for number in (0, 2, 3, 4, 5)]


@pytest.mark.slow
def test_scans_are_read_in_processes(scans: tuple[ScanLocation, ...], table: ResultTable, sketch: Path) -> None:
    scans[1].path.write_bytes(b"\x1f\x8b nothing")
    outcomes = list(process_scans(scans, table, preprocess=SMALL, reading=ReadOptions(), row=mean, workers=2))
    expected = f"{thoracle.preprocess(thoracle.read(sketch), SMALL).mean():.6f}"
    assert table.rows == {f"{n}.nii.gz": (expected,) for n in (0, 2, 3, 4, 5)}
    assert {outcome.name for outcome in outcomes if outcome.failure} == {"1.nii.gz"}
