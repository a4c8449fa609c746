"""Two ranks over gloo against plain torch on one: what they tell each other, gradients, norms, and state in any layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training import rank_steps
from thoracle.training.engine.config import RunConfig
from thoracle.training.engine.distributed import (
    World,
    clip_gradients,
    distributed_context,
    full_state_dict,
    load_full_state_dict,
    no_sync,
    parallelize,
)

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def two_ranks(ranks: Any, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("ranks")
    ranks("-m", "tests.training.rank_steps", out)
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _plain(steps: int) -> dict[str, dict[str, Tensor]]:
    """Steps of torch alone on all rows: gradients before they were scaled, and weights after."""
    module = rank_steps.network()
    optimizer, (inputs, targets) = rank_steps.optimizer_of(module), rank_steps.rows()
    for _ in range(steps):
        optimizer.zero_grad()
        (module(inputs) - targets).square().mean().backward()
        gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
        nn.utils.clip_grad_norm_(module.parameters(), rank_steps.LIMIT)
        optimizer.step()
    return {"gradients": gradients, "weights": dict(module.state_dict())}


def _close(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, atol=TOLERANCE, rtol=1e-5)


def test_each_rank_knows_itself_and_is_on_the_cpu_without_a_gpu(two_ranks: list[dict[str, Any]]) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert [rank["world"] for rank in two_ranks] == [[0, 2, device], [1, 2, device]]


def test_rows_are_gathered_in_order_and_a_rank_gets_the_gradient_of_its_own(two_ranks: list[dict[str, Any]]) -> None:
    """Row r counts r + 1 times: rows 1 and 2 are of rank 0, rows 3 and 4 of rank 1."""
    for rank, weights in zip(two_ranks, ((1.0, 2.0), (3.0, 4.0)), strict=True):
        assert rank["exchanged"]["rows"].tolist() == [[0, 1, 2], [3, 4, 5], [10, 11, 12], [13, 14, 15]]
        assert rank["exchanged"]["gradient"].tolist() == [[weights[0]] * 3, [weights[1]] * 3]


def test_sums_means_and_objects_are_of_all_ranks(two_ranks: list[dict[str, Any]]) -> None:
    for rank in two_ranks:
        assert rank["exchanged"]["sum"].tolist() == [2, 3]
        assert rank["exchanged"]["mean"].tolist() == [1, 1.5]
        assert rank["exchanged"]["objects"] == [{"rank": 0, "names": ["v"]}, {"rank": 1, "names": ["v", "v"]}]


def test_what_the_first_rank_alone_does_all_are_told_of(two_ranks: list[dict[str, Any]]) -> None:
    for number, rank in enumerate(two_ranks):
        told = rank["exchanged"]
        assert told["on first"] == "of rank 0"
        assert told["asked"] == ([0] if number == 0 else [])
        assert told["raised"] == "rank 0 refuses. Ask another."
        assert told["objects on first"] == ([{"rank": 0}, {"rank": 1}] if number == 0 else [])
        assert told["any"] == [False, True, True]


@pytest.mark.slow
def test_a_rank_that_waits_longer_than_the_timeout_ends_the_run(start_ranks: Any) -> None:
    """Rank 1 works alone for longer than rank 0 may wait, and for less than the default of hours."""
    program = (
        "import sys, time; from datetime import timedelta; from thoracle.training.engine.distributed import distributed_context\n"
        "with distributed_context(timedelta(hours=float(sys.argv[1]))) as world:\n"
        "    time.sleep(6 * world.rank); world.barrier(); print('met')"
    )
    with start_ranks("-c", program, 1 / 3600) as (first, _):
        assert "timed out" in first.communicate(timeout=60)[0].lower()
        assert first.returncode != 0
    with start_ranks("-c", program, RunConfig().collective_timeout_hours) as ranks:
        assert [(rank.communicate(timeout=60)[0].split()[-1], rank.returncode) for rank in ranks] == [("met", 0)] * 2


@pytest.mark.parametrize("layouts", ["ddp, then ddp", "ddp, then fsdp", "fsdp, then ddp", "fsdp, then fsdp"])
def test_two_ranks_step_as_one_and_go_on_in_any_layout(layouts: str, two_ranks: list[dict[str, Any]]) -> None:
    first, second = _plain(1), _plain(2)
    norm = torch.stack([gradient.norm() for gradient in first["gradients"].values()]).norm().item()
    assert norm > 2 * rank_steps.LIMIT, "they are scaled down"
    for rank in two_ranks:
        steps = rank["steps"][layouts]
        _close(steps["gradients"], first["gradients"])
        assert steps["norm"] == pytest.approx(norm, rel=1e-5)
        _close(steps["weights"], first["weights"])
        _close(steps["last"], second["weights"])


def test_whole_moments_are_written_whatever_the_layout(two_ranks: list[dict[str, Any]]) -> None:
    """After a first step the first moment is (1 - 0.9) times the gradient that was applied."""
    plain = _plain(1)
    norm = torch.stack([gradient.norm() for gradient in plain["gradients"].values()]).norm()
    for rank in two_ranks:
        for layouts in ("ddp, then ddp", "fsdp, then ddp"):
            moments = rank["steps"][layouts]["moments"]
            assert len(moments) == len(plain["gradients"])
            for moment, gradient in zip(moments.values(), plain["gradients"].values(), strict=True):
                expected = 0.1 * gradient * rank_steps.LIMIT / (norm + 1e-6)
                torch.testing.assert_close(moment["exp_avg"], expected, atol=1e-7, rtol=1e-5)
                assert moment["step"] == 1


def test_a_state_that_was_loaded_stays_as_it_was_while_training_goes_on() -> None:
    module = rank_steps.network()
    optimizer = rank_steps.optimizer_of(module)
    rank_steps.step(ALONE, module, module, optimizer)
    weights, moments = full_state_dict(module, optimizer)
    copies = {number: {name: tensor.clone() for name, tensor in state.items()} for number, state in moments["state"].items()}
    load_full_state_dict(module, optimizer, weights=weights, moments=moments)
    rank_steps.step(ALONE, module, module, optimizer)
    for number, state in copies.items():
        assert all(torch.equal(moments["state"][number][name], tensor) for name, tensor in state.items())
    assert not torch.equal(weights["0.weight"], module[0].weight)


def test_gradients_kept_apart_until_the_last_are_those_of_all_rows(two_ranks: list[dict[str, Any]]) -> None:
    expected = _plain(1)["gradients"]
    for rank in two_ranks:
        _close(rank["accumulated"], expected)
        _close(rank["every time"], expected)


def test_what_is_kept_apart_is_not_averaged(two_ranks: list[dict[str, Any]]) -> None:
    for number, rank in enumerate(two_ranks):
        module = rank_steps.network()
        module(rank_steps.rows()[0][number, None]).sum().backward()
        assert module[0].weight.grad is not None
        torch.testing.assert_close(rank["unreduced"], module[0].weight.grad)
    assert not torch.allclose(two_ranks[0]["unreduced"], two_ranks[1]["unreduced"])


def test_a_runs_folder_is_begun_by_the_first_rank_alone(two_ranks: list[dict[str, Any]]) -> None:
    assert [rank["begun"] for rank in two_ranks] == [1, 0]


def test_one_rank_gets_back_what_it_gave() -> None:
    rows, module = torch.ones(2, 3), nn.Linear(3, 1)
    assert ALONE.all_gather(rows) is rows
    assert ALONE.all_reduce_mean(rows).tolist() == [[1, 1, 1]] * 2
    assert ALONE.all_gather_object("rank") == ["rank"]
    assert ALONE.gather_object("rank") == ["rank"]
    assert ALONE.on_first(lambda: "rank") == "rank"
    assert (ALONE.any_rank(True), ALONE.any_rank(False)) == (True, False)
    assert parallelize(module, ALONE, shard=True, blocks=()) is module
    with no_sync(module, apart=True):
        module(rows).sum().backward()
    assert module.weight.grad is not None
    assert module.weight.grad.tolist() == [[2, 2, 2]]


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_gradients_are_scaled_as_torch_scales_them(limit: float) -> None:
    module, reference = rank_steps.network(), rank_steps.network()
    reference[2].bias.requires_grad_(False)
    module[2].bias.requires_grad_(False)
    for network in (module, reference):
        (7 * network(rank_steps.rows()[0])).sum().backward()
    norm = nn.utils.clip_grad_norm_(reference.parameters(), limit)
    assert 0.5 < norm.item() < 100
    assert clip_gradients(module.parameters(), ALONE, limit=limit) == pytest.approx(norm.item())
    for parameter, expected in zip(module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad)


def test_without_torchrun_there_is_one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with distributed_context() as world:
        assert (world.rank, world.size) == (0, 1)
    assert not torch.distributed.is_initialized()


def test_the_ranks_files_are_of_one_run(two_ranks: list[dict[str, Any]], tmp_path: Path) -> None:
    """On one rank the same code gives the same steps, so that what two are compared with is not this test's alone."""
    alone = rank_steps.two_steps(ALONE, before=False, after=False)
    for rank in two_ranks:
        _close(rank["steps"]["ddp, then ddp"]["last"], alone["last"])
    assert rank_steps.begun(ALONE, tmp_path / "run") == 1
