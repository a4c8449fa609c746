"""VocabFine's loss: of each pair of prompts, over labels that are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.training.memory_volumes import stack
from tests.training.vocabfine_start import PREPROCESS, Volumes, config, write_start
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.models.common.losses import logit_scale
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.model import CTCLIP
from thoracle.training.engine.distributed import World
from thoracle.training.finetuning.vocabfine import VocabFineTask, collate_labelled

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return write_start(tmp_path / "start")


@pytest.mark.parametrize("squared", [False, True])
def test_its_loss_is_the_mean_over_known_labels_of_each_pairs_softmax(squared: bool, start: Path, tmp_path: Path) -> None:
    settings = config(start, tmp_path, loss="squared" if squared else "cross-entropy")
    folder = open_model(start)
    clip = CTCLIP(folder.config)
    clip.load_state_dict(load_state_dict(folder))
    task = VocabFineTask(clip, settings, ALONE, tokenizer=folder.tokenizer(), preprocess=PREPROCESS, templates=folder.prompts)
    samples = [Volumes()[index] for index in range(3)]
    batch = collate_labelled(samples, stack(samples))
    batch.labels_BK[1, 4] = torch.nan
    texts = folder.tokenizer().encode(format_prompts())
    text, image = task.encode(texts.input_ids_BN, texts.attention_mask_BN, batch.volume_B1ZHW)
    errors = []
    for volume in range(3):
        for number in range(18):
            label = batch.labels_BK[volume, number]
            if label.isnan():
                continue
            order = [0, 1] if label else [1, 0]  # the prompt that agrees comes first, as published
            pair = torch.stack([logit_scale(clip.temperature) * image[volume] @ text[2 * number + which] for which in order]).softmax(0)
            target = torch.tensor([1.0, 0.0])
            errors.append(F.mse_loss(pair, target) if squared else -pair[0].log())
    assert len(errors) == 3 * 18 - 1
    assert task.accumulate_gradients([batch]) == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)
