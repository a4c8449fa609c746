"""Samples a second and peak memory of a full-size training step, beside a straight rendering of the published one.

    python bench/train.py                 # on a CPU: batches of 1 and 2, one layer of each image stack instead of four
    python bench/train.py --batch 8 16    # on a GPU: full depth; float32, bf16, with and without checkpointing and compile

Each line is a process of its own, so that memory is its own: one step to warm up, then the fastest of a few.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import naive
import torch
import torch.nn.functional as F
from torch import Tensor

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.models.common.losses import contrastive_loss
from thoracle.models.ctclip.config import PRESETS, CTCLIPConfig
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.ctclip import ContrastiveConfig, ContrastiveTask
from thoracle.training.engine.distributed import World, clip_gradients, distributed_context
from thoracle.training.engine.optimizer import build_adamw
from thoracle.training.engine.sampler import Batch

TOKENS = 200  # of a report
PADDED = 512  # to which the published loop pads it
STEPS = 3
Step = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 16] if on_gpu else [1, 2])
    parser.add_argument("--preset", choices=list(PRESETS), default="ct-clip", help="sizes of the model; the figures are of ct-clip's")
    parser.add_argument("--depth", type=int, default=4 if on_gpu else 1, help="layers of each image stack")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(**json.loads(options.one))))
        return
    kinds: list[dict[str, Any]] = [{"kind": "naive"}, {"kind": "ours"}, {"kind": "ours", "checkpoint": True}]
    if on_gpu:
        switches = itertools.product((False, True), repeat=2)
        kinds += [{"kind": "ours", "bf16": True, "checkpoint": checkpoint, "compiled": compiled} for checkpoint, compiled in switches]
    print("| batch | step | samples/s | peak GiB |\n| --- | --- | --- | --- |", flush=True)
    is_measured = False
    for batch, kind in itertools.product(options.batch, kinds):
        arguments = json.dumps({**kind, "batch": batch, "depth": options.depth, "preset": options.preset})
        process = subprocess.run([sys.executable, __file__, "--one", arguments], capture_output=True, text=True, check=False)
        name = ", ".join([str(kind["kind"]), *(word for word, on in kind.items() if on is True)])
        if process.returncode:
            killed = f"ended by {signal.Signals(-process.returncode).name}, most likely for memory" if process.returncode < 0 else ""
            print(f"| {batch} | {name} | {killed or process.stderr.strip().splitlines()[-1][:80]} | |", flush=True)
            continue
        is_measured = True
        figures = json.loads(process.stdout.splitlines()[-1])
        print(f"| {batch} | {name} | {figures['samples_per_second']:.3f} | {figures['gib']:.1f} |", flush=True)
    if not is_measured:
        sys.exit("no way of training ran")


def measure(
    *, kind: str, batch: int, depth: int, preset: str, bf16: bool = False, checkpoint: bool = False, compiled: bool = False
) -> dict[str, float]:
    full = PRESETS[preset]
    size = (full.n_frames, full.ctvit.image_size, full.ctvit.image_size)
    model = replace(full, ctvit=replace(full.ctvit, spatial_depth=depth, temporal_depth=depth))
    torch.manual_seed(0)
    with distributed_context() as world:
        config = ContrastiveConfig(
            model=model,
            preprocess=PreprocessConfig(size=size),
            batch_size=batch,
            precision="bf16" if bf16 else "float32",
            activation_checkpointing=checkpoint,
            compile=compiled,
        )
        pairs = Batch(
            volume_B1ZHW=torch.randn(batch, 1, *size).clamp(-1, 1),
            input_ids_BN=torch.randint(5, full.bert.vocab_size, (batch, TOKENS)),
            attention_mask_BN=torch.ones(batch, TOKENS, dtype=torch.long),
            names=("",) * batch,
        )
        step = our_step(config, pairs, world) if kind == "ours" else naive_step(model, pairs, world.device)
        seconds = []
        for _ in range(1 + STEPS):
            start = time.perf_counter()
            step()
            if world.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    cuda = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"samples_per_second": batch / min(seconds[1:]), "gib": peak / 2**30}


def our_step(config: ContrastiveConfig, pairs: Batch, world: World) -> Step:
    task = ContrastiveTask(CTCLIP(config.model), config, world, tokenizer=Tokenizer.from_words([]))
    optimizer = build_adamw(task.trainable_parameters(), config.optimizer, text=task.text_parameters())

    def step() -> None:
        task.accumulate_gradients([pairs])
        clip_gradients(task.trainable_parameters(), world, limit=0.5)
        optimizer.step()
        optimizer.zero_grad()

    return step


def naive_step(config: CTCLIPConfig, pairs: Batch, device: torch.device) -> Step:
    """As published: the batch in one piece, text padded, one-hot codes, Adam a weight at a time, weights that are never used included."""
    clip = CTCLIP(config).to(device)
    weights = {**dict(clip.named_buffers()), **dict(clip.named_parameters())}
    optimizer = torch.optim.Adam(clip.parameters(), lr=1.25e-6, betas=(0.9, 0.99), foreach=False)
    ids = F.pad(pairs.input_ids_BN, (0, PADDED - TOKENS)).to(device)
    mask = F.pad(pairs.attention_mask_BN, (0, PADDED - TOKENS)).to(device)
    volume = next(iter(pairs.volume_B1ZHW.split(len(pairs)))).to(device)
    book = weights["visual_transformer.vq._codebook.embed"]

    def step() -> None:
        text = naive.text_latent(weights, config, ids, mask)
        encoding = naive.encode_volume(naive.under(weights, "visual_transformer."), config.ctvit, volume)
        before = encoding.before_codebook
        tokens = before + (encoding.tokens.view(before.shape) - before).detach()
        image = naive.image_latent(weights, tokens.view(encoding.tokens.shape))
        logits = weights["temperature"].exp() * text @ image.T
        contrastive_loss(logits, logits.T).backward()
        _move(book, before.detach(), encoding.indices)
        torch.nn.utils.clip_grad_norm_(clip.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()

    return step


@torch.no_grad()
def _move(book: Tensor, tokens: Tensor, indices: Tensor) -> None:
    one_hot = F.one_hot(indices.flatten(), book.shape[1]).float()
    sums = one_hot.T @ F.normalize(tokens.flatten(0, 1), dim=-1)
    counts = one_hot.sum(dim=0)
    codes = F.normalize(book[0], dim=-1)
    means = torch.where(counts[:, None] == 0, codes, F.normalize(sums / counts.clamp(min=1)[:, None], dim=-1))
    book[0].lerp_(means, 0.2)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
