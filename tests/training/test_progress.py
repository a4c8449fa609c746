"""What a run reports of a step is known without the run."""

from __future__ import annotations

import subprocess
import sys


def test_curves_are_drawn_without_the_trainer() -> None:
    code = "import sys, thoracle.training.curves, thoracle.training.progress; print('thoracle.training.trainer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
