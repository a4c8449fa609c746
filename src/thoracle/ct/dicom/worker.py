"""The expendable process that runs codecs over bytes nobody trusts; started by `decoder`.

It reads requests from standard input until it ends: a line of JSON (length, rows, columns, dtype), then the bytes of a DICOM file. For
each frame it answers a line of JSON, {"error": null, "bits": 12, "signed": true} followed by the frame's bytes, or {"error": "what the
codec said"} and no more. `bits` and `signed` are what the codestream says of its samples, null where it does not; all bits are handed
over as the codec left them. What it does not catch ends it, which `decoder` tells.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, Final

import gdcm
import numpy as np
import psutil
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options, get_j2k_parameters
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes

#: JPEG of 12 bits and the retired progressive ones: GDCM decodes them, pydicom does not ask it to.
_GDCM_ALONE: Final = ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55")
#: Codecs hand over what they decoded; whose sign and depth count is decided in one place, by the parent.
_UNCORRECTED: Final = {"apply_j2k_sign_correction": False, "apply_jls_sign_correction": False, "correct_unused_bits": False}
_JPEG_LS_FRAME: Final = 0xF7  # SOF55, whose third byte is the precision
_Samples = tuple[int | None, bool | None]
_CODEC_ERRORS: Final = (ValueError, RuntimeError, AttributeError, TypeError, LookupError, EOFError, OSError, MemoryError)


def main() -> None:
    """Serve until standard input ends; the one argument is how many MiB decoding may take."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a codec that prints must not speak in our name
    _limit_memory(int(sys.argv[1]) << 20)
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        content = sys.stdin.buffer.read(request["length"])
        error = None
        try:
            for frame, (bits, signed) in _decode(content, (request["rows"], request["columns"]), np.dtype(request["dtype"])):
                answers.write(json.dumps({"error": None, "bits": bits, "signed": signed}).encode() + b"\n" + frame.tobytes())
                answers.flush()
        except _CODEC_ERRORS as raised:
            error = f"{type(raised).__name__}: {raised}"
        if error is not None:
            answers.write(json.dumps({"error": error}).encode() + b"\n")
            answers.flush()


def _decode(content: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[tuple[NDArray[Any], _Samples]]:
    """Frames (row, column) of a DICOM file, in stored order and as the header types them, each with what its codestream says."""
    dataset = dcmread(io.BytesIO(content), force=True)
    syntax = dataset.file_meta.TransferSyntaxUID
    frames = _decode_with_gdcm(dataset, dtype) if syntax in _GDCM_ALONE else _decode_with_pydicom(dataset)
    for frame, encoded in zip(frames, _encoded(dataset), strict=False):  # pydicom may find more frames than the header promises
        if frame.shape != shape or not np.can_cast(frame.dtype, dtype, "same_kind"):
            raise ValueError(f"expected {shape} of {dtype}, the codec gave {frame.shape} of {frame.dtype}")
        yield frame.astype(dtype, copy=False), _samples(encoded, syntax)


def _decode_with_pydicom(dataset: Dataset) -> Iterator[NDArray[Any]]:
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    for frame, _ in decoder.iter_array(dataset, raw=True, **as_pixel_options(dataset, **_UNCORRECTED)):
        yield frame


def _encoded(dataset: Dataset) -> Iterator[bytes]:
    options = as_pixel_options(dataset)
    return generate_frames(
        dataset.PixelData, number_of_frames=int(options["number_of_frames"]), extended_offsets=options.get("extended_offsets")
    )


def _samples(encoded: bytes, syntax: UID) -> _Samples:
    """Bits of a sample, and whether it is signed, as a JPEG 2000 or JPEG-LS codestream has it; for others the header counts."""
    if syntax in JPEG2000TransferSyntaxes:
        parameters = get_j2k_parameters(encoded)
        return parameters.get("precision"), parameters.get("is_signed")
    at = 2  # behind the start of the image: segments of a marker and a length
    while syntax in JPEGLSTransferSyntaxes and at + 4 < len(encoded):
        if encoded[at + 1] == _JPEG_LS_FRAME:
            return encoded[at + 4], None
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return None, None


def _decode_with_gdcm(dataset: Dataset, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    for encoded in _encoded(dataset):
        # GDCM hands over characters; surrogates carry the bytes that are none.
        decoded = _gdcm_image(dataset, encoded).GetBuffer().encode("utf-8", "surrogateescape")
        yield np.frombuffer(decoded, dtype).reshape(dataset.Rows, dataset.Columns)


def _gdcm_image(dataset: Dataset, encoded: bytes) -> Any:
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(encoded)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((dataset.Columns, dataset.Rows, 1))
    image.SetDataElement(element)
    shade = gdcm.PhotometricInterpretation.GetPIType(dataset.PhotometricInterpretation)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(shade))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(dataset.file_meta.TransferSyntaxUID))))
    bits = dataset.BitsStored
    image.SetPixelFormat(gdcm.PixelFormat(1, dataset.BitsAllocated, bits, bits - 1, dataset.PixelRepresentation))
    return image


def _limit_memory(budget: int) -> None:
    """Address space beyond what the libraries take; a system without such limits (Windows) is left with the time limit."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + budget
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold the patient's image


if __name__ == "__main__":
    main()
