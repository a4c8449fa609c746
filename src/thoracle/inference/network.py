"""The modules of a model folder, with their weights, on a device and in a precision; knows no scan and no words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from thoracle.errors import CapabilityMissing, InputError
from thoracle.models.classifier import Head, clip_tensors, head_of, head_tensors
from thoracle.models.ctclip import CTCLIP
from thoracle.models.ctclip_config import CTCLIPConfig, CTViTConfig
from thoracle.models.ctvit import CTViT
from thoracle.models.folder import ModelFolder, load_tensors
from thoracle.models.kinds import TITLES, Clip
from thoracle.models.medfinder import MedFinder
from thoracle.models.medfinder_config import MedFinderConfig
from thoracle.models.precision import lower

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """In evaluation mode, each where the kind of model has it: CTViT, what puts volumes and texts into one space, a classifier's head."""

    ctvit: CTViT | None = None
    clip: Clip | None = None
    classifier: Head | None = None


def build_network(folder: ModelFolder, *, device: torch.device, precision: str) -> Network:
    """Load a folder's weights.

    Raises:
        CapabilityMissing: the model does not take volumes.
        ModelError: the weights are damaged.
    """
    config = folder.config
    if not isinstance(config, CTCLIPConfig | MedFinderConfig | CTViTConfig):
        raise CapabilityMissing(
            f"is {TITLES[folder.kind]}, which takes no volume", cure="Give a CT-CLIP, MedFinder, LiPro or CTViT model.", source=folder.path
        )
    tensors = load_tensors(folder)
    if isinstance(config, CTViTConfig):
        with torch.device("meta"):
            ctvit = CTViT(config)
        return Network(ctvit=_filled(ctvit, tensors, device, precision))
    if isinstance(config, MedFinderConfig):
        with torch.device("meta"):
            finder = MedFinder(config)
        return Network(clip=_filled(finder, tensors, device, precision))
    with torch.device("meta"):
        clip = CTCLIP(config)
        classifier = head_of(config, n_labels=len(folder.labels))
    if folder.kind == "ct-clip":
        clip = _filled(clip, tensors, device, precision)
        return Network(ctvit=clip.visual_transformer, clip=clip)
    clip = _filled(clip, clip_tensors(tensors), device, precision)
    return Network(ctvit=clip.visual_transformer, clip=clip, classifier=_filled(classifier, head_tensors(tensors), device, "float32"))


def device_of(name: str) -> torch.device:
    """Of its name; "auto" takes CUDA where it is there. Raises InputError where this machine has none such."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    known = device.type == "cpu" or (device.type == "cuda" and (device.index or 0) < torch.cuda.device_count())
    if not known:
        raise InputError(f"this machine has no device {name!r}", cure="Give auto, cpu, or a card that `thoracle doctor` lists.")
    return device


def _filled(module: _Module, tensors: dict[str, Tensor], device: torch.device, precision: str) -> _Module:
    """Weights stay mapped from the file until they are moved or lowered: what is never used is never read."""
    module.load_state_dict(tensors, assign=True)
    module.eval().requires_grad_(False).to(device)
    return lower(module, torch.bfloat16) if precision == "bf16" else module
