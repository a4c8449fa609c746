"""What stands beside weights in training checkpoints is made inert; a pickle that would do more is refused before anything runs."""

from __future__ import annotations

import argparse
import codecs
import io
import pickle
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch

from thoracle.errors import CheckpointDamaged, CheckpointUnknown, CheckpointUnsafe
from thoracle.models.weights.checkpoint import read_checkpoint
from thoracle.models.weights.pickle_policy import Placeholder, check_pickles

WEIGHTS = {"weight": torch.arange(6.0).view(2, 3)}
BESIDE: dict[str, Any] = {
    "epoch": np.int64(3),
    "lr": np.float32(1e-5),
    "finished": np.bool_(False),
    "dtype": np.dtype("float32"),
    "curve": np.arange(5.0),
    "generator": np.random.RandomState(0).get_state(),
    "args": argparse.Namespace(lr=np.float64(1e-5), out=PurePosixPath("runs/1"), name="x", inner=argparse.Namespace(gpu=None)),
    "bytes": b"\x00\xff",
}


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("name", BESIDE)
def test_what_training_loops_write_beside_weights_does_not_keep_them_from_being_read(kind: str, name: str, tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, name: BESIDE[name]}, tmp_path / "x.pt", _use_new_zipfile_serialization=kind == "zip")
    tensors = read_checkpoint(tmp_path / "x.pt")
    assert tensors.keys() == WEIGHTS.keys()
    assert torch.equal(tensors["weight"], WEIGHTS["weight"])


def test_an_earlier_numpy_wrote_other_names(tmp_path: Path) -> None:
    """`numpy.core` became `numpy._core` in numpy 2."""
    torch.save({"model": WEIGHTS, "epoch": np.int64(3)}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    raw = (tmp_path / "x.pt").read_bytes()
    assert b"numpy._core.multiarray" in raw
    (tmp_path / "x.pt").write_bytes(raw.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_checkpoint(tmp_path / "x.pt").keys() == WEIGHTS.keys()


def test_a_number_of_numpy_is_no_tensor(tmp_path: Path) -> None:
    torch.save({"weight": WEIGHTS["weight"], "scale": np.float32(2)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointUnknown, match="'scale' is a Placeholder, not a plain tensor"):
        read_checkpoint(tmp_path / "x.pt")


def test_a_placeholder_ignores_what_it_is_made_of() -> None:
    marker: list[int] = []
    made = Placeholder(marker, 3)
    made.__setstate__({"append": marker})
    assert vars(made) == {}


class Encode:
    """A pickle of this calls `codecs.encode`, as pickles of bytes do."""

    def __init__(self, text: object, codec: str) -> None:
        self.arguments = text, codec

    def __reduce__(self) -> tuple[object, ...]:
        return codecs.encode, self.arguments


@pytest.mark.parametrize("codec", ["hex", "punycode", "utf-32", "unicode_escape", "latin-1", "LATIN1"])
def test_text_is_encoded_as_bytes_are_written_and_in_no_other_way(codec: str, tmp_path: Path) -> None:
    """Doubling a text by its escapes thirty times would take a gigabyte."""
    torch.save({**WEIGHTS, "x": Encode("ab", codec)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointUnsafe, match=r"encodes text.*not run"):
        read_checkpoint(tmp_path / "x.pt")


def test_the_result_of_a_call_is_not_encoded_again(tmp_path: Path) -> None:
    torch.save({**WEIGHTS, "x": Encode(Encode("ab", "latin1"), "latin1")}, tmp_path / "x.pt")
    with pytest.raises(CheckpointUnsafe, match="encodes text"):
        read_checkpoint(tmp_path / "x.pt")


def test_a_name_in_the_memo_is_followed() -> None:
    """The second call takes the function from the memo, and another codec."""
    pickled = pickle.dumps([Encode("ab", "latin1"), Encode("cd", "hex")], protocol=2)
    assert pickled.count(b"_codecs") == 1
    with pytest.raises(CheckpointUnsafe, match="encodes text"):
        check_pickles(io.BytesIO(pickled), Path("x"), count=1, budget=1000)
    check_pickles(io.BytesIO(pickle.dumps([b"ab\xff", b"ab\xff", b"c\xff"], protocol=2)), Path("x"), count=1, budget=1000)


def test_a_pickle_that_is_cut_or_too_long_is_damaged() -> None:
    pickled = pickle.dumps(["x" * 100, 1], protocol=2)
    with pytest.raises(CheckpointDamaged, match="cannot be read"):
        check_pickles(io.BytesIO(pickled[:50]), Path("x"), count=1, budget=1000)
    with pytest.raises(CheckpointDamaged, match="more than 50 bytes"):
        check_pickles(io.BytesIO(pickled), Path("x"), count=1, budget=50)
