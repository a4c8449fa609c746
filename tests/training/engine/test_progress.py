"""What a run reports of a step is known without the run."""

from __future__ import annotations

import subprocess
import sys


def test_curves_are_drawn_without_the_trainer() -> None:
    engine = "thoracle.training.engine"
    code = f"import sys, {engine}.metric_logger, {engine}.progress; print('{engine}.trainer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
