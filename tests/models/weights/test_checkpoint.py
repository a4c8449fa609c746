"""A checkpoint from anywhere gives tensors or a typed error, and never runs what is inside it."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from thoracle.errors import CheckpointDamaged, CheckpointUnknown, CheckpointUnsafe, InputError, ModelError
from thoracle.models.weights.checkpoint import read_checkpoint

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.empty": torch.zeros(4, 0, 16), "a.scale": torch.tensor(1.3)}


class Evil:
    """A pickle of this runs a command when it is loaded carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


def _write(kind: str, path: Path, state: object = STATE) -> Path:
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)  # type: ignore[arg-type]
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    return path


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".pth", ".anything"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_the_container_is_told_by_its_bytes(tmp_path: Path, kind: str, suffix: str) -> None:
    tensors = read_checkpoint(_write(kind, tmp_path / f"x{suffix}"))
    assert set(tensors) == set(STATE)
    assert all(torch.equal(tensors[k], STATE[k]) and tensors[k].shape == STATE[k].shape for k in STATE)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_the_model_is_taken_out_of_a_training_checkpoint(tmp_path: Path, wrapper: str) -> None:
    whole = {wrapper: STATE, "optimizer": {"state": {0: torch.zeros(5)}}, "step": 7}
    assert set(read_checkpoint(_write("zip", tmp_path / "x.pt", whole))) == set(STATE)
    assert set(read_checkpoint(_write("zip", tmp_path / "y.pt", {"model": whole}))) == set(STATE)


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare pickle"])
@pytest.mark.parametrize("hidden", [False, True])
def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path: Path, kind: str, hidden: bool) -> None:
    marker = tmp_path / "ran"
    bomb: object = {**STATE, "optimizer": Evil(marker)} if hidden else Evil(marker)
    path = tmp_path / "x.bin"
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(Evil(marker), protocol=2))
    else:
        _write(kind, path, bomb)
    with pytest.raises(CheckpointUnsafe, match=r"system.*not run" if kind != "bare pickle" else "not run"):
        read_checkpoint(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Evil(marker)))  # noqa: S301
    assert marker.exists(), "the code in this test must be code"


def test_torchscript_is_refused_as_code(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}))
        archive.writestr("x/constants.pkl", pickle.dumps(()))
    with pytest.raises(CheckpointUnsafe, match="TorchScript"):
        read_checkpoint(path)


def test_a_second_pickle_cannot_hide_behind_capitals(tmp_path: Path) -> None:
    path = _write("zip", tmp_path / "x.pt")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/DATA.PKL", pickle.dumps(Evil(tmp_path / "ran"), protocol=2))
    with pytest.raises(CheckpointDamaged, match=r"one data\.pkl"):
        read_checkpoint(path)


def test_a_compressed_zip_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}))
        archive.writestr("x/data/0", bytes(100 * 2**20))
    with pytest.raises(CheckpointDamaged, match="compressed"):
        read_checkpoint(path)


class Call:
    """A pickle of this calls a function that torch itself allows."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.called


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_functions_that_unfold_to_any_size_are_not_called(tmp_path: Path, kind: str) -> None:
    """Ten of these took 20 GB, by a file of 1 kB, while only torch's own list was asked."""
    with pytest.raises(CheckpointUnsafe, match="bytearray"):
        read_checkpoint(_write(kind, tmp_path / "a", {**STATE, "x": Call(bytearray, 10**9)}))
    wide = Call(torch._utils._rebuild_device_tensor_from_cpu_tensor, torch.zeros(1).expand(10**9), torch.float64, "cpu", False)
    with pytest.raises(CheckpointUnsafe, match=r"_rebuild_device_tensor_from_cpu_tensor"):
        read_checkpoint(_write(kind, tmp_path / "b", {"x": wide}))


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_long_pickle_is_refused_before_it_is_unpickled(tmp_path: Path, kind: str) -> None:
    with pytest.raises(CheckpointDamaged, match="pickle"):
        read_checkpoint(_write(kind, tmp_path / "x", {**STATE, "junk": "x" * 5 * 2**20}))


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_what_training_loops_save_beside_the_model_is_no_reason_to_refuse_it(tmp_path: Path, kind: str) -> None:
    linear = torch.nn.Linear(3, 4)
    optimiser = torch.optim.AdamW(linear.parameters())
    linear(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3, 5])
    whole = {
        "model": linear.state_dict(),
        "parameter": torch.nn.Parameter(torch.zeros(2)),
        "optimizer": optimiser.state_dict(),
        "scheduler": schedule.state_dict(),
        "dtype": torch.bfloat16,
        "size": torch.Size([2]),
        "device": torch.device("cpu"),
        "half": torch.zeros(2, dtype=torch.bfloat16),
        "args": {"lr": 1e-5, "name": "x", "betas": (0.9, 0.99), "none": None, "long": 2**70},
    }
    assert set(read_checkpoint(_write(kind, tmp_path / "x", whole))) == {"weight", "bias"}


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_small_file_cannot_claim_large_tensors(tmp_path: Path, kind: str) -> None:
    one = torch.zeros(1000)
    for name, state in {
        "stride 0": {"a": torch.zeros(1).expand(10**9)},
        "shared": {f"a{i}": one for i in range(100)},
    }.items():
        with pytest.raises(CheckpointDamaged, match="not all in it"):
            read_checkpoint(_write(kind, tmp_path / name, state))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ([torch.zeros(2)], CheckpointUnknown),
        ({}, CheckpointUnknown),
        ({1: torch.zeros(2)}, CheckpointUnknown),
        ({"epoch": 3}, CheckpointUnknown),
        ({"a": torch.zeros(3, 3).to_sparse()}, CheckpointUnsafe),
    ],
)
def test_other_contents_are_named(tmp_path: Path, content: object, error: type[ModelError]) -> None:
    with pytest.raises(error):
        read_checkpoint(_write("zip", tmp_path / "x.pt", content))


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"<!doctype html>", b"cos\nsystem\n(S'true'\ntR."]
)
def test_what_is_no_checkpoint_is_told_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointUnknown, match=r"neither safetensors.*Git LFS"):
        read_checkpoint(tmp_path / "x.pt")
    with pytest.raises(InputError):
        read_checkpoint(tmp_path / "absent.pt")


def test_a_flipped_bit_in_a_weight_is_found_by_the_zip_checksum(tmp_path: Path) -> None:
    path = _write("zip", tmp_path / "x.pt")
    raw = bytearray(path.read_bytes())
    where = raw.find(STATE["a.weight"].numpy().tobytes())
    raw[where + 5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CheckpointDamaged, match="checksum"):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncations_and_random_bytes_end_in_a_typed_error_or_the_same_tensors(tmp_path: Path, kind: str) -> None:
    """200 damaged copies a container. The legacy pickle has no checksum, so there a changed weight can pass; a crash cannot."""
    whole = _write(kind, tmp_path / "x.pt").read_bytes()
    chance = random.Random(7)
    for i in range(200):
        raw = bytearray(whole)
        if i % 2:
            raw = raw[: chance.randrange(len(raw))]
        else:
            for _ in range(chance.choice([1, 1, 8])):
                raw[chance.randrange(len(raw))] = chance.randrange(256)
        path = tmp_path / "damaged.pt"
        path.write_bytes(raw)
        try:
            tensors = read_checkpoint(path)
        except ModelError:
            continue
        assert kind != "zip" or all(torch.equal(v, STATE[k]) for k, v in tensors.items() if k in STATE)
        assert sum(t.nbytes for t in tensors.values()) <= 2 * len(raw)


def test_a_tensor_is_mapped_not_read(tmp_path: Path) -> None:
    """Unused weights (a third of the published file) must not take memory."""
    for kind in ("zip", "safetensors"):
        path = _write(kind, tmp_path / kind, {"a": torch.zeros(16 * 2**20)})
        before = _resident()
        tensors = read_checkpoint(path)
        assert _resident() - before < 16 * 2**20
        assert tensors["a"].nbytes == 64 * 2**20


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_the_published_files_open(golden_dir: Path) -> None:
    for name in ("ctclip_checkpoint.pt", "lipro_checkpoint.pt", "mm_projector.bin", "text_classifier_checkpoint.pth"):
        assert len(read_checkpoint(golden_dir / "published" / name)) > 10
