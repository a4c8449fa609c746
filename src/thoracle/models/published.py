"""From a published file to a model folder: recognised by its names, checked name by name, nothing guessed silently; runs no model.

Files come from CT-CLIP (Hamamci et al., arXiv:2403.17834), its fine-tunings VocabFine and LiPro, its report labeller, and CT-CHAT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import CheckpointDamaged, CheckpointIncomplete, CheckpointUnknown, InputError
from thoracle.models.checkpoint import read_checkpoint
from thoracle.models.ctclip_config import CTCLIPConfig, CTViTConfig
from thoracle.models.files import sha256
from thoracle.models.folder import ModelFolder, save_model
from thoracle.models.kinds import TITLES, Kind, ModelConfig, Shapes, weight_shapes
from thoracle.models.names import listed
from thoracle.models.sizes import infer
from thoracle.models.text_config import TextConfig
from thoracle.models.tokenizer import Tokenizer
from thoracle.types import ABNORMALITIES

#: A file cannot say which it is; its user can.
LICENCE: Final = (
    "CC BY-NC-SA 4.0 (non-commercial use only) if this is one of the files that the authors of CT-CLIP and CT-CHAT published;"
    " otherwise what the author of the file says"
)
#: Written by every published training loop, needed by none.
DROPPED: Final = re.compile(r"(^|\.)embeddings\.position_ids$")
#: Carried, but learned by other means than a gradient, or not at all.
BUFFERS: Final = re.compile(r"\._codebook\.|\.beta$")

_PROJECTOR: Final = re.compile(r"^(.*\.)?mm_projector\.")
#: One name that only this kind of file has; the first that fits decides.
_SIGNS: Final[tuple[tuple[Kind, re.Pattern[str]], ...]] = (
    ("chat-projector", _PROJECTOR),
    ("ct-clip-classifier", re.compile(r"^trained_model\.")),
    ("ct-clip", re.compile(r"^(visual|text)_transformer\.")),
    ("ctvit", re.compile(r"^(enc_(spatial|temporal)_transformer|vq|to_patch_emb)\.")),
    ("text-classifier", re.compile(r"^model\.(embeddings|encoder)\.")),
)


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What was recognised and written.

    Attributes:
        folder: the model folder.
        assumptions: sentences on what the file does not say.
        dropped: names that were in the file and are not needed.
        parameters: how many the model has, buffers (the codebook, unused biases) left out, as the papers count.
    """

    folder: ModelFolder
    assumptions: tuple[str, ...]
    dropped: tuple[str, ...]
    parameters: int


def import_checkpoint(file: Path, *, out: Path, config: Mapping[str, Any] | None = None, tokenizer: Path | None = None) -> ImportReport:
    """Recognise a published file, or one trained in the same way, and write a model folder.

    Args:
        file: any container that `read_checkpoint` opens.
        out: absent, empty, or a model folder, which is replaced.
        config: what tensors cannot say, with the keys of the published configuration.
        tokenizer: the folder of the model's own.

    Raises:
        CheckpointUnsafe, CheckpointDamaged: see `read_checkpoint`; also weights that are not finite numbers.
        CheckpointUnknown: names of no published model.
        CheckpointIncomplete: names missing, left over or of another shape.
        InputError: `config` contradicts the tensors, or `tokenizer` does not fit them.
        TokenizerMissing: no tokenizer in that folder.
        OutputConflict: `out` holds something else.
    """
    words = Tokenizer.from_folder(tokenizer) if tokenizer else None
    kind, tensors, dropped = recognise(read_checkpoint(file), source=file)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        sizes, n_frames, assumptions = infer(kind, shapes, config or {})
    except CheckpointIncomplete as error:
        raise CheckpointIncomplete(f"looks like {TITLES[kind]}, but {error.fact}", cure=error.cure, source=file) from error
    _check_names(kind, shapes, weight_shapes(kind, sizes), source=file)
    _check_numbers(tensors, source=file)
    _check_tokenizer(words, sizes)
    folder = save_model(
        out,
        kind=kind,
        config=sizes,
        preprocess=_preprocess(sizes, n_frames),
        labels=() if kind in ("ctvit", "chat-projector") else ABNORMALITIES,
        tensors=tensors,
        tokenizer=words,
        licence=LICENCE,
        trained=True,
        source_sha256=sha256(file),
        assumptions=assumptions,
    )
    return ImportReport(
        folder=folder,
        assumptions=assumptions,
        dropped=dropped,
        parameters=sum(tensor.numel() for name, tensor in tensors.items() if not BUFFERS.search(name)),
    )


def recognise(tensors: Mapping[str, Tensor], *, source: Path) -> tuple[Kind, dict[str, Tensor], tuple[str, ...]]:
    """The kind of model, its tensors under their published names, and the names that were dropped.

    Raises:
        CheckpointUnknown: names of no published model.
    """
    plain = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        raise CheckpointUnknown("holds the same names with and without module.", cure="Give one model's state dict.", source=source)
    dropped = tuple(name for name in plain if DROPPED.search(name))
    kept = {name: tensor for name, tensor in plain.items() if name not in dropped}
    kind = next((kind for kind, sign in _SIGNS if any(sign.match(name) for name in kept)), None)
    if kind is None:
        raise CheckpointUnknown(
            f"holds {len(kept)} tensors of no published model, the first {listed(list(kept))}; known are {'; '.join(TITLES.values())}",
            cure="Give a CT-CLIP, VocabFine, LiPro, CTViT, report labeller or mm_projector file.",
            source=source,
        )
    if kind == "chat-projector":
        kept = {_PROJECTOR.sub("", name): tensor for name, tensor in kept.items()}
    return kind, kept, dropped


def _check_names(kind: Kind, found: Shapes, expected: Shapes, *, source: Path) -> None:
    missing = [name for name in expected if name not in found]
    left_over = [name for name in found if name not in expected]
    unlike = [f"{name} is {found[name]}, expected {expected[name]}" for name in expected if name in found and found[name] != expected[name]]
    facts = []
    if missing:
        facts.append(f"missing {len(missing)}: {listed(missing, near=left_over)}")
    if left_over:
        facts.append(f"left over {len(left_over)}: {listed(left_over, near=missing)}")
    if unlike:
        facts.append(f"of another shape {len(unlike)}: {listed(unlike)}")
    if facts:
        raise CheckpointIncomplete(
            f"looks like {TITLES[kind]}, but of its tensors are {'; '.join(facts)}",
            cure="Give an unchanged state dict, and --config where sizes are not the published ones.",
            source=source,
        )


def _check_numbers(tensors: Mapping[str, Tensor], *, source: Path) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise CheckpointDamaged(f"{name} holds {tensor.dtype}, not weights", cure="Give an unquantised state dict.", source=source)
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointDamaged(f"{name} holds NaN or infinity", cure="Train again from a sound checkpoint.", source=source)


def _check_tokenizer(tokenizer: Tokenizer | None, config: ModelConfig) -> None:
    if tokenizer is None:
        return
    text = config.bert if isinstance(config, CTCLIPConfig) else config
    if not isinstance(text, TextConfig):
        raise InputError("this model reads no text", cure="Leave --tokenizer out.")
    if tokenizer.vocab_size > text.vocab_size:
        raise InputError(
            f"the tokenizer knows {tokenizer.vocab_size:,} entries, the model {text.vocab_size:,}", cure="Give the model's own tokenizer."
        )


def _preprocess(config: ModelConfig, n_frames: int) -> PreprocessConfig | None:
    ctvit = config.ctvit if isinstance(config, CTCLIPConfig) else config
    return PreprocessConfig(size=(n_frames, ctvit.image_size, ctvit.image_size)) if isinstance(ctvit, CTViTConfig) else None
