"""The step: two ranks against one, cached gradients against plain ones, and what the published settings give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from thoracle.models.ctclip.model import CTCLIP
from thoracle.training.engine.distributed import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
TOLERANCE = 1e-5
Found = list[dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def two_ranks(steps: ModuleType, ranks: Any, tmp_path_factory: pytest.TempPathFactory) -> Found:
    out = tmp_path_factory.mktemp("ranks")
    ranks(Path(steps.__file__), out)
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", ["global", "cached", "sharded", "sharded, cached", "sigmoid", "cloob", "medfinder", "medfinder, cached"])
def test_two_ranks_of_four_are_one_rank_of_eight(case: str, steps: ModuleType, two_ranks: Found) -> None:
    expected = steps.step(replace(steps.CASES[case], gradient_cache_chunk=0, activation_checkpointing=False), ALONE, [steps.batch()])
    for rank in two_ranks:
        got = rank[case]
        _same(got["gradients"], expected.gradients)
        assert got["loss"].item() == pytest.approx(expected.loss.item(), abs=TOLERANCE)
        assert got["norm"] == pytest.approx(expected.norm, rel=TOLERANCE)
        torch.testing.assert_close(got["embed"], expected.embed, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(got["cluster_size"], expected.cluster_size, atol=TOLERANCE, rtol=0)


def test_ranks_that_see_their_own_negatives_are_batches_that_are_accumulated(steps: ModuleType, two_ranks: Found) -> None:
    config = replace(steps.CASES["own negatives"], batch_size=4, gradient_accumulation_steps=2)
    expected = steps.step(config, ALONE, [steps.batch(first=first, pairs=4) for first in (0, 4)])
    for rank in two_ranks:
        _same(rank["own negatives"]["gradients"], expected.gradients)
        assert rank["own negatives"]["loss"].item() == pytest.approx(expected.loss.item(), abs=TOLERANCE)


def test_codes_of_ranks_drift_apart_only_where_asked(steps: ModuleType, two_ranks: Found) -> None:
    one, other = two_ranks
    assert torch.equal(one["global"]["embed"], other["global"]["embed"])
    assert not torch.equal(one["own codes"]["embed"], other["own codes"]["embed"])
    for rank, found in enumerate(two_ranks):
        alone = steps.step(steps.CONFIG, ALONE, [steps.batch(first=4 * rank, pairs=4)])
        torch.testing.assert_close(found["own codes"]["embed"], alone.embed, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("chunk", [1, 2, 4])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_cached_gradients_are_plain_ones(chunk: int, dropout: float, steps: ModuleType) -> None:
    text = replace(steps.MODEL.bert, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    plain = replace(steps.CONFIG, model=replace(steps.MODEL, bert=text))
    cached = steps.step(replace(plain, gradient_cache_chunk=chunk), ALONE, [steps.batch()])
    expected = _plain(plain, steps, chunk)
    assert cached.loss.item() == pytest.approx(expected["loss"].item(), abs=TOLERANCE)
    _same(cached.gradients, expected["gradients"])
    torch.testing.assert_close(cached.embed, expected["embed"], atol=TOLERANCE, rtol=0)


def test_a_step_in_one_piece_is_the_models_own_loss(steps: ModuleType) -> None:
    torch.manual_seed(0)
    clip, batch = CTCLIP(steps.MODEL).train(), steps.batch()
    loss = clip(batch.input_ids_BN, batch.attention_mask_BN, batch.volume_B1ZHW)
    loss.backward()
    got = steps.step(steps.CONFIG, ALONE, [batch])
    torch.testing.assert_close(got.loss, loss.detach())
    _same(got.gradients, {f"clip.{name}": p.grad for name, p in clip.named_parameters() if p.grad is not None})
    torch.testing.assert_close(got.embed, clip.visual_transformer.vq["_codebook"].embed)


def test_checkpointed_activations_change_nothing_and_move_the_codes_once(steps: ModuleType) -> None:
    text = replace(steps.MODEL.bert, hidden_dropout_prob=0.1)
    config = replace(steps.CONFIG, model=replace(steps.MODEL, bert=text))
    plain = steps.step(config, ALONE, [steps.batch()])
    again = steps.step(replace(config, activation_checkpointing=True), ALONE, [steps.batch()])
    assert torch.equal(plain.loss, again.loss)
    assert all(torch.equal(plain.gradients[name], again.gradients[name]) for name in plain.gradients)
    assert torch.equal(plain.embed, again.embed)


@pytest.mark.slow
def test_compiled_layers_give_the_same_gradients(steps: ModuleType) -> None:
    plain = steps.step(steps.CONFIG, ALONE, [steps.batch()])
    compiled = steps.step(
        replace(steps.CONFIG, compile=True, activation_checkpointing=True, gradient_cache_chunk=4), ALONE, [steps.batch()]
    )
    _same(compiled.gradients, plain.gradients)


def test_bf16_rounds_activations_and_keeps_weights_in_float32(steps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = steps.step(steps.CONFIG, ALONE, [steps.batch()])
    # oneDNN's bfloat16 ends the process where a virtual machine shows tiles it does not have (see models/weights/precision.py).
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    rounded = steps.step(replace(steps.CONFIG, precision="bf16"), ALONE, [steps.batch()])
    assert rounded.loss.item() == pytest.approx(exact.loss.item(), abs=0.1)
    assert not torch.equal(rounded.loss, exact.loss)
    assert {gradient.dtype for gradient in rounded.gradients.values()} == {torch.float32}


def test_every_weight_that_is_trained_gets_a_gradient(steps: ModuleType) -> None:
    for case in ("global", "sigmoid", "cloob"):
        task = steps.task(steps.CASES[case], ALONE)
        task.accumulate_gradients([steps.batch()])
        assert all(parameter.grad is not None for parameter in task.trainable_parameters()), case


def test_the_temperature_stays_within_its_limit(steps: ModuleType) -> None:
    task = steps.task(steps.CONFIG, ALONE)
    with torch.no_grad():
        task.clip.temperature.fill_(7.0)
    task.on_optimizer_step()
    assert task.clip.temperature.exp().item() == pytest.approx(100)


def _plain(config: Any, steps: ModuleType, chunk: int) -> dict[str, Any]:
    """The same step with the whole graph kept: chunks are encoded one after the other, so that dropout draws alike."""
    task = steps.task(config, ALONE)
    batch = steps.batch()
    told: list[tuple[Tensor, Tensor]] = []
    task.codes.codebook.on_assignment = lambda counts_K, sums_KD: told.append((counts_K, sums_KD))
    task.clip.train()
    chunks = [task.encode(*part) for part in batch.chunks(chunk, ALONE.device)]
    loss = task.loss(tuple(torch.cat(parts) for parts in zip(*chunks, strict=True)))
    loss.backward()
    task.codes.codebook.update_ema(sum(counts for counts, _ in told), sum(sums for _, sums in told))
    gradients = {n: p.grad for n, p in task.checkpoint_modules().named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), "gradients": gradients, "embed": task.codes.codebook.embed}


def _same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare gradients by the norm of their difference: a convolution sums over ranks and kernels in another order."""
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (got[name] - gradient).norm() <= TOLERANCE * max(1.0, gradient.norm()), name
