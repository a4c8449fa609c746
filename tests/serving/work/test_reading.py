"""An upload becomes a volume a series, and is deleted; a record's file is read where it lies."""

from __future__ import annotations

import threading
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from tests.ct.dicom.chest_series import make_slice, write_series
from thoracle.errors import InputError, JobCancelled, UnsupportedFormat
from thoracle.inference.batch.discover_scans import ScanLocation
from thoracle.serving.jobs.worker import JobContext
from thoracle.serving.work.reading import by_record_name, equip_reader, read_upload
from thoracle.serving.work.results import READING
from thoracle.serving.work.scan_folder import load_volume


def context() -> JobContext:
    return JobContext(report=lambda _: None, emit=lambda _: None)


def test_of_two_series_the_one_that_is_refused_does_not_stop_the_other(tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    write_series(upload, partial(make_slice, SeriesInstanceUID="1.2.3"))
    for k, file in enumerate(sorted(upload.iterdir())):
        file.rename(upload / f"a{k}.dcm")
    write_series(upload, partial(make_slice, SeriesInstanceUID="1.2.4"), range(4))
    first, second = read_upload(context(), upload=str(upload), names={}, limit=0, out=str(tmp_path / "out"))
    read, refused = (first, second) if first.error is None else (second, first)
    assert refused.error is not None
    assert refused.error.kind == "TooFewSlices"
    assert load_volume(Path(read.folder)).array.ndim == 3
    assert not upload.exists()


@pytest.mark.parametrize("content", [None, b"a text"])
def test_an_upload_that_holds_no_scan_is_refused_and_deleted(content: bytes | None, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.mkdir()
    if content is not None:
        (upload / "00001").write_bytes(content)
    with pytest.raises(UnsupportedFormat):
        read_upload(context(), upload=str(upload), names={}, limit=0, out=str(tmp_path / "out"))
    assert not upload.exists()


def test_a_job_that_is_not_wanted_reads_nothing(sketch: Path, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.mkdir()
    (upload / "00001.nii.gz").write_bytes(sketch.read_bytes())
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(JobCancelled):
        read_upload(
            JobContext(report=lambda _: None, emit=lambda _: None, cancelled=cancelled),
            upload=str(upload),
            names={},
            limit=0,
            out=str(tmp_path / "out"),
        )


def test_files_of_records_are_known_by_name(sketch: Path, tmp_path: Path) -> None:
    lanes, facts = equip_reader(sketch.parent)
    assert facts["available"] == {sketch.name}
    (series,) = lanes[READING]["open"](context(), name=sketch.name, source_sha256="", out=str(tmp_path / "out"))
    assert load_volume(Path(series.folder)).array.shape == (128, 112, 88)
    with pytest.raises(InputError, match="not at hand"):
        lanes[READING]["open"](context(), name="../../etc/passwd", source_sha256="", out=str(tmp_path / "out"))
    assert sketch.exists()
    assert equip_reader(None)[1]["available"] == frozenset()


def test_a_record_is_known_by_its_files_path_and_by_its_name(tmp_path: Path) -> None:
    """As an index of CT-RATE's layout names volumes: valid_1_a_1.nii.gz, three folders down."""
    names = ("valid/1/one.nii.gz", "valid/2/two.nii.gz", "train/2/two.nii.gz")
    known = by_record_name([ScanLocation(name=name, path=tmp_path / name) for name in names])
    called = {name: [scan.name for scan in scans] for name, scans in known.items()}
    assert called == {"one.nii.gz": [names[0]], "two.nii.gz": list(names[1:]), **{name: [name] for name in names}}


def test_of_files_of_one_name_the_one_that_was_indexed_is_read(sketch: Path, tmp_path: Path) -> None:
    """As in a folder of phantoms, whose masks are called as their scans."""
    for folder, content in (("masks", b"a mask"), ("valid", sketch.read_bytes())):
        (tmp_path / "scans" / folder).mkdir(parents=True)
        (tmp_path / "scans" / folder / "case.nii.gz").write_bytes(content)
    lanes, facts = equip_reader(tmp_path / "scans")
    assert "case.nii.gz" in facts["available"]
    open_record = partial(lanes[READING]["open"], context(), name="case.nii.gz")
    (series,) = open_record(source_sha256=sha256(sketch.read_bytes()).hexdigest(), out=str(tmp_path / "out"))
    assert (load_volume(Path(series.folder)).array.shape, series.notes) == ((128, 112, 88), ())
    for digest in ("", "0" * 64):
        with pytest.raises(InputError, match="not at hand"):
            open_record(source_sha256=digest, out=str(tmp_path / "out"))


def test_a_file_of_other_bytes_than_were_indexed_says_so(sketch: Path, tmp_path: Path) -> None:
    lanes, _ = equip_reader(sketch.parent)
    (series,) = lanes[READING]["open"](context(), name=sketch.name, source_sha256="0" * 64, out=str(tmp_path / "out"))
    assert series.notes == ("This file has the name of the case, and other bytes than the one that was indexed.",)
