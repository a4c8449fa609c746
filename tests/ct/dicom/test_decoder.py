"""Whatever befalls the worker (a crash, a hang, too much memory, nonsense) is an error in the parent, and leaves no process behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from pydicom.pixels.utils import pixel_array

from thoracle.ct.dicom.decoder import Decoder
from thoracle.errors import BudgetExceeded, CorruptFile

SHAPE = (512, 512)
INT16 = np.dtype("<i2")


@pytest.fixture
def slice_file(data_dir: Path) -> Path:
    return next((data_dir / "dicom" / "transfer_syntaxes").glob("*4.90.dcm"))


def _script(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def _decode(decoder: Decoder, content: bytes = b"DICM" * 100_000, *, count: int = 1, shape: tuple[int, int] = SHAPE) -> None:
    with decoder:
        list(decoder.frames(bytearray(content), count=count, shape=shape, dtype=INT16, source="slice.dcm"))


#: What was there before this test, as a tracker that another test's pool of processes left to this one.
_BEFORE: set[psutil.Process] = set()


def _children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child not in _BEFORE]


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    _BEFORE.clear()
    _BEFORE.update(psutil.Process().children(recursive=True))
    yield
    assert _children() == []


def test_a_codec_that_crashes() -> None:
    crash = "import os, signal, sys; sys.stdin.buffer.read(1000); os.kill(os.getpid(), signal.SIGSEGV)"
    with pytest.raises(CorruptFile, match=r"slice.dcm: the codec crashed on its pixels \(exit status -11\)"):
        _decode(Decoder(command=_script(crash)))


@pytest.mark.parametrize("reads", ["", "sys.stdin.buffer.read(400_000); "])
def test_a_codec_that_hangs(reads: str) -> None:
    hang = f"import signal, sys; {reads}signal.pause()"
    with pytest.raises(BudgetExceeded, match="within 1 s"):
        _decode(Decoder(command=_script(hang), seconds=1))


def test_a_codec_that_takes_too_much_memory(slice_file: Path) -> None:
    with pytest.raises(CorruptFile):  # the codec's own words: it could not make its buffers
        _decode(Decoder(mebibytes=1), slice_file.read_bytes())
    out_of_memory = """import sys; sys.stdin.buffer.readline(); print('{"error": "MemoryError: "}', flush=True)"""
    with pytest.raises(BudgetExceeded, match="more than 7 MiB"):
        _decode(Decoder(command=_script(out_of_memory), mebibytes=7), b"")


def test_a_worker_that_talks_nonsense() -> None:
    for code in ("print('hello', flush=True)", "print('{\"error\": null}', flush=True)"):
        with pytest.raises(CorruptFile, match="crashed"):
            _decode(Decoder(command=_script(f"import sys; sys.stdin.buffer.readline(); {code}")))


def test_what_the_codec_says_is_passed_on(slice_file: Path) -> None:
    with pytest.raises(CorruptFile, match="cannot be decoded"):
        _decode(Decoder(), b"\0" * 1000)
    with pytest.raises(CorruptFile, match=r"expected \(512, 500\)"):
        _decode(Decoder(), slice_file.read_bytes(), shape=(512, 500))


def test_frames_arrive_whole_and_the_worker_serves_again(slice_file: Path) -> None:
    expected = pixel_array(slice_file)
    with Decoder() as decoder:
        for _ in range(2):
            ((frame, codestream),) = decoder.frames(bytearray(slice_file.read_bytes()), count=1, shape=SHAPE, dtype=INT16, source="")
            np.testing.assert_array_equal(frame, expected)
            assert codestream == (16, True)
        assert len(_children()) == 1


def test_ctrl_c_ends_the_worker() -> None:
    def interrupted() -> None:
        with Decoder(command=_script("import signal; signal.pause()")) as decoder:
            next(decoder.frames(bytearray(10), count=0, shape=SHAPE, dtype=INT16, source=""), None)
            assert len(_children()) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_no_process_is_started_without_need() -> None:
    with Decoder():
        assert _children() == []
