"""Bytes of an upload land in files of our own names, and no more of them than may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from thoracle.errors import BudgetExceeded, InputError, ServerFull, ThoracleError, TruncatedFile
from thoracle.serving.uploads import receive

FORM = "multipart/form-data; boundary=xyz"
DICOM = b"\0" * 128 + b"DICM" + b"rest"


def part(content: bytes, name: str = "Doe^Jane.dcm") -> bytes:
    return b'--xyz\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode() + b'"\r\n\r\n' + content + b"\r\n"


def send(
    folder: Path, pieces: Sequence[bytes], content_type: str, *, limit: int = 10_000, pause: float = 0.0
) -> tuple[list[int], Mapping[Path, str]]:
    counted: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            await asyncio.sleep(pause)
            yield piece

    names = asyncio.run(receive(body(), content_type, folder, limit=limit, idle_seconds=0.2, count=counted.append))
    return counted, names


def test_a_folder_of_files_keeps_content_and_order_but_no_name(tmp_path: Path) -> None:
    body = part(DICOM) + part(b"second") + b"--xyz--\r\n"
    counted, names = send(tmp_path / "up", [body[i : i + 7] for i in range(0, len(body), 7)], FORM)
    assert sum(counted) == len(body)
    assert {file.name: file.read_bytes() for file in (tmp_path / "up").iterdir()} == {"00001.dcm": DICOM, "00002": b"second"}
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / "up").iterdir())
    assert names == {tmp_path / "up" / "00001.dcm": "Doe^Jane.dcm", tmp_path / "up" / "00002": "Doe^Jane.dcm"}


def test_a_part_without_a_name_takes_none_of_the_part_before_it(tmp_path: Path) -> None:
    body = part(b"a", "a/Müller.raw") + b'--xyz\r\nContent-Disposition: form-data; name="files"\r\n\r\nb\r\n--xyz--\r\n'
    _, names = send(tmp_path / "up", [bytes([byte]) for byte in body], FORM)
    assert list(names.values()) == ["a/Müller.raw", ""]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (DICOM, "00001.dcm"),
        (b"PK\x03\x04rest", "00001.zip"),
        (b"NRRD0004\n", "00001.nrrd"),
        (b"\x1f\x8b\x08rest", "00001.nii.gz"),
        ((348).to_bytes(4, "little") + b"rest", "00001.nii"),
        (b"ObjectType = Image\n", "00001.mha"),
        (b"anything", "00001"),
    ],
)
def test_a_body_is_one_file_called_by_its_content(content: bytes, name: str, tmp_path: Path) -> None:
    send(tmp_path / "up", [content], "application/octet-stream")
    assert [file.name for file in (tmp_path / "up").iterdir()] == [name]


def test_an_empty_file_is_none(tmp_path: Path) -> None:
    send(tmp_path / "up", [], "application/octet-stream")
    assert not list((tmp_path / "up").iterdir())


def refusals() -> Iterator[tuple[list[bytes], str, float, type[ThoracleError], str]]:
    yield [b"x" * 6000, b"x" * 6000], "application/octet-stream", 0, BudgetExceeded, "more than 10,000 bytes"
    yield [part(b"x" * 11_000)], FORM, 0, BudgetExceeded, "more than 10,000 bytes"
    yield [part(DICOM)], FORM, 0, TruncatedFile, "ended in its middle"
    yield [part(DICOM)[:40]], FORM, 0, TruncatedFile, "ended in its middle"
    yield [b"no form at all"], FORM, 0, InputError, "no multipart form"
    yield [b"x"], "multipart/form-data", 0, InputError, "no boundary"
    yield [b"x"], "text/html", 0, InputError, "'text/html' is no scan"
    yield [b"x"], "", 0, InputError, "is no scan"
    yield [b"x", b"y"], "application/octet-stream", 0.5, TruncatedFile, "nothing came for 0.2 seconds"


@pytest.mark.parametrize(("pieces", "content_type", "pause", "error", "message"), list(refusals()))
def test_what_is_no_upload_is_refused(
    pieces: list[bytes], content_type: str, pause: float, error: type[ThoracleError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        send(tmp_path / "up", pieces, content_type, pause=pause)


def test_bytes_are_counted_before_they_are_written(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 100

    def full(size: int) -> None:
        raise ServerFull("the disk's limit is reached", hint="Close scans.")

    with pytest.raises(ServerFull):
        asyncio.run(receive(body(), "application/octet-stream", tmp_path / "up", limit=1000, idle_seconds=1, count=full))
    assert sum(file.stat().st_size for file in (tmp_path / "up").iterdir()) == 0
