"""The kinds of model there are: which configuration each takes, and the names and shapes of its weights; knows nothing of files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final, Literal, get_args

import torch
from torch import nn

from thoracle.models.chat import Projector
from thoracle.models.classifier import TRAINED_MODEL, head_of
from thoracle.models.config import build
from thoracle.models.ctclip import CTCLIP
from thoracle.models.ctclip_config import CTCLIPConfig, CTViTConfig
from thoracle.models.ctvit import CTViT
from thoracle.models.medfinder import MedFinder
from thoracle.models.medfinder_config import MedFinderConfig
from thoracle.models.projector_config import ProjectorConfig
from thoracle.models.text_classifier import TextClassifier
from thoracle.models.text_config import TextConfig
from thoracle.types import ABNORMALITIES

Kind = Literal["ct-clip", "medfinder", "ct-clip-classifier", "ctvit", "text-classifier", "chat-projector"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
ModelConfig = CTCLIPConfig | MedFinderConfig | CTViTConfig | TextConfig | ProjectorConfig
#: What puts volumes and texts into one space.
Clip = CTCLIP | MedFinder
Shapes = Mapping[str, tuple[int, ...]]

#: In one phrase, for people.
TITLES: Final[Mapping[Kind, str]] = {
    "ct-clip": "CT-CLIP (volume and text encoder; VocabFine files are the same)",
    "medfinder": "MedFinder (volume and text encoder)",
    "ct-clip-classifier": "a classifier on CT-CLIP: LiPro, or one whose labels look at its tokens",
    "ctvit": "CTViT, CT-CLIP's volume encoder alone",
    "text-classifier": "a report labeller (RoBERTa)",
    "chat-projector": "CT-CHAT's projector from volume tokens to a language model",
}


def config_from_dict(kind: Kind, values: Mapping[str, Any]) -> ModelConfig:
    """The configuration of `kind` from what `asdict` made of it.

    Raises:
        InputError: unknown keys, wrong types, sizes that contradict each other.
    """
    match kind:
        case "ct-clip" | "ct-clip-classifier":
            return CTCLIPConfig.from_dict(values)
        case "medfinder":
            return MedFinderConfig.from_dict(values)
        case "ctvit":
            return CTViTConfig.from_dict(values)
        case "text-classifier":
            return build(TextConfig, values, "bert")
        case "chat-projector":
            return build(ProjectorConfig, values, "projector")


def weight_shapes(kind: Kind, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of every tensor of such a model, as its published files have them; takes no memory for weights."""
    labels = len(ABNORMALITIES)
    match kind, config:
        case "ct-clip", CTCLIPConfig():
            return _shapes(CTCLIP, config)
        case "medfinder", MedFinderConfig():
            return _shapes(MedFinder, config)
        case "ct-clip-classifier", CTCLIPConfig():
            inner = {f"{TRAINED_MODEL}{name}": shape for name, shape in _shapes(CTCLIP, config).items()}
            return {**inner, **_shapes(head_of, config, n_labels=labels)}
        case "ctvit", CTViTConfig():
            return _shapes(CTViT, config)
        case "text-classifier", TextConfig():
            return _shapes(TextClassifier, config, n_labels=labels)
        case "chat-projector", ProjectorConfig():
            return _shapes(Projector, config)
    raise TypeError(f"{kind} does not take {asdict(config)}")


def _shapes(module: Callable[..., nn.Module], config: ModelConfig, **more: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in module(config, **more).state_dict().items()}
