"""A loader pins batches of every task; torch cannot pin without a GPU, so a double stands for a tensor's own method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

from thoracle.training.chat.packing import ChatBatch
from thoracle.training.engine.sampler import Batch
from thoracle.training.finetuning.classifier import LabelledBatch
from thoracle.training.finetuning.vocabfine import LabelledVolumes
from thoracle.training.labeler.task import TextBatch

IDS, VOLUMES, LABELS = torch.ones(2, 3, dtype=torch.int64), torch.zeros(2, 1, 4, 4, 4), torch.zeros(2, 18)
BATCHES: dict[str, Callable[[], Any]] = {
    "pairs": lambda: Batch(volume_B1ZHW=VOLUMES, input_ids_BN=IDS, attention_mask_BN=IDS, names=("a", "b")),
    "volumes": lambda: LabelledVolumes(volume_B1ZHW=VOLUMES, labels_BK=LABELS, names=("a", "b")),
    "features": lambda: LabelledBatch(given_B=VOLUMES, labels_BK=LABELS, names=("a", "b")),
    "conversations": lambda: ChatBatch(
        ids_BN=IDS, targets_BN=IDS, weights_BN=LABELS, tree_BN=IDS, branch_BN=IDS, positions_BN=IDS, scans_I=VOLUMES, names=("a",)
    ),
    "reports": lambda: TextBatch(input_ids_BN=IDS, attention_mask_BN=IDS, labels_BK=LABELS, names=("a", "b")),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_every_tensor_of_a_batch_is_pinned_by_the_loaders_own_function(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: dict[int, Tensor] = {}

    def pinned(tensor: Tensor, *_: object) -> Tensor:
        return copies.setdefault(id(tensor), tensor.clone())

    monkeypatch.setattr(Tensor, "pin_memory", pinned)
    batch = BATCHES[kind]()
    result = pin_memory(batch)  # what DataLoader calls with pin_memory=True
    assert type(result) is type(batch)
    for name, value in vars(batch).items():
        assert vars(result)[name] is (copies[id(value)] if isinstance(value, Tensor) else value)
    assert len(copies) == len({id(value) for value in vars(batch).values() if isinstance(value, Tensor)}) >= 2
