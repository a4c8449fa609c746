"""What the demo's stages and the commands beside them have in common: the words of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thoracle.training.engine.config import RunConfig


def training(name: str, config: RunConfig, out: Path) -> list[str]:
    """Write the settings of a run, and return its command: it goes on where its folder is there."""
    from thoracle.training.engine.config import write_config

    settings = out / f"{name}.yaml"
    write_config(config, settings)
    return ["train", config.TASK, "--config", str(settings), *(["--resume"] if Path(config.out).exists() else [])]


def evaluation(name: str, model: Path, out: Path) -> list[str]:
    """Return the command that evaluates a model on split valid; thresholds and calibration come from split dev."""
    options = ["--protocol", "phantom", "--level", "scan", "--save-calibration", "--out", str(out / f"evaluation-{name}")]
    return ["evaluate", "detection", str(model), str(out / "cohort"), *options]
