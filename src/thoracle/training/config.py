"""What a training run is told, frozen and checked; YAML in, YAML out. Knows no data and no module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import yaml  # type: ignore[import-untyped]

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.models.config import CTCLIPConfig, build

#: Which pairs of texts and images a loss compares, or which tokens the codebook averages: those of all ranks, or a rank's own.
Reach = Literal["global", "rank"]
Loss = Literal["softmax", "sigmoid"]
_CHOICES: Final = {
    "loss": get_args(Loss),
    "negatives": get_args(Reach),
    "codebook": get_args(Reach),
    "precision": ("float32", "bf16"),
    "parallel": ("replicate", "shard"),
    "log": ("tensorboard", "wandb"),
}
_BUDGET: Final = 2**20
_CURE: Final = "Correct the configuration."


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
            raise InputError(f"betas must be two numbers from 0 to 1, are {self.betas}", cure=_CURE, source="optimiser")
        if self.lr <= 0 or self.clip <= 0 or self.weight_decay < 0 or self.warmup < 0:
            raise InputError("lr and clip must be positive, weight_decay and warmup not negative", cure=_CURE, source="optimiser")


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig:
    """A contrastive run. The defaults are as published (Hamamci et al., arXiv:2403.17834), but for what other ranks see.

    Attributes:
        cohort: the folder that `thoracle prepare` wrote.
        out: the run's own folder.
        model, preprocess: of the model that is made.
        start: a CT-CLIP model folder to go on from, whose sizes and tokenizer then hold; "" for random weights.
        tokenizer: a folder with the tokenizer's files; "" makes a vocabulary of the training reports' words.
        text_weights: a BERT's weights for the text encoder (`pytorch_model.bin`, `model.safetensors`); "" for random ones.
        seed: of weights, order, augmentation and dropout.
        steps: of the optimiser.
        batch: pairs of a step, on each rank, that are compared with each other.
        chunk: pairs that are encoded at once; 0 takes the whole batch. Fewer than `batch` is gradient caching (Gao et al.,
            arXiv:2101.06983): the same loss and gradient in the memory of a chunk, for a second forward pass.
        accumulate: batches whose losses are averaged before the optimiser steps.
        text_length: tokens of a report.
        loss: "softmax" is InfoNCE, decoupled or CLOOB's as the model says; "sigmoid" is SigLIP's.
        temperature, bias: where the learnt ones begin; the bias is SigLIP's only.
        negatives: "global", or "rank" as published.
        codebook: "global", or "rank" as published.
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

    cohort: str = "cohort"
    out: str = "run"
    model: CTCLIPConfig = field(default_factory=CTCLIPConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    start: str = ""
    tokenizer: str = ""
    text_weights: str = ""
    seed: int = 0
    steps: int = 100_001
    batch: int = 8
    chunk: int = 0
    accumulate: int = 1
    text_length: int = 512
    loss: Loss = "softmax"
    temperature: float = 1.0
    bias: float = -10.0
    negatives: Reach = "global"
    codebook: Reach = "global"
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
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be {' or '.join(choices)}, is {getattr(self, name)!r}", cure=_CURE, source="config")
        if min(self.steps, self.batch, self.accumulate, self.save_every, self.keep_last) < 1 or self.text_length < 2:
            raise InputError("steps, batch, accumulate, save_every and keep_last must be positive", cure=_CURE, source="config")
        if min(self.chunk, self.workers, self.evaluate_every, self.seed) < 0 or (self.chunk and self.batch % self.chunk):
            raise InputError("workers, evaluate_every and seed must not be negative, and chunk divide batch", cure=_CURE, source="config")
        if self.accumulate > 1 and self.negatives == "global":
            fact = "accumulated batches do not see each other, so negatives cannot be global"
            raise InputError(fact, cure="Give a larger batch and a chunk, or set negatives to rank.", source="config")
        if self.loss == "sigmoid" and (self.model.decoupled_loss or self.model.extra_latent_projection):
            raise InputError("decoupled_loss and extra_latent_projection belong to the softmax loss", cure=_CURE, source="config")
        size = (self.model.n_frames, self.model.ctvit.image_size, self.model.ctvit.image_size)
        if self.preprocess.size != size:
            raise InputError(f"preprocess.size is {self.preprocess.size}, but the model takes {size}", cure=_CURE, source="config")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ContrastiveConfig:
        """From plain types.

        Raises:
            InputError: an unknown key, a value of the wrong type or one that makes no sense.
        """
        rooms = {"model": CTCLIPConfig.from_dict, "preprocess": PreprocessConfig.from_dict, "optimiser": _optimiser}
        for name in rooms:
            if not isinstance(values.get(name, {}), Mapping):
                raise InputError(f"{name} must hold settings, is {values[name]!r}"[:200], cure=_CURE, source="config")
        return build(cls, {**values, **{name: make(values.get(name, {})) for name, make in rooms.items()}}, "config")

    def as_dict(self) -> dict[str, Any]:
        """Plain types; `from_dict` reads them back."""
        optimiser = asdict(self.optimiser) | {"betas": list(self.optimiser.betas)}
        return asdict(self) | {"preprocess": self.preprocess.as_dict(), "optimiser": optimiser}


def read_config(path: Path) -> ContrastiveConfig:
    """A configuration from a YAML file.

    Raises:
        InputError: no such file, no YAML, or settings that make no sense.
    """
    if not path.is_file() or path.stat().st_size > _BUDGET:
        raise InputError("is not a configuration file", cure="Give one as in `configs/`.", source=path)
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"is not YAML ({str(error).splitlines()[0][:120]})", cure=_CURE, source=path) from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError("holds no settings", cure=_CURE, source=path)
    return ContrastiveConfig.from_dict(values)


def write_config(config: ContrastiveConfig, path: Path) -> None:
    """As `read_config` reads it."""
    path.write_text(yaml.safe_dump(config.as_dict(), sort_keys=False))


def differences(one: ContrastiveConfig, other: ContrastiveConfig) -> list[str]:
    """Names of settings that are not alike, but for `cohort` and `out`: folders may be moved."""
    other = replace(other, cohort=one.cohort, out=one.out)
    return [f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)]


def _optimiser(values: Mapping[str, Any]) -> OptimiserConfig:
    betas = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return build(OptimiserConfig, betas, "optimiser")
