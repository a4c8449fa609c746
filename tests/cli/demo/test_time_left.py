"""What is left of the demo: by what each stage should take, at the pace of those that ran."""

from __future__ import annotations

import pytest

from thoracle.cli.demo.time_left import planned_seconds, seconds_left
from thoracle.training.engine.config import RunConfig

PLANNED = {"phantoms": 100.0, "cohort": 50.0, "train": 200.0}


def test_nothing_done_is_the_plan() -> None:
    assert seconds_left(PLANNED, {}) == 350


@pytest.mark.parametrize(
    ("lasted", "left"),
    [
        ({"phantoms": 200.0}, 500.0),
        ({"phantoms": 50.0, "cohort": 25.0}, 100.0),
        ({"phantoms": 1.0}, 250.0),  # made by an earlier run
        ({"phantoms": 1.0, "cohort": 100.0}, 400.0),
        ({"phantoms": 100.0, "cohort": 50.0, "train": 200.0, "report": 9.0}, 0.0),
        ({"search": 5.0}, 350.0),  # in no plan
    ],
)
def test_a_slow_machine_takes_longer_and_what_was_done_before_says_nothing(lasted: dict[str, float], left: float) -> None:
    assert seconds_left(PLANNED, lasted) == pytest.approx(left)


def test_a_plan_grows_with_scans_and_with_samples_and_lacks_what_does_not_come() -> None:
    runs = {"contrastive": RunConfig(steps=20, batch_size=5)}
    small, large = (planned_seconds(scans=scans, runs=runs, chat={"evaluate chat": 10}) for scans in (300, 3000))
    assert large["phantoms"] == pytest.approx(10 * small["phantoms"])
    assert large["train contrastive"] == small["train contrastive"]
    assert large["evaluate chat"] == small["evaluate chat"] > 0
    assert "train chat: base" not in small
