"""A run's curves, for TensorBoard or Weights & Biases; knows numbers by name, and nothing of what they mean."""

from __future__ import annotations

import secrets
import struct
from pathlib import Path
from types import TracebackType
from typing import Any

from thoracle.config_reader import config_to_mapping
from thoracle.errors import ExtraMissing
from thoracle.files.atomic import write_atomic
from thoracle.training.engine.config import RunConfig
from thoracle.training.engine.distributed import World
from thoracle.training.engine.progress import TrainStep

_FOLDER = "curves"
_RUN_ID = "wandb.id"


def read_curves(out: Path) -> dict[str, dict[int, float]]:
    """Read numbers by name and step, as `MetricLogger` wrote them for TensorBoard. Of a step that was repeated the last number counts.

    A file that a killed run left half written counts as far as it is whole.
    """
    from tensorboardX.proto.event_pb2 import Event  # type: ignore[import-untyped]

    numbers: dict[str, dict[int, float]] = {}
    for path in sorted((out / _FOLDER).glob("events.out.tfevents.*")):
        content, offset = path.read_bytes(), 0
        # Records: length, its checksum, the event, its checksum.
        while offset + 12 <= len(content):
            (length,) = struct.unpack_from("<Q", content, offset)
            record, offset = content[offset + 12 : offset + 12 + length], offset + 16 + length
            if len(record) == length:
                event = Event.FromString(record)
                for value in event.summary.value:
                    numbers.setdefault(value.tag, {})[event.step] = value.simple_value
    return numbers


class MetricLogger:
    """Log metrics on the first rank; a context manager. A resumed run hides what was written after its checkpoint."""

    def __init__(self, out: Path, config: RunConfig, world: World, *, first: int) -> None:
        """Raises ExtraMissing where wandb was asked for and is not installed."""
        self._wandb: Any = None
        self._board: Any = None
        self._scaling = ("loss_scale", "skipped") if config.precision == "float16" else ()
        if world.rank:
            return
        if config.logger == "wandb":
            self._wandb = _wandb(out, config)
        else:
            from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

            self._board = SummaryWriter(str(out / _FOLDER), purge_step=first or None)

    def __enter__(self) -> MetricLogger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def add(self, progress: TrainStep) -> None:
        """Add one point to each curve."""
        names = ("loss", "gradient_norm", "learning_rate", "samples_per_second", "data_wait", "flops_utilization", "memory", *self._scaling)
        points = {f"train/{name}": getattr(progress, name) for name in names}
        points |= {f"evaluation/{name}": score for name, score in progress.scores.items()}
        if self._wandb is not None:
            self._wandb.log(points, step=progress.step)
        if self._board is not None:
            for name, value in points.items():
                self._board.add_scalar(name, value, progress.step)


def _wandb(out: Path, config: RunConfig) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ExtraMissing("logger wandb needs its package", hint="Run `pip install wandb`, or set logger to tensorboard.") from error
    name = out / _FOLDER / _RUN_ID  # a run's own, kept with it: two runs in folders of one name are two
    if not name.exists():
        name.parent.mkdir(exist_ok=True)
        write_atomic(name, secrets.token_hex(8).encode())
    # What is sent leaves the house: no folder of this machine.
    settings = {setting: value for setting, value in config_to_mapping(config).items() if setting not in config.RESUME_MAY_CHANGE}
    return wandb.init(
        project=config.logger_project,
        name=config.logger_name or out.name,
        id=name.read_text(),
        resume="allow",
        dir=str(out),
        config=settings,
    )
