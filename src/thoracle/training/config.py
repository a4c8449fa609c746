"""What every training run is told, frozen and checked; YAML in, YAML out. Knows no task, no data and no module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self, TypeVar

import yaml  # type: ignore[import-untyped]

from thoracle.errors import InputError
from thoracle.models.config import build

#: Which ranks' tokens or pairs count together: those of all ranks, or a rank's own.
Reach = Literal["global", "rank"]
CURE: Final = "Correct the configuration."
_BUDGET: Final = 2**20
_Run = TypeVar("_Run", bound="RunConfig")


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101), a linear warm-up, then half a cosine to 0.

    Attributes:
        lr: the highest learning rate.
        betas: decay of the first and of the second moment.
        weight_decay: of matrices; vectors and scalars do not decay.
        clip: the largest norm of a step's gradient.
        warmup: steps.
        cosine: False keeps `lr` after the warm-up.
    """

    lr: float = 1.25e-6
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 0.5
    warmup: int = 0
    cosine: bool = True

    def __post_init__(self) -> None:
        if len(self.betas) != 2 or not all(isinstance(beta, float) and 0 <= beta < 1 for beta in self.betas):
            raise InputError(f"betas must be two numbers from 0 to 1, are {self.betas}", cure=CURE, source="optimiser")
        if self.lr <= 0 or self.clip <= 0 or self.weight_decay < 0 or self.warmup < 0:
            raise InputError("lr and clip must be positive, weight_decay and warmup not negative", cure=CURE, source="optimiser")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What the trainer needs to know of any run; each task adds its own.

    Attributes:
        out: the run's own folder.
        caution: what people must be told of what the model was trained on, with every result; "" where it was patients.
        seed: of weights, order, augmentation and dropout.
        steps: of the optimiser.
        batch: samples of a batch, on each rank.
        accumulate: batches whose losses are averaged before the optimiser steps.
        precision: "bf16" is autocast; weights, codebook and loss stay float32. It has not run on a GPU yet.
        parallel: on several ranks, "replicate" (DDP) or "shard" (FSDP2).
        checkpoint_activations: compute each layer again in the backward pass instead of keeping what it computed.
        compile: torch.compile on each layer.
        workers: processes that read and tokenise.
        log: where curves go.
        save_every, evaluate_every: steps; 0 never evaluates.
        keep_last: checkpoints that are kept, beside the best.
        score: which number of the evaluation says what is best.
        optimiser: as in `OptimiserConfig`.
    """

    #: Settings a run may be resumed with in another form: folders may be moved.
    MOVABLE: ClassVar[frozenset[str]] = frozenset({"out"})

    out: str = "run"
    caution: str = ""
    seed: int = 0
    steps: int = 1000
    batch: int = 8
    accumulate: int = 1
    precision: Literal["float32", "bf16"] = "float32"
    parallel: Literal["replicate", "shard"] = "replicate"
    checkpoint_activations: bool = False
    compile: bool = False
    workers: int = 2
    log: Literal["tensorboard", "wandb"] = "tensorboard"
    save_every: int = 1000
    evaluate_every: int = 0
    keep_last: int = 3
    score: str = "macro_auroc"
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        self.check_choices(precision=("float32", "bf16"), parallel=("replicate", "shard"), log=("tensorboard", "wandb"))
        if min(self.steps, self.batch, self.accumulate, self.save_every, self.keep_last) < 1:
            raise InputError("steps, batch, accumulate, save_every and keep_last must be positive", cure=CURE, source="config")
        if min(self.workers, self.evaluate_every, self.seed) < 0:
            raise InputError("workers, evaluate_every and seed must not be negative", cure=CURE, source="config")

    def check_choices(self, **choices: tuple[str, ...]) -> None:
        """Raises InputError for a setting that is none of its choices."""
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be {' or '.join(known)}, is {getattr(self, name)!r}", cure=CURE, source="config")

    @classmethod
    def rooms(cls) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        """Settings that hold settings, and what makes them."""
        return {"optimiser": _optimiser}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From plain types.

        Raises:
            InputError: an unknown key, a value of the wrong type or one that makes no sense.
        """
        rooms = {name: make for name, make in cls.rooms().items() if name in values}
        for name in rooms:
            if not isinstance(values[name], Mapping):
                raise InputError(f"{name} must hold settings, is {values[name]!r}"[:200], cure=CURE, source="config")
        return build(cls, {**values, **{name: make(values[name]) for name, make in rooms.items()}}, "config")

    def as_dict(self) -> dict[str, Any]:
        """Plain types; `from_dict` reads them back."""
        return {name: _plain(value) for name, value in asdict(self).items() if value is not None}


def shipped_config(name: str) -> Path:
    """The file of a configuration that comes with Thoracle, in the package or, in a checkout, beside it: "phantom-tiny"."""
    package = Path(__file__).parents[1]
    inside = package / "configs" / f"{name}.yaml"
    return inside if inside.is_file() else package.parents[1] / "configs" / f"{name}.yaml"


def read_config(path: Path, kind: type[_Run]) -> _Run:
    """A configuration from a YAML file, or one that is shipped, by its name.

    Raises:
        InputError: no such file, no YAML, or settings that make no sense.
    """
    if not path.suffix and not path.exists():
        path = shipped_config(path.name)
    if not path.is_file() or path.stat().st_size > _BUDGET:
        raise InputError("is not a configuration file", cure="Give one as in `configs/`, or a name such as ct-clip.", source=path)
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"is not YAML ({str(error).splitlines()[0][:120]})", cure=CURE, source=path) from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError("holds no settings", cure=CURE, source=path)
    return kind.from_dict(values)


def write_config(config: RunConfig, path: Path) -> None:
    """As `read_config` reads it."""
    path.write_text(yaml.safe_dump(config.as_dict(), sort_keys=False))


def differences(one: _Run, other: _Run) -> list[str]:
    """Names of settings that are not alike, but for what may be moved."""
    other = replace(other, **{name: getattr(one, name) for name in one.MOVABLE})
    return [f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _optimiser(values: Mapping[str, Any]) -> OptimiserConfig:
    betas = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return build(OptimiserConfig, betas, "optimiser")
