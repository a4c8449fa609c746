"""Two steps of a run in a process of its own, and the memory that they took: `python plan_steps.py NAME`."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor

from thoracle.cohort.samples.dataset import Sample
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.models.ctclip.config import CTCLIPConfig, CTViTConfig
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.medfinder.config import MedFinderConfig, ResNetConfig
from thoracle.models.medfinder.model import MedFinder
from thoracle.models.text.config import TextConfig
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.contrastive.medfinder import MedFinderRunConfig
from thoracle.training.contrastive.pair_plan import plan_pairs
from thoracle.training.contrastive.run import contrastive_run, medfinder_run
from thoracle.training.engine.distributed import World

CPU = torch.profiler.ProfilerActivity.CPU
TEXT = TextConfig(vocab_size=512, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)
SIZE = (64, 80, 80)
SHARED = {
    "preprocess": PreprocessConfig(spacing=(4.0, 4.0, 4.0), size=SIZE),
    "steps": 2,
    "num_workers": 0,
    "save_every": 5,
    "max_text_tokens": 64,
}
CLIP = CTCLIPConfig(
    ctvit=CTViTConfig(
        dim=128,
        codebook_size=256,
        image_size=80,
        patch_size=10,
        temporal_patch_size=8,
        spatial_depth=2,
        temporal_depth=2,
        dim_head=32,
        heads=4,
    ),
    bert=TEXT,
    dim_latent=64,
    n_frames=64,
)
RESNET = ResNetConfig(blocks=(1, 1, 1, 1), widths=(16, 32, 64, 128), bottleneck=False)
FINDER = MedFinderConfig(size=SIZE, resnet=RESNET, bert=TEXT, dim_latent=64, heads=4)
CONFIGS = {
    "whole batch": ContrastiveConfig(model=CLIP, batch_size=8, **SHARED),
    "chunks": ContrastiveConfig(model=CLIP, batch_size=16, gradient_cache_chunk=8, **SHARED),
    "checkpointing": ContrastiveConfig(model=CLIP, batch_size=32, activation_checkpointing=True, **SHARED),
    "two views": MedFinderRunConfig(model=FINDER, freeze_text_encoder=False, batch_size=4, **SHARED),
}


class Noise:
    """A volume of noise, which takes no memory before it is asked for, as one in a cache."""

    size = SIZE

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def read_into(self, hu_ZHW: Tensor) -> None: ...

    def write_input(self, hu_ZHW: Tensor, input_ZHW: Tensor) -> None:
        input_ZHW.normal_(generator=self._generator).clamp_(-1, 1)


class Pairs:
    """Pairs of noise whose reports fill the text encoder."""

    def __len__(self) -> int:
        return 128

    def stored_volume(self, index: int, epoch: int) -> Noise:
        return Noise(index)

    def __getitem__(self, index: int) -> Sample:
        stored = self.stored_volume(index, 0)
        return Sample(stored=stored, report="a b c d " * 20, labels=torch.zeros(18), volume=str(index), scan=str(index), patient="p")

    def set_epoch(self, epoch: int) -> None: ...


def peak(profile: torch.profiler.profile) -> int:
    """The most bytes that torch's allocator had given out at once, by its own events."""
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def main(name: str) -> None:
    config = CONFIGS[name]
    sizes = {"samples": len(Pairs()), "cache": 0, "ranks": 1, "local_ranks": 1}
    finder = isinstance(config, MedFinderRunConfig)
    plan = plan_pairs(config, lambda: MedFinder(FINDER), views=2, **sizes) if finder else plan_pairs(config, lambda: CTCLIP(CLIP), **sizes)
    make = medfinder_run if finder else contrastive_run
    with tempfile.TemporaryDirectory() as folder, torch.profiler.profile(profile_memory=True, activities=[CPU]) as profile:
        world = World(rank=0, size=1, device=torch.device("cpu"))
        steps = make(replace(config, out=f"{folder}/run"), Pairs(), world, words=lambda: ["a b c d"]).run()
        next(steps), next(steps)
    print(json.dumps({"planned": plan.device_total, "measured": peak(profile), **plan.device}))


if __name__ == "__main__":
    main(sys.argv[1])
