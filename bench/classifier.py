"""How long an epoch of LiPro takes over 50,000 scans whose latents are computed: `python bench/classifier.py`.

Latents and labels are random; what is timed is the run as `thoracle train classifier` makes it, checkpoints and curves included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from thoracle.models.bundle.model_folder import ModelFolder, save_model
from thoracle.models.common.losses import positive_weights
from thoracle.models.ctclip.config import CTCLIPConfig, CTViTConfig
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.text.config import TextConfig
from thoracle.training.engine.distributed import World
from thoracle.training.engine.trainer import Trainer
from thoracle.training.finetuning.classifier import ClassifierTask, collate_features
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.frozen_features import FeatureDataset
from thoracle.types import ABNORMALITIES


def main() -> None:
    """Print seconds for each size of batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=50_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 64, 512])
    options = parser.parse_args()
    rows, labels = torch.randn(options.scans, 512), (torch.rand(options.scans, 18) < 0.2).float()
    latents = FeatureDataset(torch.nn.functional.normalize(rows, dim=1), labels, [str(number) for number in range(options.scans)])
    alone = World(rank=0, size=1, device=torch.device("cpu"))
    ctvit = CTViTConfig(dim=16, codebook_size=32, image_size=40, patch_size=20, spatial_depth=1, temporal_depth=1, dim_head=8, heads=2)
    bert = TextConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    model = CTCLIPConfig(ctvit=ctvit, bert=bert, dim_latent=512, n_frames=20)
    with tempfile.TemporaryDirectory() as folder:
        facts: dict[str, Any] = {"preprocess": None, "labels": ABNORMALITIES, "tokenizer": None, "licence": "", "trained": False}
        start = save_model(Path(folder) / "start", kind="ct-clip", config=model, tensors=CTCLIP(model).state_dict(), **facts)
        for batch in options.batch:
            steps = options.scans // batch
            config = ClassifierConfig(out=f"{folder}/run{batch}", steps=steps, batch_size=batch, num_workers=0, save_every=steps)
            since, cpu = time.perf_counter(), time.process_time()
            trainer = Trainer(
                config,
                latents,
                alone,
                task=partial(_task, config, alone, start, labels),
                collate=lambda _: collate_features,
            )
            for _ in trainer.run():
                pass
            took = f"{time.perf_counter() - since:.1f} s, {time.process_time() - cpu:.1f} CPU seconds"
            print(f"batch {batch}: {steps} steps, {took} an epoch of {options.scans:,} scans", flush=True)


def _task(config: ClassifierConfig, alone: World, start: ModelFolder, labels: torch.Tensor, _: Path) -> ClassifierTask:
    return ClassifierTask(config, alone, start=start, weights_K=positive_weights(labels))


if __name__ == "__main__":
    main()
