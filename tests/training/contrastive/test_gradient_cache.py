"""The step: cached gradients against plain ones, two ranks against one, and which settings contradict each other."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from thoracle.errors import InputError
from thoracle.training.contrastive.gradient_cache import PairConfig
from thoracle.training.engine.distributed import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
TOLERANCE = 1e-5
Ranks = list[dict[str, dict[str, Any]]]


@pytest.mark.parametrize(
    "case",
    ["global", "cached", "sharded", "sharded, cached", "sigmoid", "cloob", "image-text", "image-text, cached", "medfinder",
     "medfinder, cached", "shared"],
)  # fmt: skip
def test_two_ranks_of_four_are_one_rank_of_eight(case: str, steps: ModuleType, two_ranks: Ranks) -> None:
    batch = steps.batch(shared=case == "shared")
    expected = steps.step(replace(steps.CASES[case], gradient_cache_chunk=0, activation_checkpointing=False), ALONE, [batch])
    for rank in two_ranks:
        got = rank[case]
        steps.same_gradients(got["gradients"], expected.gradients)
        assert got["loss"].item() == pytest.approx(expected.loss.item(), abs=TOLERANCE)
        assert got["norm"] == pytest.approx(expected.norm, rel=TOLERANCE)
        torch.testing.assert_close(got["embed"], expected.embed, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(got["cluster_size"], expected.cluster_size, atol=TOLERANCE, rtol=0)


def test_ranks_that_see_their_own_negatives_are_batches_that_are_accumulated(steps: ModuleType, two_ranks: Ranks) -> None:
    config = replace(steps.CASES["own negatives"], batch_size=4, gradient_accumulation_steps=2)
    expected = steps.step(config, ALONE, [steps.batch(first=first, pairs=4) for first in (0, 4)])
    for rank in two_ranks:
        steps.same_gradients(rank["own negatives"]["gradients"], expected.gradients)
        assert rank["own negatives"]["loss"].item() == pytest.approx(expected.loss.item(), abs=TOLERANCE)


def test_pairs_that_share_a_scan_or_a_text_are_excluded_and_no_pair_itself(steps: ModuleType) -> None:
    task, batch = steps.task(steps.CONFIG, ALONE), steps.batch(shared=True)
    excluded = task.excluded_pairs(batch)
    assert excluded is not None
    assert excluded.nonzero().tolist() == [[0, 4], [2, 6], [4, 0], [6, 2]]
    assert task.excluded_pairs(steps.batch()) is None


@pytest.mark.parametrize("case", ["global", "sigmoid", "cloob", "medfinder"])
def test_every_objective_leaves_shared_pairs_out(case: str, steps: ModuleType) -> None:
    """With all pairs of one scan nothing is compared: InfoNCE is then 0, and SigLIP asks about the pairs themselves alone."""
    task, batch = steps.task(steps.CASES[case], ALONE), steps.batch(shared=True)
    latents = tuple(F.normalize(torch.randn(8, 16), dim=-1) for _ in range(4 if case == "cloob" else 2))
    plain = task.loss(latents)
    assert task.loss(latents, task.excluded_pairs(batch)) < plain
    nothing = task.loss(latents, ~torch.eye(8, dtype=torch.bool)).item()
    own = latents[0].mul(latents[1]).sum(dim=-1) * task.clip.temperature.exp()
    assert nothing == pytest.approx(-F.logsigmoid(own - 1.0).mean().item() if case == "sigmoid" else 0.0, abs=1e-6)


@pytest.mark.parametrize("case", ["cached", "medfinder, cached"])
def test_both_passes_attend_by_the_same_kernels_and_give_the_same_bits(
    case: str, steps: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CT-CLIP's bias wants a gradient, which fused kernels refuse; the choice is torch's own, asked for as it is made."""
    config = replace(steps.CASES[case], parallelism="ddp")
    task, plain = steps.task(config, ALONE), F.scaled_dot_product_attention
    kernels: dict[bool, list[int]] = {False: [], True: []}
    latents: dict[bool, list[Tensor]] = {False: [], True: []}
    encode = task.encode

    def attend(query: Tensor, key: Tensor, value: Tensor, **named: Any) -> Tensor:
        kernels[torch.is_grad_enabled()].append(torch._fused_sdp_choice(query, key, value, **named))
        return plain(query, key, value, **named)

    def record(*chunk: Tensor) -> Any:
        encoded = encode(*chunk)
        latents[torch.is_grad_enabled()] += [latent.detach() for latent in encoded]
        return encoded

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    monkeypatch.setattr(task, "encode", record)
    task.accumulate_gradients([steps.batch()])
    assert kernels[False]
    assert kernels[False] == kernels[True]
    assert len(latents[False]) >= 8
    assert all(torch.equal(*pair) for pair in zip(latents[False], latents[True], strict=True))


@pytest.mark.parametrize("chunk", [1, 2, 4])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_cached_gradients_are_plain_ones(chunk: int, dropout: float, steps: ModuleType) -> None:
    text = replace(steps.MODEL.bert, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    config = replace(steps.CONFIG, model=replace(steps.MODEL, bert=text))
    cached = steps.step(replace(config, gradient_cache_chunk=chunk), ALONE, [steps.batch()])
    plain = _plain(config, steps, chunk)
    assert cached.loss.item() == pytest.approx(plain["loss"].item(), abs=1e-6)
    steps.same_gradients(cached.gradients, plain["gradients"], tolerance=1e-6)
    torch.testing.assert_close(cached.embed, plain["embed"], atol=1e-6, rtol=0)


def test_cached_batches_that_add_up_are_plain_ones_that_add_up(steps: ModuleType) -> None:
    config = replace(steps.CONFIG, negatives="local", batch_size=4, gradient_accumulation_steps=2)
    halves = [steps.batch(first=first, pairs=4) for first in (0, 4)]
    plain, cached = (steps.step(replace(config, gradient_cache_chunk=chunk), ALONE, halves) for chunk in (0, 2))
    assert cached.loss.item() == pytest.approx(plain.loss.item(), abs=1e-6)
    steps.same_gradients(cached.gradients, plain.gradients)
    whole = steps.step(steps.CONFIG, ALONE, [steps.batch()])
    assert (whole.loss - plain.loss).abs() > 0.1, "halves are not compared with each other"


def test_after_a_cached_step_generators_stand_where_one_pass_leaves_them(steps: ModuleType) -> None:
    """The second pass draws what the first one drew, and not on from there: a run does not depend on it."""
    text = replace(steps.MODEL.bert, hidden_dropout_prob=0.1)
    config = replace(steps.CONFIG, model=replace(steps.MODEL, bert=text), gradient_cache_chunk=2)
    task = steps.task(config, ALONE)
    task.accumulate_gradients([steps.batch()])
    after = torch.get_rng_state()
    task = steps.task(config, ALONE)
    task.train()
    for part in steps.batch().chunks(2, ALONE.device):
        task.encode(*part)
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"batch_size": 8, "gradient_cache_chunk": 3}, "gradient_cache_chunk 3 does not divide batch_size 8"),
        ({"gradient_accumulation_steps": 2}, "accumulated batches do not see each other, so negatives cannot be global"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, Any], detail: str) -> None:
    with pytest.raises(InputError) as caught:
        PairConfig(**change)
    assert caught.value.detail == detail


def test_volumes_of_another_size_than_the_models_are_refused(steps: ModuleType) -> None:
    steps.CONFIG.check_size((20, 40, 40))
    with pytest.raises(InputError, match=r"preprocess.size is \(20, 40, 40\), but the model takes \(20, 40, 60\)"):
        steps.CONFIG.check_size((20, 40, 60))


def _plain(config: Any, steps: ModuleType, chunk: int) -> dict[str, Any]:
    """The same step with the whole graph kept: chunks are encoded one after the other, so that dropout draws alike."""
    task = steps.task(config, ALONE)
    batch = steps.batch()
    statistics: list[tuple[Tensor, Tensor]] = []
    task.codes.codebook.on_assignment = lambda counts_K, sums_KD: statistics.append((counts_K, sums_KD))
    task.clip.train()
    chunks = [task.encode(*part) for part in batch.chunks(chunk, ALONE.device)]
    loss = task.loss(tuple(torch.cat(parts) for parts in zip(*chunks, strict=True)))
    loss.backward()
    task.codes.codebook.update_ema(sum(counts for counts, _ in statistics), sum(sums for _, sums in statistics))
    gradients = {n: p.grad for n, p in task.checkpoint_modules().named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), "gradients": gradients, "embed": task.codes.codebook.embed}
