"""A cohort of small volumes in which two findings show as blocks, each at its own place within the lungs, wherever these lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from thoracle.cohort.manifest import Cohort, CohortEntry, claim, open_cohort, write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import pack
from thoracle.cohort.sources import Split
from thoracle.config_reader import config_to_mapping
from thoracle.ct.chest.input_box import InputBox
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.ctclip.config import CTCLIPConfig, CTViTConfig
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.text.config import TextConfig
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.types import ABNORMALITIES

SIZE = (24, 24, 24)
PREPROCESS = PreprocessConfig(spacing=(10.0, 10.0, 10.0), size=SIZE)
CLIP = CTCLIPConfig(
    ctvit=CTViTConfig(
        dim=24, codebook_size=32, image_size=24, patch_size=4, temporal_patch_size=4, spatial_depth=1, temporal_depth=1,
        dim_head=8, heads=2, hu_windows=((-1.0, -0.5), (-0.1, 0.3)), subpatches=2, dim_cell=16,
    ),
    bert=TextConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16),
    dim_latent=8,
    n_frames=24,
)  # fmt: skip
#: The columns of the findings that vary, and where each is within the lungs, in voxels from their corner.
VARYING = {2: (2, 2, 2), 7: (10, 10, 10)}
#: Present in all.
CONSTANT = 4


def encoder_folder(out: Path, *, tokenizer: Tokenizer | None = None) -> Path:
    """Write a CT-CLIP of random weights, with as many words as the tokenizer has."""
    torch.manual_seed(0)
    config = CLIP if tokenizer is None else replace(CLIP, bert=replace(CLIP.bert, vocab_size=tokenizer.vocab_size))
    save_model(
        out, kind="ct-clip", config=config, preprocess=PREPROCESS, labels=ABNORMALITIES, tensors=CTCLIP(config).state_dict(),
        tokenizer=tokenizer, licence="free", trained=True, caution="Blocks, not patients.",
    )  # fmt: skip
    return out


def chest(seed: int, present: set[int]) -> tuple[np.ndarray, InputBox, tuple[int, int, int]]:
    """A body of water around 16^3 voxels of lung that begin anywhere; each finding is a block of 4^3 that is dense."""
    rng = np.random.default_rng(seed)
    at = tuple(int(a) for a in rng.integers(2, 7, size=3))
    volume = rng.normal(0.0, 0.03, SIZE)
    volume[tuple(slice(a, a + 16) for a in at)] -= 0.8
    for k in present & set(VARYING):
        volume[tuple(slice(a + b, a + b + 4) for a, b in zip(at, VARYING[k], strict=True))] += 0.7
    low, high = (tuple((a + side) / 24 for a in at) for side in (0, 16))
    return volume.astype(np.float32), InputBox(low=low, high=high, encloses="lungs"), at  # type: ignore[arg-type]


def write_chests(folder: Path, *, train: int = 60, dev: int = 30, valid: int = 4, spoil_valid: bool = False) -> Cohort:
    """Write the cohort; with `spoil_valid` the volumes of that split are damaged, and its labels others."""
    claim(folder, {"preprocess": config_to_mapping(PREPROCESS)})
    (folder / "cache").mkdir()
    splits: list[Split] = [*["train"] * train, *["dev"] * dev, *["valid"] * valid]  # type: ignore[list-item]
    entries = []
    for number, split in enumerate(splits):
        spoilt = spoil_valid and split == "valid"
        present = {k for k in VARYING if np.random.default_rng([number, k]).random() < 0.5} | {CONSTANT}
        volume, box, _ = chest(number, present)
        (folder / "cache" / f"{number}.vol").write_bytes(b"spoilt" if spoilt else pack(volume, scale=1000.0))
        entries.append(
            CohortEntry(
                volume=f"v{number:03}",
                scan=f"s{number}",
                patient=f"p{number}",
                split=split,
                source_sha256="0" * 64,
                cache=f"cache/{number}.vol",
                cache_sha256=f"{number:064}",
                report=Report(findings="Blocks."),
                labels=tuple(int((k in present) != spoilt) for k in range(18)),
                box=box,
            )
        )
    write_manifest(folder, entries)
    return open_cohort(folder)
