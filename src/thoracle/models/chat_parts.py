"""What CT-CHAT takes from model folders and published files: the projector, and the image encoder alone; runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

from thoracle.errors import CapabilityMissing, InputError, ModelFolderInvalid
from thoracle.models.chat import Projector
from thoracle.models.chat_tokens import ctvit_config
from thoracle.models.checkpoint import read_checkpoint
from thoracle.models.classifier import clip_tensors
from thoracle.models.ctclip import CTCLIP
from thoracle.models.ctclip_config import CTCLIPConfig, CTViTConfig
from thoracle.models.ctvit import CTViT
from thoracle.models.folder import CONFIG, ModelFolder, load_tensors, open_model
from thoracle.models.kinds import TITLES
from thoracle.models.projector_config import ProjectorConfig
from thoracle.models.published import recognise
from thoracle.models.sizes import infer

#: Where published training leaves what it trained beside the adapter (stage 2), and alone (stage 1).
PUBLISHED: Final = ("non_lora_trainables.bin", "mm_projector.bin")


def open_projector(path: Path) -> Projector:
    """From a model folder, a published file, or a published folder that holds one.

    Raises:
        InputError: there is none.
        CapabilityMissing: the folder is another kind of model.
        ModelError: damaged, unsafe, or not a projector's tensors.
    """
    file = next((path / name for name in PUBLISHED if (path / name).is_file()), path)
    if file.is_file():
        return _published(file)
    if not (path / CONFIG).is_file():
        cure = "Give a folder that `thoracle import mm_projector.bin` wrote, mm_projector.bin, or a folder with non_lora_trainables.bin."
        raise InputError("holds no projector", cure=cure, source=path)
    folder = open_model(path, verify=True)
    if not isinstance(folder.config, ProjectorConfig):
        raise CapabilityMissing(f"is {TITLES[folder.kind]}, not a projector", cure="Give CT-CHAT's projector.", source=path)
    projector = Projector(folder.config)
    projector.load_state_dict(load_tensors(folder))
    return projector


def image_encoder(encoder: ModelFolder) -> CTViT:
    """The encoder alone, in evaluation mode and without gradient.

    Raises:
        CapabilityMissing: the model encodes no volume.
        ModelFolderInvalid: damaged.
    """
    ctvit_config(encoder)
    tensors = load_tensors(encoder)
    if isinstance(encoder.config, CTViTConfig):
        ctvit = CTViT(encoder.config)
        ctvit.load_state_dict(tensors)
    else:
        assert isinstance(encoder.config, CTCLIPConfig), "checked above"
        clip = CTCLIP(encoder.config)
        clip.load_state_dict(clip_tensors(tensors) if encoder.kind == "ct-clip-classifier" else tensors)
        ctvit = clip.visual_transformer
    return ctvit.eval().requires_grad_(False)


def _published(file: Path) -> Projector:
    kind, tensors, _ = recognise(read_checkpoint(file), source=file)
    if kind != "chat-projector":
        raise CapabilityMissing(f"is {TITLES[kind]}, not a projector", cure="Give CT-CHAT's projector.", source=file)
    config, _, _ = infer(kind, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, {})
    assert isinstance(config, ProjectorConfig), "of its kind"
    projector = Projector(config)
    try:
        projector.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        fact = f"is not a whole projector ({' '.join(str(error).split())[:200]})"
        raise ModelFolderInvalid(fact, cure="Give the file as it was published.", source=file) from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in projector.state_dict().values()):
        raise ModelFolderInvalid("holds weights that are no numbers", cure="Give the file as it was published.", source=file)
    return projector
