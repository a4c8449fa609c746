from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import thoracle
from thoracle.inference.demo.assets import write_model
from thoracle.inference.latents import read_latents
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model

Stopped = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tree(sketch: Path, tmp_path: Path) -> Path:
    root = tmp_path / "scans"
    for number in range(4):
        (root / f"p{number}").mkdir(parents=True)
        shutil.copy(sketch, root / f"p{number}" / f"scan_{number}.nii.gz")
    return root


def test_latents_are_those_of_the_library(command, model_dir: Path, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "latents.parquet"
    ran = command("embed", tree, "--model", model_dir, "--out", out)
    assert ran.status == 0, ran.err
    latents = read_latents(out)
    assert latents.names == tuple(f"scan_{n}.nii.gz" for n in range(4))
    volume = thoracle.read(tree / "p0" / "scan_0.nii.gz")
    assert np.array_equal(latents.array[0], thoracle.load(model_dir).encode_volume(volume).latent_BL[0].numpy())
    columns = pq.read_table(out)
    assert columns["source_sha256"].to_pylist() == [volume.provenance.sha256] * 4
    assert set(columns["model"].to_pylist()) == {open_model(model_dir).weights_sha256}
    assert columns.schema.metadata[b"notice"] == b"Research use only. Not a medical device."


def test_tokens_lie_in_files_of_their_own(command, model_dir: Path, tree: Path, tmp_path: Path) -> None:
    out, tokens = tmp_path / "latents.parquet", tmp_path / "tokens"
    command("embed", tree, "--model", model_dir, "--out", out)
    assert command("embed", tree, "--model", model_dir, "--out", out, "--tokens", tokens).status == 0
    assert sorted(path.name for path in tokens.rglob("*")) == [f"scan_{n}.nii.gz.safetensors" for n in range(4)]
    kept = load_file(tokens / "scan_1.nii.gz.safetensors")
    encoding = thoracle.load(model_dir).encode_volume(thoracle.read(tree / "p1" / "scan_1.nii.gz"))
    assert torch.equal(kept["tokens"], encoding.tokens[0])
    assert torch.equal(kept["indices"].flatten().long(), encoding.codebook_indices[0])
    assert read_latents(out).names == tuple(f"scan_{n}.nii.gz" for n in range(4))


def test_one_failed_scan_does_not_stop_the_rest(command, model_dir: Path, tree: Path, tmp_path: Path) -> None:
    (tree / "p1" / "scan_1.nii.gz").write_bytes(b"\x1f\x8b nothing")
    out = tmp_path / "latents.parquet"
    ran = command("embed", tree, "--model", model_dir, "--out", out)
    assert ran.status == 1
    assert read_latents(out).names == tuple(f"scan_{n}.nii.gz" for n in (0, 2, 3))
    assert "scan_1.nii.gz" in (tmp_path / "latents.rows.errors.csv").read_text()


@pytest.mark.parametrize(("signal", "status", "kept"), [("KILL", -9, 2), pytest.param("INT", 130, 3, marks=pytest.mark.slow)])
def test_a_run_that_was_stopped_goes_on(
    command, stopped: Stopped, model_dir: Path, tree: Path, tmp_path: Path, signal: str, status: int, kept: int
) -> None:
    whole, out, tokens = tmp_path / "whole.parquet", tmp_path / "latents.parquet", tmp_path / "tokens"
    command("embed", tree, "--model", model_dir, "--out", whole)
    ended = stopped(signal, "embed", tree, "--model", model_dir, "--out", out, "--tokens", tokens)
    assert ended.returncode == status, ended.stderr
    assert not out.exists()
    assert len(list(tokens.rglob("*"))) == 3
    ran = command("embed", tree, "--model", model_dir, "--out", out, "--tokens", tokens)
    assert f"{4 - kept} done, {kept} done before" in ran.err
    assert read_latents(out).names == read_latents(whole).names
    assert np.array_equal(read_latents(out).array, read_latents(whole).array)


def test_shards_write_files_of_their_own(command, model_dir: Path, tree: Path, tmp_path: Path) -> None:
    names: list[str] = []
    for part in (1, 2):
        assert command("embed", tree, "--model", model_dir, "--out", tmp_path / "l.parquet", "--shard", f"{part}/2").status == 0
        names += read_latents(tmp_path / f"l.{part}-of-2.parquet").names
    assert sorted(names) == [f"scan_{n}.nii.gz" for n in range(4)]


def test_a_model_without_latents_is_refused_before_anything_is_written(command, tree: Path, tmp_path: Path) -> None:
    clip = write_model(tmp_path / "clip")
    prefix = "visual_transformer."
    save_model(
        tmp_path / "ctvit",
        kind="ctvit",
        config=clip.config.ctvit,
        preprocess=clip.preprocess,
        labels=(),
        tensors={name.removeprefix(prefix): tensor for name, tensor in load_state_dict(clip).items() if name.startswith(prefix)},
        tokenizer=None,
        licence="none",
        trained=False,
    )
    ran = command("embed", tree, "--model", tmp_path / "ctvit", "--out", tmp_path / "out" / "latents.parquet")
    assert ran.status == 1
    assert "CapabilityMissing" in ran.err
    ran = command("detect", tree, "--model", tmp_path / "ctvit", "--out", tmp_path / "out" / "predictions.csv")
    assert ran.status == 1
    assert "CapabilityMissing" in ran.err
    assert not (tmp_path / "out").exists()


def test_tokens_of_a_file_that_was_replaced_are_made_anew(command, model_dir: Path, tree: Path, tmp_path: Path) -> None:
    """Even where a run without --tokens came between, which knows nothing of them."""
    out, tokens, scan = tmp_path / "latents.parquet", tmp_path / "tokens", tree / "p1" / "scan_1.nii.gz"
    assert command("embed", tree, "--model", model_dir, "--out", out, "--tokens", tokens).status == 0
    image = nib.load(scan)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), scan)
    ran = command("embed", tree, "--model", model_dir, "--out", out)
    assert "scan_1.nii.gz: the chosen series or the files have changed since its row was made; the row is replaced." in ran.err
    ran = command("embed", tree, "--model", model_dir, "--out", out, "--tokens", tokens)
    assert "1 done, 3 done before, 0 failed" in ran.err
    encoding = thoracle.load(model_dir).encode_volume(thoracle.read(scan))
    assert torch.equal(load_file(tokens / "scan_1.nii.gz.safetensors")["tokens"], encoding.tokens[0])
    assert np.array_equal(read_latents(out).array[1], encoding.latent_BL[0].numpy())
