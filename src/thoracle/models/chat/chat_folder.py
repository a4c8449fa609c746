"""The chat folder: a projector, an adapter, and which encoder and language model they belong to; whole or absent.

    CHAT/chat.json     where encoder and language model are, their fingerprints, the encoder's recipe, what it was trained on
    CHAT/projector/    a model folder
    CHAT/adapter/      peft's own, where the language model was adapted
    CHAT/base/         the language model, where an adapter was merged into it
    CHAT/README.md     what a person must know

Encoder and language model stay where they are: they are large, and their licences are their own.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save_file
from torch import Tensor

from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import Preprocessing, preprocessing_from_mapping
from thoracle.errors import InputError, ModelFolderInvalid, OutputConflict
from thoracle.files.atomic import replace_folder
from thoracle.files.json_file import read_json_object
from thoracle.models.bundle.model_folder import CARD, CONFIG, open_model, save_model
from thoracle.models.chat.adapters import ADAPTER_CONFIG
from thoracle.models.chat.language_model import fingerprint
from thoracle.models.ctchat import spec as ctchat_spec
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.types import RESEARCH_USE

FORMAT: Final = "thoracle.chat/1"
ABOUT: Final = "chat.json"
PROJECTOR: Final = "projector"
ADAPTER: Final = "adapter"
BASE: Final = "base"
_LICENCE: Final = "that of the data it was trained on, and of the language model"
_HINT: Final = "Train it again with `thoracle train chat`, or give the folders with --encoder, --base and --projector."


@dataclass(frozen=True, kw_only=True)
class ChatFolder:
    """Describe a chat folder.

    Attributes:
        path: of the folder.
        encoder, base: folders of the encoder and of the language model.
        encoder_sha256: of the encoder's weights.
        encoder_preprocess: what the encoder's volumes went through, which its weights do not tell; None in folders of before 2026-12.
        base_sha256: `fingerprint` of the language model.
        adapter: whether the language model was adapted.
        caution: what a person must be told of what it was trained on, with every answer.
    """

    path: Path
    encoder: Path
    base: Path
    encoder_sha256: str
    encoder_preprocess: Preprocessing | None
    base_sha256: str
    adapter: bool
    caution: str


def save_chat(
    out: Path,
    *,
    encoder: Path,
    base: Path | Callable[[Path], object],
    projector: ProjectorConfig,
    projector_tensors: Mapping[str, Tensor],
    adapter: Mapping[str, Any] | None,
    adapter_tensors: Mapping[str, Tensor],
    caution: str,
    notes: tuple[str, ...],
) -> None:
    """Write a chat folder beside `out`, then put it in place.

    Args:
        out: absent, empty, or a chat folder, which is replaced.
        encoder, base, caution: as in `ChatFolder`; a `base` that is called writes a language model's folder within this one.
        projector, projector_tensors: its sizes and weights.
        adapter, adapter_tensors: peft's configuration and weights, by peft's names; None and nothing without one.
        notes: sentences for the card.

    Raises:
        OutputConflict: `out` holds something else.
        ModelError: the encoder is damaged.
    """
    out = out.absolute()
    if out.exists() and not (out / ABOUT).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputConflict("exists and is no chat folder", hint="Choose another --out.", source=out)
    image_encoder = open_model(encoder)
    licence = f"{_LICENCE}, and of its encoder: {image_encoder.licence}"
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir(parents=True)
    try:
        save_model(
            temporary / PROJECTOR,
            kind=ctchat_spec.PROJECTOR.kind,
            config=projector,
            preprocess=None,
            labels=(),
            tensors=projector_tensors,
            tokenizer=None,
            licence=licence,
            trained=True,
            caution=caution,
            citations=image_encoder.citations,
            assumptions=notes,
        )
        if adapter is not None:
            (temporary / ADAPTER).mkdir()
            (temporary / ADAPTER / ADAPTER_CONFIG).write_text(json.dumps(adapter, indent=1, default=sorted) + "\n")
            tensors = {name: tensor.detach().contiguous() for name, tensor in adapter_tensors.items()}
            save_file(tensors, temporary / ADAPTER / "adapter_model.safetensors")
        if callable(base):
            base(temporary / BASE)
        base, place = (temporary / BASE, BASE) if callable(base) else (base, os.path.relpath(base.absolute(), out))
        about = ChatFolder(
            path=out,
            encoder=Path(os.path.relpath(encoder.absolute(), out)),
            base=Path(place),
            encoder_sha256=image_encoder.weights_sha256,
            encoder_preprocess=image_encoder.preprocess,
            base_sha256=fingerprint(base),
            adapter=adapter is not None,
            caution=caution,
        )
        described = {name: _plain(value) for name, value in config_to_mapping(about).items() if name != "path"}
        values = {"format": FORMAT, "notice": RESEARCH_USE, **described}
        (temporary / ABOUT).write_text(json.dumps(values, indent=1) + "\n")
        card = _card(about, notes, title=image_encoder.spec.title, licence=licence, citations=open_model(temporary / PROJECTOR).citations)
        (temporary / CARD).write_text(card)
        replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_chat(path: Path, *, encoder: Path | None = None, base: Path | None = None) -> ChatFolder:
    """Read and check a chat folder; no weight is read.

    Args:
        path: of the folder.
        encoder, base: where they are now, if they were moved.

    Raises:
        ModelFolderInvalid: damaged, or its encoder or language model is elsewhere or another one.
    """
    folder = read_json_object(
        path / ABOUT,
        parse=lambda values: _parse(values, path, encoder=encoder, base=base),
        refusal=ModelFolderInvalid,
        detail="is no chat folder",
        hint=_HINT,
        tag=("format", FORMAT),
        source=path,
    )
    _check(folder)
    return folder


def _parse(values: Mapping[str, Any], path: Path, *, encoder: Path | None, base: Path | None) -> ChatFolder:
    return ChatFolder(
        path=path,
        encoder=encoder or path / _text(values["encoder"]),
        base=base or path / _text(values["base"]),
        encoder_sha256=_text(values["encoder_sha256"]),
        encoder_preprocess=_recipe(values.get("encoder_preprocess")),
        base_sha256=_text(values["base_sha256"]),
        adapter=values["adapter"] is True,
        caution=_text(values["caution"]),
    )


def _recipe(value: Any) -> Preprocessing | None:
    try:
        return None if value is None else preprocessing_from_mapping(value, source="encoder_preprocess")
    except InputError as error:
        raise ValueError(str(error)) from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} where text was expected")
    return value


def _check(folder: ChatFolder) -> None:
    for what, path in (("encoder", folder.encoder), ("base", folder.base)):
        if not (path / CONFIG).is_file():
            raise ModelFolderInvalid(f"its {what} is not at {path}", hint=f"Say where it is with --{what} DIR.", source=folder.path)
    encoder = open_model(folder.encoder)
    if encoder.weights_sha256 != folder.encoder_sha256:
        raise ModelFolderInvalid("was trained with another encoder", hint="Give its own with --encoder DIR.", source=folder.path)
    if folder.encoder_preprocess not in (None, encoder.preprocess):
        detail = "was trained with its encoder's weights behind another recipe"
        raise ModelFolderInvalid(detail, hint="Give its own with --encoder DIR.", source=folder.path)
    if fingerprint(folder.base) != folder.base_sha256:
        raise ModelFolderInvalid("was trained with another language model", hint="Give its own with --base DIR.", source=folder.path)


def _plain(value: object) -> object:
    return value.as_posix() if isinstance(value, Path) else value


def _card(about: ChatFolder, notes: tuple[str, ...], *, title: str, licence: str, citations: tuple[str, ...]) -> str:
    disclaimer = f"**{about.caution}**\n\n" if about.caution else ""
    lines = "\n".join(
        f"- {name}: {value}"
        for name, value in {
            "Licence of the weights": licence,
            "To be cited": "; ".join(citations),
            "Encoder": f"{title}, {about.encoder_sha256}",
            "Language model": about.base_sha256,
            "Adapter": "LoRA" if about.adapter else "none",
            "Notes": " ".join(notes),
        }.items()
    )
    return f"# A chat model on an encoder's tokens\n\n{RESEARCH_USE}\n\n{disclaimer}{lines}\n"
