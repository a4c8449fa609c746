"""Load CT-CHAT's projector and image encoder from model folders and published files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, cast

import torch

from thoracle.errors import CapabilityMissing, InputError, ModelFolderInvalid
from thoracle.models.bundle.import_published import detect_kind
from thoracle.models.bundle.model_folder import CONFIG, ModelFolder, load_state_dict, open_model
from thoracle.models.chat.adapters import TRAINED_BESIDE
from thoracle.models.chat.scan_tokens import check_gives_grid
from thoracle.models.common.tensor_names import summarize_names
from thoracle.models.ctchat.projector import Projector
from thoracle.models.ctchat.spec import PROJECTOR
from thoracle.models.encoder import VolumeEncoder
from thoracle.models.weights.checkpoint import read_checkpoint

#: Where published training leaves what it trained beside the adapter (stage 2), and alone (stage 1).
PUBLISHED: Final = (TRAINED_BESIDE, "mm_projector.bin")
_log = logging.getLogger(__name__)


def load_projector(path: Path) -> Projector:
    """Load a projector from a model folder, a published file, or a published folder that holds one.

    Raises:
        InputError: there is none.
        CapabilityMissing: the folder is another kind of model.
        ModelError: damaged, unsafe, or not a projector's tensors.
    """
    file = next((path / name for name in PUBLISHED if (path / name).is_file()), path)
    if file.is_file():
        return _published(file)
    if not (path / CONFIG).is_file():
        hint = "Give a folder that `thoracle import mm_projector.bin` wrote, mm_projector.bin, or a folder with non_lora_trainables.bin."
        raise InputError("holds no projector", hint=hint, source=path)
    folder = open_model(path, verify=True)
    if folder.spec is not PROJECTOR:
        raise CapabilityMissing(f"is {folder.spec.title}, not a projector", hint="Give CT-CHAT's projector.", source=path)
    projector = Projector(folder.config)
    projector.load_state_dict(load_state_dict(folder))
    return projector


def load_image_encoder(encoder: ModelFolder, *, device: torch.device) -> VolumeEncoder:
    """Load the encoder on a device, in evaluation mode and without gradient.

    Raises:
        CapabilityMissing: the model does not give all scans tokens on one regular grid.
        ModelFolderInvalid: damaged.
    """
    check_gives_grid(encoder)
    module = encoder.spec.build(encoder.config)
    module.load_state_dict(load_state_dict(encoder))
    return cast(VolumeEncoder, module.eval().requires_grad_(False).to(device))


def _published(file: Path) -> Projector:
    tensors = dict(read_checkpoint(file))
    assert PROJECTOR.key_pattern is not None, "it is published"
    beside = [name for name in tensors if not PROJECTOR.key_pattern.match(name.removeprefix("module."))]
    if 0 < len(beside) < len(tensors):
        _log.info("%s: %d tensors beside the projector's are not its own: %s", file.name, len(beside), summarize_names(beside))
        tensors = {name: tensor for name, tensor in tensors.items() if name not in set(beside)}
    spec, tensors, _ = detect_kind(tensors, source=file)
    if spec is not PROJECTOR or spec.infer_config is None:
        raise CapabilityMissing(f"is {spec.title}, not a projector", hint="Give CT-CHAT's projector.", source=file)
    projector = Projector(spec.infer_config({name: tuple(tensor.shape) for name, tensor in tensors.items()}, {}).config)
    try:
        projector.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        detail = f"is not a whole projector ({' '.join(str(error).split())[:200]})"
        raise ModelFolderInvalid(detail, hint="Give the file as it was published.", source=file) from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in projector.state_dict().values()):
        raise ModelFolderInvalid("holds weights that are no numbers", hint="Give the file as it was published.", source=file)
    return projector
