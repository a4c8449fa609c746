"""Recall of held-out pairs, from latents that are known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.memory_volumes import MemoryVolume
from thoracle.cohort.samples.dataset import Sample
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.retrieval_eval import PAIR_MONITORS, RECALLS, RetrievalEvaluator, pair_loss
from thoracle.training.engine.distributed import World

WORDS = Tokenizer.from_words(["a b c d e f g h"])
ALONE = World(rank=0, size=1, device=torch.device("cpu"))


class Pairs:
    """Volumes of one voxel, which says which it is; a report of one letter."""

    def __init__(self, scans: str) -> None:
        self.scans = scans

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> Sample:
        volume, labels = torch.full((1, 1, 1, 1), float(index)), torch.full((18,), torch.nan)
        return Sample(
            stored=MemoryVolume(volume),
            report=self.scans[index],
            labels=labels,
            volume=str(index),
            scan=self.scans[index],
            patient="p",
        )

    def set_epoch(self, epoch: int) -> None: ...


class Known:
    """Latents by the letter of a report and the number of a volume."""

    def __init__(self, texts: dict[str, list[float]], volumes: list[list[float]]) -> None:
        self.texts, self.volumes, self.world, self.tokenizer = texts, torch.tensor(volumes), ALONE, WORDS
        self.clip = SimpleNamespace(max_text_tokens=8, temperature=torch.zeros(()))

    def encode(self, ids_BN: Tensor, _: Tensor, volume_B1ZHW: Tensor) -> tuple[Tensor, ...]:
        letters = {int(WORDS.encode([letter]).input_ids_BN[0, 1]): latent for letter, latent in self.texts.items()}
        texts = torch.tensor([letters[int(ids_N[1])] for ids_N in ids_BN])
        return texts, self.volumes[volume_B1ZHW.flatten().long()], torch.zeros(1)


def score(task: Any, pairs: Pairs, *, batch: int) -> dict[str, float]:
    return dict(RetrievalEvaluator(task, pairs, batch=batch, length=8)())


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_recall_is_the_mean_of_both_directions_whatever_the_batch(batch: int) -> None:
    """Reports a and b find their own first, c second; volumes 0 and 2 find their own first, 1 last of three."""
    texts = {"a": [1.0, 0.0, 0.0], "b": [0.0, 1.0, 0.0], "c": [0.0, 0.0, 1.0]}
    volumes = [[0.9, 0.1, 0.8], [0.5, 0.3, 0.4], [0.1, 0.2, 0.7]]
    # Texts over volumes: a .9 .5 .1, rank 1; b .1 .3 .2, rank 1; c .8 .4 .7, rank 2.
    # Volumes over texts: 0 .9 .1 .8, rank 1; 1 .5 .3 .4, rank 3; 2 .1 .2 .7, rank 1.
    figures = score(Known(texts, volumes), Pairs("abc"), batch=batch)
    assert {name: figures[name] for name in RECALLS} == {"R@1": pytest.approx(2 / 3), "R@5": 1.0, "R@10": 1.0}


def test_loss_is_the_trained_one_over_all_held_out_pairs_whatever_the_batch() -> None:
    """Two pairs at scale 2, cosines 1 and 0.5, 0 and 1: rows lose log(1 + e^-1) and log(1 + e^-2), and so do columns."""
    known = Known({"a": [1.0, 0.0], "b": [0.0, 1.0]}, [[1.0, 0.0], [0.5, 1.0]])
    known.clip.temperature = torch.tensor(math.log(2.0))
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2))) / 2
    for batch in (1, 2):
        figures = score(known, Pairs("ab"), batch=batch)
        assert (figures["held_out_loss"], figures["minus_loss"]) == (pytest.approx(expected), pytest.approx(-expected))


def test_another_volume_of_a_pairs_scan_is_no_negative_of_it() -> None:
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    assert pair_loss(torch.zeros(3, 3), same) == pytest.approx((2 * math.log(2) + math.log(3)) / 3)


def test_any_volume_of_a_reports_scan_is_right_and_ties_count_against_it() -> None:
    texts = {"a": [1.0, 0.0], "b": [0.0, 1.0]}
    second = [[0.2, 0.1], [0.9, 0.0], [0.5, 0.6]]  # the second volume of scan a is the nearest to its report
    assert score(Known(texts, second), Pairs("aab"), batch=3)["R@1"] == 1.0
    tied = [[0.5, 0.5], [0.5, 0.5]]
    assert score(Known(texts, tied), Pairs("ab"), batch=2)["R@1"] == 0.0


def test_names_are_those_that_a_run_can_be_monitored_by() -> None:
    assert PAIR_MONITORS == (*RECALLS, "minus_loss") == ("R@1", "R@5", "R@10", "minus_loss")
