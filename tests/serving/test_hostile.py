"""Fifty uploads that mean harm are refused within their budgets, and leave nothing; header values reach no log, id, file name or answer."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from tests.ct.dicom.chest_series import make_slice, write_series
from tests.serving.conftest import Asked

BINARY = {"Content-Type": "application/octet-stream"}
FORM = {"Content-Type": "multipart/form-data; boundary=xyz"}
MIB = 1 << 20
#: A bomb must not be unpacked to more than this, in memory or on the disk.
BUDGET = 300 * MIB


def zipped(*members: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", kind, compresslevel=1) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def linked(target: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        info = zipfile.ZipInfo("slice.dcm")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, target)
    return packed.getvalue()


def nifti(shape: tuple[int, ...], kind: int = 4, offset: float = 352.0) -> bytes:
    """A header that promises a volume that does not come."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<hh", header, 70, kind, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, offset)
    struct.pack_into("<hh", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    header[344:348] = b"n+1\0"
    return bytes(header)


def dicom(change: Callable[[FileDataset], None] = lambda dataset: None, **tags: object) -> bytes:
    dataset, content = make_slice(0, **tags), io.BytesIO()
    change(dataset)
    dataset.save_as(content, enforce_file_format=False)
    return content.getvalue()


def part(content: bytes, name: str = "a") -> bytes:
    return (
        f'--xyz\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode("latin-1", "replace") + content + b"\r\n"
    )


def stored(value: object) -> Callable[[FileDataset], None]:
    def change(dataset: FileDataset) -> None:
        dataset.Rows = dataset.Columns = value

    return change


def hostile() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Name, body and headers of each."""
    zeros, scan = b"\0" * (8 * MIB), b"\x5c\x01\0\0" + os.urandom(400)
    bomb = zipped(("0.dcm", zeros * 10), *((f"{k}.dcm", zeros) for k in range(1, 4)))
    yield "zip bomb", bomb, BINARY
    yield "zip bomb called DICOM", bomb, {"Content-Type": "application/dicom"}
    yield "zip in zip", zipped(("a.zip", zipped(("b.zip", bomb)))), BINARY
    yield "quoted bomb", zipped(*((f"{k}", b"\0" * MIB) for k in range(60))), BINARY
    yield "gzip bomb", gzip.compress(nifti((30000, 30000, 2)) + zeros * 8, 1), BINARY
    yield "gzip of gzip", gzip.compress(gzip.compress(zeros, 1), 1), BINARY
    yield "cut gzip", gzip.compress(nifti((64, 64, 64)) + os.urandom(2 * 64**3))[:-4000], BINARY
    yield "gzip with a wrong sum", gzip.compress(scan)[:-8] + b"\0" * 8, BINARY
    for name in ("../../../../tmp/evil.dcm", "/etc/passwd", "..\\..\\evil.dcm", "a/../../evil.dcm", "C:\\evil.dcm", "x\0.dcm", "a" * 4000):
        yield f"zip member {name[:20]!r}", zipped((name, dicom())), BINARY
    yield "zip link", linked("/etc/passwd"), BINARY
    yield "zip link up", linked("../../.."), BINARY
    yield "cut zip", zipped(("a.dcm", dicom()))[:-30], BINARY
    yield "empty zip", zipped(), BINARY
    yield "zip of texts", zipped(("a.txt", b"text"), ("b.html", b"<script>")), BINARY
    yield "encrypted zip", zipped(("a.dcm", dicom())).replace(b"PK\x03\x04\x14\0\0\0", b"PK\x03\x04\x14\0\1\0"), BINARY
    for shape in ((32767,) * 3, (32767,) * 7, (0, 5, 5), (-4, 4, 4), (1, 1, 1), (512, 512, 5)):
        yield f"NIfTI {shape}", nifti(shape), BINARY
    yield "NIfTI of colours", nifti((64, 64, 64), kind=128), BINARY
    yield "NIfTI far away", nifti((64, 64, 64), offset=1e30), BINARY
    yield "NIfTI nowhere", nifti((64, 64, 64), offset=float("nan")), BINARY
    yield "NRRD bomb", b"NRRD0004\ntype: short\ndimension: 3\nsizes: 30000 30000 30000\nencoding: gzip\n\n" + zlib.compress(zeros), BINARY
    yield "NRRD elsewhere", b"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 4 4\nencoding: raw\ndata file: /etc/passwd\n\n", BINARY
    yield (
        "MetaImage elsewhere",
        b"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\nElementDataFile = /etc/passwd\n",
        BINARY,
    )
    header = b"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\nElementDataFile = ../../../../secret.raw\n"
    climbing = (("scan.mhd", header), ("secret.raw", os.urandom(128)))
    yield "form of a header that climbs", b"".join(part(content, name) for name, content in climbing) + b"--xyz--\r\n", FORM
    yield "zip of a header that climbs", zipped(*climbing), BINARY
    yield (
        "form of a header and a bomb",
        part(header.replace(b"../", b"")) + part(gzip.compress(zeros, 1), "secret.raw") + b"--xyz--\r\n",
        FORM,
    )
    yield "one slice", dicom(), BINARY
    yield "DICOM of huge rows", dicom(stored(65535)), BINARY
    yield "DICOM of no rows", dicom(stored(0)), BINARY
    yield "DICOM of many frames", dicom(NumberOfFrames="999999999"), BINARY
    yield "MR", dicom(Modality="MR"), BINARY
    yield "cut DICOM", dicom()[:700], BINARY
    yield "DICOM preamble alone", b"\0" * 128 + b"DICM", BINARY
    yield "program", b"\x7fELF" + os.urandom(5000), BINARY
    yield "page", b"<html><script>alert(1)</script></html>", BINARY
    yield "nothing", b"", BINARY
    yield "text as picture", b"x", {"Content-Type": "image/png"}
    yield "no type", b"x", {}
    yield "form without boundary", b"x", {"Content-Type": "multipart/form-data"}
    yield "form that is none", b"not a form", FORM
    yield "cut form", part(dicom())[:-100], FORM
    yield "form of names alone", part(b"", "../../x") + part(b"", "/etc/passwd") + b"--xyz--\r\n", FORM
    yield "form that climbs", part(b"evil", "../../../../tmp/evil") + b"--xyz--\r\n", FORM
    yield "form of a thousand texts", part(b"text") * 1000 + b"--xyz--\r\n", FORM


HOSTILE = list(hostile())


def test_there_are_fifty() -> None:
    assert len(HOSTILE) >= 50
    assert len({name for name, _, _ in HOSTILE}) == len(HOSTILE)


def test_each_is_refused_within_its_budget_and_leaves_nothing(asked: Asked) -> None:
    before, memory, passed = sorted((asked.server.settings.work / "scans").iterdir()), asked.server.board.memory(), []
    highest = memory
    for name, body, headers in HOSTILE:
        answer = asked.client.post("/scans", content=body, headers=headers)
        assert answer.status_code < 500, name
        if answer.status_code == 202:
            accepted = answer.json()
            status = asked.wait(accepted["job"])
            highest = max(highest, asked.server.board.memory())
            size = sum(path.stat().st_size for path in asked.server.store.scan(accepted["scan"]).folder.rglob("*") if path.is_file())
            assert size < BUDGET, name
            if status["state"] == "done":
                passed.append(name)
            else:
                assert status["error"]["hint"], name
                assert "did not foresee" not in status["error"]["detail"], (name, status["error"])
            asked.client.delete(f"/scans/{accepted['scan']}")
    assert not passed
    assert highest - memory < BUDGET
    assert sorted((asked.server.settings.work / "scans").iterdir()) == before
    assert not Path("/tmp/evil").exists()
    assert not Path("/tmp/evil.dcm").exists()
    assert asked.server.board.restarts == 0


#: Attributes of the basic profile in which archives have names, numbers, dates and places; each gets words of its own.
IDENTIFYING = """
    PatientName PatientID OtherPatientIDs PatientAddress PatientTelephoneNumbers AccessionNumber StudyID InstitutionName IssuerOfPatientID
    InstitutionAddress ReferringPhysicianName PerformingPhysicianName OperatorsName NameOfPhysiciansReadingStudy RequestingPhysician
    StationName InstitutionalDepartmentName StudyDescription SeriesDescription ProtocolName RequestedProcedureDescription
    PerformedProcedureStepDescription PatientComments ImageComments AdditionalPatientHistory DeviceSerialNumber StudyComments Occupation
    EthnicGroup PatientReligiousPreference MilitaryRank BranchOfService CountryOfResidence RegionOfResidence PatientMotherBirthName
    OtherPatientNames PatientBirthName MedicalRecordLocator CurrentPatientLocation AdmissionID ReferringPhysicianAddress
"""


def test_forty_identifiers_in_headers_and_names_of_files_reach_nothing(
    asked: Asked, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    marks = {keyword: f"Zyx{number:02d}wv" for number, keyword in enumerate(IDENTIFYING.split())} | {"PatientBirthDate": "19070809"}
    assert len(marks) >= 40
    write_series(tmp_path / "Zyx99wv", partial(make_slice, **marks))
    files = [("files", (f"Zyx99wv/{file.name}", file.read_bytes())) for file in sorted((tmp_path / "Zyx99wv").iterdir())]
    opened = asked.client.post("/scans", files=files)
    asked.done(opened)
    scan = opened.json()["scan"]
    asked.done(asked.client.post(f"/scans/{scan}/findings"))
    refused = asked.client.post("/scans", files=files[:4])
    asked.wait(refused.json()["job"])
    asked.client.post("/search", json={"scan": scan, "text": "effusion"})
    paths = ["/status", "/scans", "/scans.csv", f"/scans/{scan}", f"/scans/{scan}/findings", f"/scans/{scan}/report.html", "/verdicts.csv"]
    paths += [f"/scans/{refused.json()['scan']}", f"/jobs/{refused.json()['job']}", "http://server/metrics"]
    texts = [asked.client.get(path).text for path in paths]
    work = asked.server.settings.work
    texts += [str(path) for path in work.rglob("*")] + [(work / "audit.jsonl").read_text(), *capfd.readouterr()]
    for file in work.rglob("*.json*"):
        texts.append(file.read_text())
    everything = "\n".join(texts)
    assert not [mark for mark in [*marks.values(), "Zyx99wv"] if mark in everything]
    assert "Zyx" not in everything
