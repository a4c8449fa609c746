"""What caches hold of a scan or a report is found by content: by the same bytes, the same voxels, the same words, and by nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thoracle.cohort.samples.volume_cache import pack
from thoracle.ct.read import read
from thoracle.files.atomic import sha256
from thoracle.inference.chat.scan_tokens import scan_tokens
from thoracle.inference.model import Model, load
from thoracle.inference.model_locations import register
from thoracle.inference.patient_caches import cached_prompt_files, cached_scan_files, scan_origin, text_hash
from thoracle.inference.prepare import PreparedVolume, prepare


@pytest.fixture
def encoder(model_dir: Path) -> Model:
    return load(model_dir, device="cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _scan(encoder: Model, seed: int) -> PreparedVolume:
    array = np.random.default_rng(seed).normal(-0.5, 0.1, encoder.preprocess.size).astype(np.float32)
    return PreparedVolume(array=array, provenance=None, warnings=())


def _voxels(encoder: Model, scan: PreparedVolume, tmp_path: Path) -> str:
    """The hash that a cohort has of these voxels: of the file that it keeps them in."""
    (tmp_path / "packed.vol").write_bytes(pack(scan.array, scale=encoder.preprocess.intensity_scale))
    return sha256(tmp_path / "packed.vol")


def test_tokens_are_found_by_the_voxels_of_a_cohort(encoder: Model, tmp_path: Path) -> None:
    mine, other = _scan(encoder, 1), _scan(encoder, 2)
    scan_tokens(encoder, other)
    before = set(cached_scan_files({_voxels(encoder, other, tmp_path)}))
    scan_tokens(encoder, mine)
    found = cached_scan_files({_voxels(encoder, mine, tmp_path)})
    assert (len(before), len(found)) == (1, 1)
    assert before.isdisjoint(found)
    assert cached_scan_files({"0" * 64, "", "f" * 64}) != found, "an unknown file is not everybody's"
    assert {path.stat().st_mode & 0o777 for path in (*found, *before)} == {0o600}
    assert found[0].parent.stat().st_mode & 0o777 == 0o700


def test_tokens_are_found_by_the_file_that_was_read_also_where_voxels_differ(encoder: Model, sketch: Path) -> None:
    volume = read(sketch)
    scan_tokens(encoder, prepare(volume, encoder.preprocess))
    shifted = prepare(replace(volume, array=volume.array + 3), encoder.preprocess)
    scan_tokens(encoder, shifted)
    assert len(cached_scan_files({sha256(sketch)})) == 2
    assert cached_scan_files({"a" * 64}) == []


def test_files_of_before_that_do_not_say_whose_they_are_are_listed_too(cache: Path) -> None:
    old = cache / "codes-0123456789abcdef" / f"{'a' * 40}.safetensors"
    new = old.with_name(f"{scan_origin(source_sha256='b' * 64, voxels_sha256='c' * 64)}-{'a' * 40}.safetensors")
    old.parent.mkdir(parents=True)
    for path in (old, new):
        path.touch()
    assert cached_scan_files(set()) == [old]
    assert cached_scan_files({"c" * 64}) == [old, new]


def test_prompts_are_found_by_the_text_they_were_made_of_wherever_they_lie(encoder: Model, model_dir: Path, cache: Path) -> None:
    beside = model_dir / "prompt-latents-x"
    encoder.prompt_latents(["Zebra stripes", "Mass"])
    register(model_dir, encoder.folder.weights_sha256)
    (path,) = cached_prompt_files(["zebra  STRIPES"])
    assert (path.parent, path.name[:15]) == (model_dir, beside.name[:15])
    assert cached_prompt_files(["Zebra", "", "Zebra stripes. Mass"]) == []
    path.rename(cache / path.name)
    assert cached_prompt_files(["Mass"]) == [cache / path.name]
    (cache / path.name).write_bytes(b"damaged")
    assert cached_prompt_files(["Mass"]) == []
    assert text_hash("A  b") == text_hash("a B") != text_hash("ab")
