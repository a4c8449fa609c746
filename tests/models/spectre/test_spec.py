"""SPECTRE's two files: given together, under whatever names, and refused where one is missing or the wrong one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from thoracle.ct.recipes.published import SPECTRE as RECIPE
from thoracle.errors import CheckpointIncomplete, InputError
from thoracle.models.bundle.import_published import import_checkpoint
from thoracle.models.spectre.config import SpectreConfig
from thoracle.models.spectre.spec import SPECTRE

BLOCK = {"blocks.0.attn.kv.weight": torch.zeros(2160, 1080), "blocks.0.norm1.weight": torch.zeros(1080)}
BACKBONE = {"cls_token": torch.zeros(1, 1, 1080), "patch_embed.proj.weight": torch.zeros(1080, 1, 16, 16, 8), **BLOCK}
COMBINER = {"cls_token": torch.zeros(1, 1, 1080), "patch_proj.weight": torch.zeros(1080, 2160), **BLOCK}


def select(**files: dict[str, torch.Tensor]) -> dict[str, str]:
    return dict(SPECTRE.select_names([f"{stem}.{name}" for stem, tensors in files.items() for name in tensors], False))


def test_parts_are_told_by_their_keys_whatever_the_files_are_called() -> None:
    for names in (select(a=BACKBONE, b=COMBINER), select(combiner=BACKBONE, backbone=COMBINER)):
        assert sorted(names.values()) == sorted(
            [*(f"network.backbone.{name}" for name in BACKBONE), *(f"network.feature_combiner.{name}" for name in COMBINER)]
        )
    assert select(a=BACKBONE, b=COMBINER)["b.patch_proj.weight"] == "network.feature_combiner.patch_proj.weight"


def test_a_size_follows_from_the_width_and_what_is_assumed_is_said() -> None:
    guess = SPECTRE.infer_config({"network.backbone.cls_token": (1, 1, 1080)}, {})
    assert (guess.config, guess.preprocess) == (SpectreConfig(size="large"), RECIPE)
    assert "of the same training" in guess.assumptions[0]
    with pytest.raises(CheckpointIncomplete, match="its width is 96, the package knows 384, 768, 1080"):
        SPECTRE.infer_config({"network.backbone.cls_token": (1, 1, 96)}, {})
    with pytest.raises(InputError, match=r"--config says config\.size is 'small', the tensors say large"):
        SPECTRE.infer_config({"network.backbone.cls_token": (1, 1, 1080)}, {"size": "small"})


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"backbone.pt": BACKBONE}, "here are 1 backbone and 0 combiner"),
        ({"combiner.pt": COMBINER}, "here are 0 backbone and 1 combiner"),
        ({"a.pt": BACKBONE, "b.pt": BACKBONE}, "here are 2 backbone and 0 combiner"),
        ({"spectre_backbone_vit_large_patch16_128_no_vla.pt": BACKBONE, "b.pt": COMBINER}, "_no_vla is the backbone before it was aligned"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path: Path, files: dict[str, dict[str, torch.Tensor]], words: str) -> None:
    for name, tensors in files.items():
        torch.save(tensors, tmp_path / name)
    source = tmp_path if len(files) > 1 else tmp_path / next(iter(files))
    with pytest.raises(CheckpointIncomplete, match=re.escape(words)) as refusal:
        import_checkpoint(source, out=tmp_path / "model")
    assert "spectre_combiner_feature_vit_large.pt into one folder" in str(refusal.value)
    assert not (tmp_path / "model").exists()
