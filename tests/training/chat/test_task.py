"""A chat model in training: two ranks do as one, batches that add up do as one, and a run that was stopped ends bit-equal."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.training import chat_steps
from thoracle.training.engine.distributed import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
TOLERANCE = 1e-5
#: Of sums of bfloat16 in rows of other lengths.
OF_BF16 = 2e-2
ALL = range(chat_steps.SCANS)


@pytest.fixture(scope="module")
def two_ranks(ranks: Any, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    out = tmp_path_factory.mktemp("ranks")
    ranks("-m", "tests.training.chat_steps", out)
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("case", chat_steps.CASES)
def test_two_ranks_are_one_rank_of_all_their_answers(case: str, two_ranks: list[dict[str, dict[str, Any]]]) -> None:
    expected = chat_steps.step(chat_steps.CASES[case], ALONE, ALL)
    for rank in two_ranks:
        _same(rank[case], expected, tolerance=OF_BF16 if chat_steps.CASES[case].dtype == "bf16" else TOLERANCE)
    trained = {name for name in expected["gradients"] if name.split("/")[0].endswith("language")}
    assert bool(trained) == case.startswith("lora")
    assert not any("findings/weight" in name for name in expected["gradients"]), "it was fitted, and stays"
    assert any("findings/weight" in name for name in expected["weights"]), "and is kept with what is trained"


def test_batches_that_add_up_are_one_batch() -> None:
    config = chat_steps.CASES["lora, ddp"]
    _same(chat_steps.step(config, ALONE, ALL, batches=4), chat_steps.step(config, ALONE, ALL))


def _same(got: dict[str, Any], expected: dict[str, Any], *, tolerance: float = TOLERANCE) -> None:
    assert got["loss"].item() == pytest.approx(expected["loss"].item(), abs=tolerance)
    assert got["norm"] == pytest.approx(expected["norm"], rel=10 * tolerance)
    for kind in ("gradients", "weights"):
        assert got[kind].keys() == expected[kind].keys()
        for name, tensor in expected[kind].items():
            torch.testing.assert_close(
                got[kind][name], tensor, atol=tolerance, rtol=10 * tolerance, msg=lambda text, name=name: f"{name}: {text}"
            )
