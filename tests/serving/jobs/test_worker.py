"""Jobs hear in their context that they are not wanted; what runs them is proved in test_board.py."""

from __future__ import annotations

import pytest

from thoracle.errors import JobCancelled
from thoracle.serving.jobs.worker import JobContext


def test_a_job_that_is_not_wanted_ends_where_it_asks() -> None:
    context = JobContext(report=lambda _: None, emit=lambda _: None)
    context.check()
    context.cancelled.set()
    with pytest.raises(JobCancelled):
        context.check()
