from __future__ import annotations

from pathlib import Path

from thoracle.inference.batch.batch_size import fitting_batch_size, volumes_in
from thoracle.inference.demo.assets import write_model
from thoracle.inference.model import load


def test_a_processor_takes_one_volume(tmp_path: Path) -> None:
    assert fitting_batch_size(load(write_model(tmp_path / "model").path, device="cpu")) == 1


def test_a_share_of_free_memory_is_used_and_one_volume_at_least() -> None:
    assert [volumes_in(free, 10) for free in (5, 25, 100, 100_000)] == [1, 2, 8, 32]
