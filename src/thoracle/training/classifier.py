"""LiPro (also ClassFine): a linear classifier on a frozen CT-CLIP's image latents (Hamamci et al., arXiv:2403.17834); knows no volume.

Shapes: B volumes, K abnormalities, L latent width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

import torch
from torch import Tensor, nn

from thoracle.errors import InputError
from thoracle.models.config import CTCLIPConfig
from thoracle.models.folder import TOKENIZER, ModelFolder, load_tensors, save_model
from thoracle.models.heads import LatentClassifier
from thoracle.models.losses import weighted_label_loss
from thoracle.training.config import CURE, RunConfig
from thoracle.training.distributed import World, keep_gradients, spread
from thoracle.training.frozen import LatentData, LatentSample
from thoracle.training.zeroshot import label_aurocs
from thoracle.types import ABNORMALITIES

#: Before the names of CT-CLIP's weights in a classifier's file.
_TRAINED_MODEL: Final = "trained_model."
_HEAD: Final = "head."


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(RunConfig):
    """A LiPro run. The encoder is frozen and always of full precision, so `precision` is float32.

    Attributes:
        cohort: the folder that `thoracle prepare` wrote.
        start: the CT-CLIP or LiPro model folder whose encoder is kept; a LiPro's classifier is gone on from.
        latents: where the encoder's latents are kept, for this run and the next; "" is `latents` beside the run's folder.
        encode: volumes that are encoded at once.
        weights: of a label's positives: "balanced", negatives over positives of the training labels as published, or "none".
    """

    MOVABLE: ClassVar[frozenset[str]] = RunConfig.MOVABLE | {"cohort", "start", "latents", "encode"}

    cohort: str = "cohort"
    start: str = "model"
    latents: str = ""
    encode: int = 4
    weights: Literal["balanced", "none"] = "balanced"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(weights=("balanced", "none"), precision=("float32",), parallel=("replicate",))
        if not self.start or self.encode < 1:
            raise InputError("a classifier needs a model to `start` from, and `encode` of 1 or more", cure=CURE, source="config")

    @property
    def latents_folder(self) -> Path:
        """Where `latents` says."""
        return Path(self.latents) if self.latents else Path(self.out).parent / "latents"


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentBatch:
    """Latents (B, L), labels (B, K), and the samples' names."""

    latent_BL: Tensor
    labels_BK: Tensor
    names: tuple[str, ...]


def collate_latents(samples: Sequence[LatentSample]) -> LatentBatch:
    """As `Collate`."""
    return LatentBatch(
        latent_BL=torch.stack([sample.latent_L for sample in samples]),
        labels_BK=torch.stack([sample.labels_K for sample in samples]),
        names=tuple(sample.name for sample in samples),
    )


class ClassifierTask:
    """As `Task`: a classifier that learns labels from latents.

    Attributes:
        head: on the world's device.
        world: as `join` gives it.
    """

    def __init__(self, config: ClassifierConfig, world: World, *, start: ModelFolder, weights_K: Tensor) -> None:
        """`weights_K` are those of positives; `start`, a CT-CLIP or LiPro, gives all weights but the classifier's."""
        assert isinstance(start.config, CTCLIPConfig)
        self.world, self._config, self._start = world, config, start
        self.head = LatentClassifier(start.config.dim_latent, n_labels=len(ABNORMALITIES)).to(world.device)
        if start.kind == "ct-clip-classifier":
            self.head.load_state_dict({k: v for k, v in load_tensors(start).items() if not k.startswith(_TRAINED_MODEL)})
        self._weights_K = weights_K.to(world.device)
        self._spread = spread(self.head, world, shard=False, blocks=())

    def modules(self) -> nn.ModuleDict:
        """As in `Task`."""
        return nn.ModuleDict({"head": self.head})

    def parameters(self) -> list[nn.Parameter]:
        """As in `Task`."""
        return list(self.head.parameters())

    def backward(self, batches: Sequence[LatentBatch]) -> Tensor:
        """As in `Task`."""
        self.head.train()
        device, total = self.world.device, torch.zeros((), device=self.world.device)
        for number, batch in enumerate(batches):
            with keep_gradients(self._spread, apart=number < len(batches) - 1):
                logits_BK = self._spread(batch.latent_BL.to(device, non_blocking=True))
                loss = weighted_label_loss(logits_BK, batch.labels_BK.to(device), self._weights_K) / len(batches)
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return self.world.mean(total)

    def stepped(self) -> None:
        """As in `Task`."""

    def own(self) -> Mapping[str, Tensor]:
        """As in `Task`."""
        return {}

    def set_own(self, tensors: Mapping[str, Tensor]) -> None:
        """As in `Task`."""

    def export(self, out: Path, weights: Mapping[str, Tensor], *, step: int) -> None:
        """As in `Task`: a file as the published ones, encoder and text encoder with it."""
        encoder = {f"{_TRAINED_MODEL}{name}": tensor for name, tensor in clip_tensors(self._start).items()}
        save_model(
            out,
            kind="ct-clip-classifier",
            config=self._start.config,
            preprocess=self._start.preprocess,
            labels=ABNORMALITIES,
            tensors={**encoder, **{name.removeprefix(_HEAD): tensor for name, tensor in weights.items()}},
            tokenizer=self._start.tokenizer() if (self._start.path / TOKENIZER).is_dir() else None,
            licence="that of the model it began with, and of the data it was trained on",
            trained=self._start.trained,  # a classifier on the latents of random weights is not a trained model
            caution=self._config.caution,
            assumptions=(f"Its classifier was trained for {step} steps on frozen latents.",),
        )


def clip_tensors(folder: ModelFolder) -> dict[str, Tensor]:
    """The weights of the CT-CLIP that a CT-CLIP or LiPro folder holds, under CT-CLIP's own names."""
    tensors = load_tensors(folder)
    if folder.kind == "ct-clip":
        return tensors
    return {name.removeprefix(_TRAINED_MODEL): tensor for name, tensor in tensors.items() if name.startswith(_TRAINED_MODEL)}


class LatentScores:
    """An evaluation for `Trainer`, as `ZeroShot` is: AUROC of a classifier on latents of a split that is not trained on."""

    def __init__(self, task: ClassifierTask, latents: LatentData) -> None:
        self._task, self._latents = task, latents

    def __call__(self) -> Mapping[str, float]:
        """All ranks compute all, which takes no time."""
        logits_VK = self._task.head(self._latents.latents_VL.to(self._task.world.device))
        return label_aurocs(logits_VK.cpu(), self._latents.labels_VK)
