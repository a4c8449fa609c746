"""Latents and tokens of a frozen encoder: computed once, gone on with after a stop, computed again where damaged or of another volume."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.training.memory_volumes import MemoryVolume
from thoracle.cohort.samples.dataset import Sample
from thoracle.models.ctclip.model import CTCLIP
from thoracle.training.engine.distributed import World
from thoracle.training.finetuning import frozen_features as module
from thoracle.training.finetuning.frozen_features import expand_tokens

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


class Counted(MemoryVolume):
    """A volume whose reading is counted."""

    def __init__(self, volume_1ZHW: torch.Tensor, noise: Noise, index: int) -> None:
        super().__init__(volume_1ZHW)
        self._noise, self._index = noise, index

    def read_into(self, hu_ZHW: torch.Tensor) -> None:
        if self._index == self._noise.fail:
            raise KeyboardInterrupt
        self._noise.read.append(self._index)


class Noise:
    """Five volumes; `read` says which were read, and `fail` is one that cannot be read."""

    def __init__(self, fail: int = -1) -> None:
        self.read: list[int] = []
        self.fail = fail

    def __len__(self) -> int:
        return 5

    def set_epoch(self, epoch: int) -> None:
        pass

    def __getitem__(self, index: int) -> Sample:
        volume = torch.randn(1, 20, 40, 40, generator=torch.Generator().manual_seed(index))
        return Sample(stored=Counted(volume, self, index), report="", labels=torch.zeros(18), volume=f"v{index}", scan="", patient="")


@pytest.fixture
def clip(steps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> CTCLIP:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    torch.manual_seed(0)
    return CTCLIP(steps.MODEL)


def latents(clip: CTCLIP, volumes: Noise, folder: Path, *, keys: str = "abcde", model: str = "m", kept="latents", **more) -> torch.Tensor:
    return module.encode_frozen_features(
        partial(module.encode_clip_feature, clip.eval()),
        volumes,
        ALONE,
        shape=module.feature_shape(clip, kept),
        feature=kept,
        keys=list(keys),
        model_sha256=model,
        folder=folder,
        batch=3,
        **more,
    )


def test_they_are_those_of_each_volume_alone_and_computed_once(clip: CTCLIP, tmp_path: Path) -> None:
    told: list[int] = []
    got = latents(clip.train(), Noise(), tmp_path, completed=told.append)
    with torch.no_grad():
        expected = torch.cat([clip.eval().encode_volume(Noise()[index].read_volume()[None]).latent_BL for index in range(5)])
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    assert told == sorted(told)
    assert told[-1] == 5
    again = Noise()
    assert torch.equal(latents(clip, again, tmp_path), got)
    assert again.read == []


def test_a_stopped_run_goes_on_after_its_last_whole_file(clip: CTCLIP, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        latents(clip, Noise(fail=3), tmp_path)
    rest = Noise()
    latents(clip, rest, tmp_path)
    assert rest.read == [2, 3, 4]


def test_another_volume_or_model_and_a_damaged_file_are_computed_again(clip: CTCLIP, tmp_path: Path) -> None:
    whole = latents(clip, Noise(), tmp_path)
    other = Noise()
    latents(clip, other, tmp_path, keys="abXde")
    assert other.read == [2, 3]
    other = Noise()
    latents(clip, other, tmp_path / "models", model="n")
    assert other.read == [0, 1, 2, 3, 4]
    for file in tmp_path.glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-7])
    assert torch.equal(latents(clip, Noise(), tmp_path), whole)


@pytest.mark.parametrize(("pool", "quantize"), [("mean", True), ("mean", False), ("grid", True)])
def test_tokens_are_those_that_latents_are_read_from(steps: ModuleType, clip: CTCLIP, tmp_path: Path, pool: str, quantize: bool) -> None:
    clip = CTCLIP(replace(steps.MODEL, spatial_pool=pool, ctvit=replace(steps.MODEL.ctvit, quantize=quantize))).eval()
    kept = latents(clip, Noise(), tmp_path, kept="tokens")
    volumes = torch.stack([Noise()[index].read_volume() for index in range(5)])
    with torch.no_grad():
        expected = clip.pooling_tokens(clip.visual_transformer(volumes))
    if pool == "mean" and quantize:  # codes are kept, by which tokens are exact
        assert (kept.dtype, kept.shape) == (torch.int32, (5, 2, 2, 2))
        assert torch.equal(expand_tokens(clip, kept), expected)
    else:
        assert (kept.dtype, kept.shape) == (torch.float16, (5, 2, 2, 2, 16))
        torch.testing.assert_close(expand_tokens(clip, kept), expected, atol=1e-3, rtol=1e-3)
    again = Noise()
    assert torch.equal(latents(clip, again, tmp_path, kept="tokens"), kept)
    assert again.read == []
    assert latents(clip, again, tmp_path).shape == (5, 16)  # not mistaken for each other
    assert again.read != []
