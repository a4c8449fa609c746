"""Define the settings that every training run shares, and load and write them as YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import yaml  # type: ignore[import-untyped]

from thoracle.config_reader import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Range,
    apply_overrides,
    check_fields,
    config_from_mapping,
    config_to_mapping,
    overridden_keys,
    parse_yaml,
)
from thoracle.errors import InputError
from thoracle.files.atomic import write_atomic
from thoracle.types import ABNORMALITIES

#: Which pairs of a step are compared: those of all ranks, or a rank's own.
BatchScope = Literal["global", "local"]
HINT: Final = "Correct the configuration."
#: Numbers that a run computes in.
Precision = Literal["float32", "bf16", "float16"]
#: Of a run's config.yaml; a change that breaks readers takes the next number.
FORMAT: Final = "thoracle.training/2"
_MAX_BYTES: Final = 2**20
#: What a resumed run's other setting changes; of the rest nothing follows for the weights.
_RESUMED: Final = {
    "steps": "the learning rate follows the schedule of so many steps from here on",
    "batch_size": "a step sees the same samples, which dropout meets in another order",
    "gradient_accumulation_steps": "a step sees the same samples, which dropout meets in another order",
    "gradient_cache_chunk": "dropout and views draw other numbers from here on",
    "compile": "sums are rounded, and dropout is drawn, in another order from here on",
    "activation_checkpointing": "the same numbers, but for rounding",
    "eval_every": "other steps have a score",
}
_NO_CHANGE: Final = "the weights do not depend on it"
_Run = TypeVar("_Run", bound="RunConfig")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Configure AdamW (Loshchilov and Hutter, arXiv:1711.05101) and its learning-rate schedule.

    Attributes:
        lr: highest learning rate.
        betas: decay of the first and of the second moment.
        weight_decay: decay of matrices; vectors and scalars do not decay.
        max_grad_norm: largest norm of a step's gradient; a larger gradient is scaled down to it.
        warmup_steps: steps over which the learning rate rises linearly.
        schedule: learning rate after the warm-up: "constant"; "cosine", half a cosine to 0; "wsd", constant, then a linear decay to 0.
        decay_fraction: fraction of all steps over which "wsd" decays.
        text_lr_scale: learning-rate multiplier of the text encoder. BERT is post-norm and tolerates a lower rate.
    """

    lr: PositiveFloat = 1.25e-6
    betas: tuple[Annotated[float, Range(min=0, below=1)], Annotated[float, Range(min=0, below=1)]] = (0.9, 0.99)
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 0.5
    warmup_steps: NonNegativeInt = 0
    schedule: Literal["constant", "cosine", "wsd"] = "cosine"
    decay_fraction: Fraction = 0.2
    text_lr_scale: NonNegativeFloat = 1.0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Configure what the trainer needs of any run; each task adds its own.

    Attributes:
        out: folder of the run.
        only: list of the volumes to take of the cohort, as `thoracle search --all --csv` writes it; "" takes all.
        disclaimer: sentence that every result of the model carries, about its training data; "" where it was patients.
        seed: seed of weights, order, augmentation and dropout.
        steps: optimizer steps of the whole run; a run has these or `epochs`, and 0 of the other.
        epochs: passes over the training split, in place of `steps`: so many times the steps that its samples fill.
        batch_size: samples of a batch, on each rank.
        gradient_accumulation_steps: batches whose losses are averaged before the optimizer steps.
        precision: "bf16" and "float16" are autocast; weights, codebook and loss stay float32. "float16" is for GPUs without bfloat16: the
            loss is scaled, and a step whose gradient overflows is skipped. Neither has run on a GPU yet.
        parallelism: strategy on several ranks: "ddp" replicates the model, "fsdp" (FSDP2) shards it.
        activation_checkpointing: compute each layer again in the backward pass instead of storing its activations.
        compile: torch.compile on each layer.
        collective_timeout_hours: hours that a rank waits for the others before the run is aborted; one that encodes a cohort or writes a
            model works alone for long.
        num_workers: threads that read volumes ahead, each with a buffer of one volume, and one buffer beside them; or processes that read
            and tokenize, for a task on texts. Cached features are read from memory, by none. With 0 nothing is read ahead.
        logger: where curves go.
        logger_project: project of the run on Weights & Biases.
        logger_name: name of the run there; "" takes that of its folder.
        save_every: steps between checkpoints.
        eval_every: steps between evaluations; 0 never evaluates.
        keep_checkpoints: number of last checkpoints that are kept, beside the best.
        monitor: metric of the evaluation that decides which checkpoint is best: a mean, or the figure of one abnormality by its name. Runs
            on pairs have "R@1", "R@5" and "R@10" too, the recall of held-out pairs, mean of both directions, and "minus_loss", their loss
            with the other sign, which need no labels. It is of split dev.
        optimizer: settings of the optimizer and of its schedule.
    """

    #: Verb of `thoracle train`; a configuration may state it as `task`.
    TASK: ClassVar[str] = ""
    #: Settings that may differ when a run is resumed: folders that were moved, and what does not decide what is learnt from which samples.
    #: How a step is shared out over batches and ranks is compared with the checkpoint: the product stays.
    RESUME_MAY_CHANGE: ClassVar[frozenset[str]] = frozenset(
        {"out", "steps", "batch_size", "gradient_accumulation_steps", "activation_checkpointing", "compile", "num_workers", "logger"}
        | {"save_every", "eval_every", "keep_checkpoints", "collective_timeout_hours"}
    )
    #: What `monitor` may be: figures of which the highest is best.
    MONITORS: ClassVar[tuple[str, ...]] = ("macro_auroc", *ABNORMALITIES)

    out: str = "run"
    only: str = ""
    disclaimer: str = ""
    seed: NonNegativeInt = 0
    steps: NonNegativeInt = 0
    epochs: NonNegativeInt = 0
    batch_size: PositiveInt = 8
    gradient_accumulation_steps: PositiveInt = 1
    precision: Precision = "float32"
    parallelism: Literal["ddp", "fsdp"] = "ddp"
    activation_checkpointing: bool = False
    compile: bool = False
    collective_timeout_hours: PositiveFloat = 10.0
    num_workers: NonNegativeInt = 2
    logger: Literal["tensorboard", "wandb"] = "tensorboard"
    logger_project: str = "thoracle"
    logger_name: str = ""
    save_every: PositiveInt = 1000
    eval_every: NonNegativeInt = 0
    keep_checkpoints: PositiveInt = 3
    monitor: str = "macro_auroc"
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    @property
    def volumes_at_once(self) -> int:
        """Return how many volumes of a batch are encoded at once; 0 for a task without volumes."""
        return 0

    @property
    def batch_workers(self) -> int:
        """Return how many processes make batches of a task without volumes."""
        return self.num_workers

    def __post_init__(self) -> None:
        check_fields(self)
        if self.steps and self.epochs:
            detail = f"both steps, {self.steps}, and epochs, {self.epochs}, are given"
            raise InputError(detail, hint="Set one of them to 0.", source="config")
        if self.monitor not in self.MONITORS:
            means = ", ".join(name for name in self.MONITORS if name not in ABNORMALITIES)
            detail = f"monitor is {self.monitor!r}, which no evaluation of this run gives"
            hint = f"Give {means}{', or the name of an abnormality' if ABNORMALITIES[0] in self.MONITORS else ''}."
            raise InputError(detail, hint=hint, source="config")

    def total_steps(self, steps_per_epoch: int, *, source: str | Path = "config") -> int:
        """Return the steps of the whole run; raises InputError, of `source`, where nothing says how long it is."""
        if not self.steps and not self.epochs:
            raise InputError("neither steps nor epochs is given", hint="Give one of them.", source=source)
        return self.steps or self.epochs * steps_per_epoch

    @property
    def compares_batch(self) -> bool:
        """Return whether the loss compares the samples of a batch of one rank, so that `batch_size` is part of it."""
        return False


def builtin_config(name: str) -> Path:
    """Locate a configuration that comes with Thoracle, in the package or, in a checkout, beside it: "phantom-tiny"."""
    package = Path(__file__).parents[2]
    inside = package / "configs" / f"{name}.yaml"
    return inside if inside.is_file() else package.parents[1] / "configs" / f"{name}.yaml"


def load_config(path: Path, cls: type[_Run], *, overrides: Iterable[str] = ()) -> _Run:
    """Load a configuration from a YAML file, or a built-in one by its name.

    Args:
        path: of the file, or a name such as ct-clip.
        cls: the task's configuration.
        overrides: settings that replace those of the file, such as "optimizer.lr=1e-4".

    Raises:
        InputError: no such file, no YAML, or settings that make no sense; names the file or `--set`.
    """
    path, overrides = locate_config(path), list(overrides)
    values = apply_overrides(cls, read_settings(path), overrides)
    if values.pop("format", FORMAT) != FORMAT:
        raise _other_format(path)
    task = values.pop("task", cls.TASK)
    if task != cls.TASK:
        raise InputError(f"is a configuration of `thoracle train {task}`", hint=f"Give one of {cls.TASK}.", source=path)
    config = config_from_mapping(cls, values, source=path, overridden=overridden_keys(overrides))
    config.total_steps(1, source=path)  # before data are opened, which say how many an epoch has
    return config


def load_run_config(path: Path, cls: type[_Run]) -> _Run:
    """Load the configuration that a run's folder holds.

    Raises:
        InputError: the run was begun by an earlier Thoracle, or as `load_config`.
    """
    values = read_settings(path)
    if values.pop("format", None) != FORMAT:
        raise _other_format(path)
    values.pop("task", None)
    return config_from_mapping(cls, values, source=path)


def write_config(config: RunConfig, path: Path) -> None:
    """Write a configuration as `load_config` and `load_run_config` read it."""
    text = yaml.safe_dump({"format": FORMAT, "task": config.TASK, **config_to_mapping(config)}, sort_keys=False)
    write_atomic(path, text.encode())


def changed_fields(before: _Run, after: _Run) -> list[str]:
    """List settings that differ, except those that may change when a run is resumed."""
    after = replace(after, **{name: getattr(before, name) for name in before.RESUME_MAY_CHANGE})
    return [f.name for f in fields(before) if getattr(before, f.name) != getattr(after, f.name)]


def resume_notes(before: _Run, after: _Run) -> list[str]:
    """Say which settings a resumed run goes on with that it was not begun with, and what they change."""
    after = replace(after, out=before.out)
    changed = [f.name for f in fields(before) if getattr(before, f.name) != getattr(after, f.name)]
    return [f"{name} is {getattr(after, name)} now, was {getattr(before, name)}: {_RESUMED.get(name, _NO_CHANGE)}." for name in changed]


def locate_config(path: Path) -> Path:
    """Return a file as it is, and a name such as ct-clip as the file of that built-in configuration."""
    return path if path.suffix or path.exists() else builtin_config(path.name)


def read_settings(path: Path) -> dict[str, Any]:
    """Read a YAML file's settings as plain types; nothing is checked.

    Raises:
        InputError: no such file, or no YAML.
    """
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        raise InputError("is not a configuration file", hint="Give one as in `configs/`, or a name such as ct-clip.", source=path)
    try:
        values = parse_yaml(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"is not YAML ({str(error).splitlines()[0][:120]})", hint=HINT, source=path) from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError("holds no settings", hint=HINT, source=path)
    return values


def _other_format(path: Path) -> InputError:
    return InputError(
        f"is not of format {FORMAT}: the run was begun by another version of Thoracle",
        hint="Begin it anew with `thoracle train` and another --out; docs/reference/settings.md has the names of settings.",
        source=path,
    )
