"""Several files of one scan are found together by what the sender called them; archives are unpacked within their budget."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.ct.dicom.chest_series import make_slice, write_series
from thoracle.ct.read import read as read_scan
from thoracle.errors import BudgetExceeded, SeriesAmbiguous, TruncatedFile, UnsafeArchive, UnsupportedFormat
from thoracle.inference.batch.discover_scans import ScanLocation
from thoracle.serving.uploads import NumberedFiles
from thoracle.serving.work.upload_scans import find_upload_scans

VOXELS = (np.arange(4 * 5 * 12) % 2000 - 1000).astype("<i2")
RAW = VOXELS.tobytes()
METAIMAGE = (
    "ObjectType = Image\nNDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 0.8 0.8 1.5\nDimSize = 4 5 12\n"
    "ElementType = MET_SHORT\nElementDataFile = {}\n"
)
NRRD = (
    "NRRD0004\ntype: short\nendian: little\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 5 12\n"
    "space directions: (0.8,0,0) (0,0.8,0) (0,0,1.5)\nkinds: domain domain domain\nencoding: raw\ndata file: {}\n\n"
)
Sent = Sequence[tuple[str, bytes]]


def pair() -> tuple[bytes, bytes]:
    """The header and the image of a NIfTI pair, as nibabel writes them."""
    image = nib.Nifti1Pair(VOXELS.reshape((4, 5, 12), order="F"), np.diag([-0.8, -0.8, 1.5, 1]))
    files = nib.Nifti1Pair.make_file_map({"header": io.BytesIO(), "image": io.BytesIO()})
    image.to_file_map(files)
    return files["header"].fileobj.getvalue(), files["image"].fileobj.getvalue()


HDR, IMG = pair()
read = partial(read_scan, hu="stored")  # so few voxels show no tissue


def zipped(sent: Sent) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sent:
            archive.writestr(name, content)
    return packed.getvalue()


def upload(folder: Path, sent: Sent) -> Mapping[Path, str]:
    """Write files as a request's body is written."""
    files = NumberedFiles(folder)
    for name, content in sent:
        files.begin(name)
        files.write(content)
        files.end()
    return files.names


def scans_of(folder: Path, sent: Sent, *, limit: int = 1 << 20) -> Sequence[ScanLocation]:
    return find_upload_scans(folder, upload(folder, sent), limit=limit, check=lambda: None).locations


WHOLE: dict[str, Sent] = {
    "MetaImage": [("scan.mhd", METAIMAGE.format("scan.raw").encode()), ("scan.raw", RAW)],
    "MetaImage, data first": [("b/x.zraw", RAW), ("b/scan.mhd", METAIMAGE.format("./x.zraw").encode())],
    "MetaImage, not ASCII": [("Müller.mhd", METAIMAGE.format("Müller.raw").encode()), ("Müller.raw", RAW)],
    "NRRD": [("a/scan.nhdr", NRRD.format("scan.raw").encode()), ("a/scan.raw", RAW), ("a/notes.txt", b"of the patient")],
    "NIfTI pair": [("scan.hdr", HDR), ("scan.img", IMG)],
}


@pytest.mark.parametrize("packed", [False, True], ids=["form", "zip"])
@pytest.mark.parametrize("name", WHOLE)
def test_files_of_one_scan_are_read_as_the_command_line_reads_them(name: str, packed: bool, tmp_path: Path) -> None:
    for file, content in WHOLE[name]:
        (tmp_path / "disk" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "disk" / file).write_bytes(content)
    header = next(path for path in (tmp_path / "disk").rglob("*") if path.suffix in (".mhd", ".nhdr", ".hdr"))
    expected = read(header)
    (scan,) = scans_of(tmp_path / "up", [("scan.zip", zipped(WHOLE[name]))] if packed else WHOLE[name])
    volume = read(scan.path, files=scan.files)
    np.testing.assert_array_equal(volume.array, expected.array)
    np.testing.assert_array_equal(volume.affine, expected.affine)
    assert volume.provenance == expected.provenance
    names_on_disk = {part for path in (tmp_path / "up").rglob("*") for part in (path.stem, path.name)}
    assert not names_on_disk & {Path(part).stem for file, _ in WHOLE[name] for part in Path(file).parts}


def test_two_folders_with_the_same_names_are_two_scans(tmp_path: Path) -> None:
    header = METAIMAGE.format("scan.raw").encode()
    sent = [entry for k, raw in (("a", RAW), ("b", RAW[::-1])) for entry in ((f"{k}/scan.mhd", header), (f"{k}/scan.raw", raw))]
    first, second = scans_of(tmp_path / "up", sent)
    assert not np.array_equal(read(first.path, files=first.files).array, read(second.path, files=second.files).array)


def test_of_two_files_of_one_name_none_is_taken(tmp_path: Path) -> None:
    """As curl sends those of two folders."""
    scans = scans_of(tmp_path / "up", [("scan.mhd", METAIMAGE.format("scan.raw").encode()), ("scan.raw", RAW), ("scan.raw", RAW[::-1])])
    assert [type(scan.fault) for scan in scans if scan.path.suffix == ".mha"] == [SeriesAmbiguous]


@pytest.mark.parametrize("packed", [False, True], ids=["form", "zip"])
@pytest.mark.parametrize("header", [METAIMAGE, NRRD], ids=["MetaImage", "NRRD"])
@pytest.mark.parametrize(
    "address", ["../secret.raw", "../../../../etc/passwd", "/etc/passwd", "sub/../scan.raw", "..\\secret.raw", "C:\\x.raw"]
)
def test_a_header_reaches_nothing_outside_its_upload(address: str, header: str, packed: bool, tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(RAW)
    sent = [("scan.mhd", header.format(address).encode()), ("scan.raw", RAW)]
    sent += [] if packed else [(address, RAW)]  # a file that is called so changes nothing; no archive may have one
    scans = scans_of(tmp_path / "up", [("a.zip", zipped(sent))] if packed else sent)
    scan = next(scan for scan in scans if scan.path.suffix in (".mha", ".nrrd"))
    with pytest.raises(UnsafeArchive):
        read(scan.path, files=scan.files)


def test_a_header_without_its_data_is_refused_in_words_that_say_so(tmp_path: Path) -> None:
    (scan,) = scans_of(tmp_path / "up", [("scan.mhd", METAIMAGE.format("scan.raw").encode())])
    with pytest.raises(TruncatedFile, match="do not lie beside it"):
        read(scan.path, files=scan.files)


def test_packed_voxels_of_a_header_are_no_scan_of_their_own(tmp_path: Path) -> None:
    """A .raw.gz begins as a .nii.gz does."""
    (scan,) = scans_of(tmp_path / "up", [("scan.nhdr", NRRD.format("scan.raw.gz").encode()), ("scan.raw.gz", b"\x1f\x8b\x08")])
    assert len(scan.files) == 1


def test_each_series_of_an_archive_is_a_scan_and_a_report_beside_them_is_told(tmp_path: Path) -> None:
    for uid in ("1.2.3", "1.2.4"):
        write_series(tmp_path / uid, partial(make_slice, SeriesInstanceUID=uid))
    write_series(tmp_path / "mr", partial(make_slice, SeriesInstanceUID="1.2.5", Modality="MR"), range(1))
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    packed = zipped([(str(path.relative_to(tmp_path)), path.read_bytes()) for path in files])
    scans = find_upload_scans(tmp_path / "up", upload(tmp_path / "up", [("", packed)]), limit=1 << 28, check=lambda: None)
    assert len(scans.locations) == 2
    assert [read(scan.path, files=scan.files).array.shape[2] for scan in scans.locations] == [12, 12]
    (note,) = scans.notes
    assert note.startswith("1 DICOM series set aside")


def test_an_archive_within_an_upload_keeps_to_its_budget_and_stops_no_other(tmp_path: Path) -> None:
    small, large = zipped([("a.nii", HDR)]), zipped([(f"{k}", bytes(400_000)) for k in range(3)])
    scans = scans_of(tmp_path / "up", [("small.zip", small), ("large.zip", large)])
    faults = [scan.fault for scan in scans]
    assert [type(fault) for fault in faults] == [type(None), BudgetExceeded]
    assert "1,200,000" in str(faults[1])
    assert len([path for path in (tmp_path / "up").rglob("*") if path.is_file()]) == 1
    (alone,) = scans_of(tmp_path / "alone", [("large.zip", large)])
    assert isinstance(alone.fault, BudgetExceeded)


def test_archives_keep_to_their_budget_together(tmp_path: Path) -> None:
    half = zipped([("a", bytes(600_000))])
    scans = scans_of(tmp_path / "up", [("a.zip", half), ("b.zip", half)])
    assert [type(scan.fault) for scan in scans] == [type(None), BudgetExceeded]


def test_an_empty_archive_is_no_scan(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat):
        scans_of(tmp_path / "up", [("a.zip", zipped([]))])
