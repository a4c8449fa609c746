"""Time and memory of one scan through the full-size model, beside a naive rendering of the published code and beside the hardware's floor.

    python bench/detect.py [--dtype float32|bf16] [--runs 4] [--skip-naive]

Weights and volume (240 x 480 x 480) are random. Each candidate runs in a process of its own, so that its peak memory is its own; the best
of a few runs counts. The floor is what the needed products, 790 GFLOP, take at the rate this machine multiplies matrices of the model's
shapes, measured between the runs. The published detection encodes the volume once a finding, 18 times, each with two prompts padded to
512 tokens: one such pass of the naive rendering is timed and multiplied. Ours encodes the volume once; prompt latents are cached beside
the model. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import cast

import naive
import torch
import torch.nn.functional as F
from torch import Tensor

from thoracle.models.common.zero_shot import zero_shot_probabilities
from thoracle.models.ctclip.config import PRESETS
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.weights.precision import to_bfloat16

CONFIG = PRESETS["ct-clip"]
NEEDED_GFLOP = 790
PASSES = 18
PROMPT_TOKENS = 512
STAGES = ("patch embedding", "spatial", "temporal", "codebook", "projection", "prompts")
#: Rows, inner, columns: feed-forward up and down, codebook, patch embedding, as the model multiplies them and whole.
SHAPES = ((1152, 512, 1365), (1152, 1365, 512), (512, 512, 8192), (576, 4000, 512), (13824, 512, 2730), (13824, 1365, 512))


@dataclass
class Measured:
    """Of the best run: seconds by stage; of the process: GiB at its peak, and with weights and volume only."""

    stages: dict[str, float] = field(default_factory=dict)
    gflops: float = 0.0
    peak_gib: float = 0.0
    loaded_gib: float = 0.0

    @property
    def seconds(self) -> float:
        return sum(self.stages.values())


class StageClock:
    """Seconds between calls, by name."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, stage: str) -> None:
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._last
        self._last = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=["float32", "bf16"], action="append", help="default: both")
    parser.add_argument("--runs", type=int, default=4, help="of each dtype; the best counts")
    parser.add_argument("--skip-naive", action="store_true")
    parser.add_argument("--candidate", choices=["float32", "bf16", "naive"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.candidate:
        print(json.dumps(asdict(_measure(options.candidate, options.runs))))
        return
    names = (options.dtype or ["float32", "bf16"]) + ([] if options.skip_naive else ["naive"])
    _report({name: _in_own_process(name, options.runs) for name in names})


def _in_own_process(name: str, runs: int) -> Measured:
    command = [sys.executable, __file__, "--candidate", name, "--runs", str(runs)]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Measured(**json.loads(process.stdout))


@torch.no_grad()
def _measure(name: str, runs: int) -> Measured:
    logging.basicConfig(format="%(message)s")
    torch.manual_seed(0)
    run = _naive() if name == "naive" else _ours(torch.bfloat16 if name == "bf16" else torch.float32)
    volume = torch.rand(1, 1, CONFIG.n_frames, CONFIG.ctvit.image_size, CONFIG.ctvit.image_size) * 2 - 1
    measured = Measured(loaded_gib=_peak_gib())
    for _ in range(min(runs, 2) if name == "naive" else runs):
        clock = StageClock()
        run(volume, clock)
        if not measured.stages or sum(clock.stages.values()) < measured.seconds:
            measured.stages = clock.stages
        measured.peak_gib = max(measured.peak_gib, _peak_gib())
        measured.gflops = max(measured.gflops, *(_matmul_gflops(*shape) for shape in SHAPES))
    return measured


def _ours(dtype: torch.dtype) -> Callable[[Tensor, StageClock], None]:
    model = to_bfloat16(_random_model(used_only=True), dtype)
    prompts = F.normalize(torch.randn(2 * PASSES, CONFIG.dim_latent), dim=-1)
    clocks: list[StageClock] = []
    encoder = model.visual_transformer
    for before, stage in ((encoder.enc_spatial_transformer, "patch embedding"), (encoder.enc_temporal_transformer, "spatial")):
        before.register_forward_pre_hook(lambda *_, stage=stage: clocks[-1](stage))
    encoder.vq["_codebook"].register_forward_pre_hook(lambda *_: clocks[-1]("temporal"))
    encoder.register_forward_hook(lambda *_: clocks[-1]("codebook"))

    def run(volume: Tensor, clock: StageClock) -> None:
        clocks.append(clock)
        zero_shot_probabilities(prompts, cast(Tensor, model.encode_volume(volume).latent_BL), model.temperature.exp())
        clock("projection")

    return run


def _naive() -> Callable[[Tensor, StageClock], None]:
    weights = _random_model(used_only=False).state_dict()
    ids = torch.randint(0, CONFIG.bert.vocab_size, (2, PROMPT_TOKENS))

    def run(volume: Tensor, clock: StageClock) -> None:
        tokens = naive.encode_volume(naive.under(weights, "visual_transformer."), CONFIG.ctvit, volume, timed=clock).tokens
        latent = naive.image_latent(weights, tokens)
        clock("projection")
        zero_shot_probabilities(naive.text_latent(weights, CONFIG, ids, torch.ones_like(ids)), latent, weights["temperature"].exp())
        clock("prompts")

    return run


def _random_model(*, used_only: bool) -> CTCLIP:
    """Random weights. Tensors that nothing reads stay without memory behind them, as with a mapped file, if `used_only`."""
    with torch.device("meta"):
        model = CTCLIP(CONFIG)
    model.to_empty(device="cpu")
    unread = ("to_pixels", "first_frame", "_extra", "text_transformer") if used_only else ()
    for key, value in model.state_dict().items():
        if any(part in key for part in unread):
            continue
        if value.dim() >= 2 and value.numel():
            value.normal_(std=(value.numel() / value.shape[0]) ** -0.5)
        else:
            value.fill_(1.0 if key.endswith(("gamma", "weight", "scale", "temperature")) else 0.0)
    return model.eval()


def _matmul_gflops(rows: int, inner: int, columns: int) -> float:
    x, weight, seconds = torch.randn(rows, inner), torch.randn(columns, inner), []
    for _ in range(4):
        start = time.perf_counter()
        F.linear(x, weight)
        seconds.append(time.perf_counter() - start)
    return 2e-9 * rows * inner * columns / min(seconds)


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _report(results: dict[str, Measured]) -> None:
    rate = max(result.gflops for result in results.values())
    floor = NEEDED_GFLOP / rate
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; float32 products {rate:.0f} GFLOP/s; floor {floor:.2f} s")
    print(f"{'seconds':18}" + "".join(f"{name:>12}" for name in results))
    for stage in STAGES:
        print(f"{stage:18}" + "".join(f"{result.stages.get(stage, 0.0):12.3f}" for result in results.values()))
    _row("one pass", results, lambda result: f"{result.seconds:.2f}")
    _row("over the floor", results, lambda result: f"{result.seconds / floor:.2f} x")
    _row("peak GiB", results, lambda result: f"{result.peak_gib:.2f}")
    _row("of it loaded", results, lambda result: f"{result.loaded_gib:.2f}")
    if "naive" in results:
        case = PASSES * results["naive"].seconds
        _row("s a case", results, lambda result: f"{case if result is results['naive'] else result.seconds:.2f}")
        _row("faster a case", results, lambda result: "" if result is results["naive"] else f"{case / result.seconds:.0f} x")
        _row("of naive's memory", results, lambda result: f"{result.peak_gib / results['naive'].peak_gib:.2f}")


def _row(title: str, results: dict[str, Measured], cell: Callable[[Measured], str]) -> None:
    print(f"{title:18}" + "".join(f"{cell(result):>12}" for result in results.values()))


if __name__ == "__main__":
    main()
