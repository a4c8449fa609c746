"""The model folder: weights, configuration, tokenizer and card in one place, whole or absent.

    MODEL/model.safetensors   the weights, under their published names
    MODEL/config.json         kind, sizes, preprocessing, labels, prompts, licence, hashes
    MODEL/tokenizer/          the tokenizer's own files, where the model reads text and its user had them
    MODEL/README.md           the model card
    MODEL/calibration.json    what its probabilities were found to mean, where somebody measured it; goes when the weights are replaced
    MODEL/localization.json   how its maps were found to place findings, where somebody measured it; goes likewise

Prompt latents that inference keeps beside the weights (`prompt-latents-*.safetensors`) can be deleted at any time.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import Preprocessing, preprocessing_from_mapping
from thoracle.errors import InputError, ModelFolderInvalid, OutputConflict, TokenizerMissing
from thoracle.files.atomic import replace_folder, sha256
from thoracle.files.json_file import load_json, read_json_object
from thoracle.models.bundle.model_card import card
from thoracle.models.encoder import Capability
from thoracle.models.model_spec import ModelSpec
from thoracle.models.registry import REGISTRY, models_with
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.models.weights.quantization import dequantize

_FAMILY: Final = "thoracle.model/"
FORMAT: Final = f"{_FAMILY}2"
WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer"
CARD: Final = "README.md"
CALIBRATION: Final = "calibration.json"
LABELLING: Final = "labelling.json"
LOCALIZATION: Final = "localization.json"

_AS_THEY_ARE: Final = ("weights_sha256", "weights_bytes", "tokenizer_sha256", "source_sha256", "licence", "trained")
_KEPT_LATENTS: Final = "prompt-latents-*.safetensors"
_IMPORT_AGAIN: Final = "Make the folder again with `thoracle import FILE --out DIR`, or train it again with `thoracle train`."


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """Describe a model folder.

    Attributes:
        path: of the folder.
        config: of the type that `kind` takes.
        preprocess: what its volumes go through; None for models that take no volume.
        labels: the names of its outputs, or of the abnormalities its prompts ask for.
        prompts: templates with `{abnormality}`, present and not present; empty for models that are not prompted.
        weights_sha256, weights_bytes: hash and size of model.safetensors.
        tokenizer_sha256: the tokenizer's fingerprint; None where none was given.
        source_sha256: of the file it was imported from; None where there was none.
        licence: in words; that of weights it was made from goes along.
        citations: papers to cite: its kind's, and those of the model it was made from.
        trained: False for random weights, whose numbers mean nothing.
        disclaimer: what a person must be told of what it was trained on, with every result; "" for models of patients.
    """

    path: Path
    kind: str
    config: Any
    preprocess: Preprocessing | None
    labels: tuple[str, ...]
    prompts: tuple[str, ...]
    weights_sha256: str
    weights_bytes: int
    tokenizer_sha256: str | None
    source_sha256: str | None
    licence: str
    trained: bool
    disclaimer: str = ""
    citations: tuple[str, ...] = ()

    @property
    def spec(self) -> ModelSpec:
        """Return the spec of its kind."""
        return REGISTRY[self.kind]

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Return what a model of its configuration can do."""
        return self.spec.capabilities(self.config)

    def tokenizer(self) -> Tokenizer:
        """Load the model's own tokenizer.

        Raises:
            TokenizerMissing: none was given, or it is not the one that was given; says what to fetch.
        """
        folder = self.path / TOKENIZER
        if not folder.is_dir():
            raise _tokenizer_missing(self)
        tokenizer = Tokenizer.from_folder(folder)
        if self.tokenizer_sha256 not in (None, tokenizer.fingerprint):
            raise TokenizerMissing("the tokenizer is not the one this model was imported with", hint=_IMPORT_AGAIN, source=folder)
        return tokenizer


def save_model(
    out: Path,
    *,
    kind: str,
    config: Any,
    preprocess: Preprocessing | None,
    labels: Sequence[str],
    tensors: Mapping[str, Tensor],
    tokenizer: Tokenizer | None,
    licence: str,
    trained: bool,
    caution: str = "",
    source_sha256: str | None = None,
    citations: Sequence[str] = (),
    assumptions: Sequence[str] = (),
) -> ModelFolder:
    """Write a model folder beside `out`, flush it to the disk, then put it in place: `out` is the old folder or the new one.

    Args:
        out: absent, empty, or a model folder, which is replaced.
        kind, config, preprocess, labels, licence, trained, caution, source_sha256: as in `ModelFolder`.
        tensors: names and shapes of `ModelSpec.weight_shapes(config)`.
        tokenizer: its files are copied.
        citations: of the model it was made from; the kind's own are added.
        assumptions: sentences for the card.

    Raises:
        OutputConflict: `out` holds something else.
    """
    out = out.absolute()
    _check_replaceable(out)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir(parents=True)
    try:
        save_file(_separate(tensors), temporary / WEIGHTS)
        folder = ModelFolder(
            path=out,
            kind=kind,
            config=config,
            preprocess=preprocess,
            labels=tuple(labels),
            prompts=REGISTRY[kind].prompts,
            weights_sha256=sha256(temporary / WEIGHTS),
            weights_bytes=(temporary / WEIGHTS).stat().st_size,
            tokenizer_sha256=tokenizer.fingerprint if tokenizer else None,
            source_sha256=source_sha256,
            licence=licence,
            trained=trained,
            disclaimer=caution,
            citations=tuple(dict.fromkeys([*citations, *REGISTRY[kind].citations])),
        )
        content = {
            CONFIG: (json.dumps(_as_dict(folder), indent=1) + "\n").encode(),
            CARD: card(**_as_dict(folder), notes=assumptions).encode(),
        }
        content |= {f"{TOKENIZER}/{name}": file for name, file in (tokenizer.files if tokenizer else {}).items()}
        for name, file in content.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_bytes(file)
        replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def open_model(path: Path, *, verify: bool = False) -> ModelFolder:
    """Read and check a model folder; its weights stay on the disk.

    Args:
        path: of the folder.
        verify: hash the weights too (a second for the full-size model); their size is always compared.

    Raises:
        ModelFolderInvalid: not a model folder, of another version, or damaged.
    """
    if not (path / CONFIG).is_file() or not (path / WEIGHTS).is_file():
        raise ModelFolderInvalid(f"is not a model folder: it holds no {CONFIG} or no {WEIGHTS}", hint=_IMPORT_AGAIN, source=path)
    folder = read_json_object(
        path / CONFIG,
        parse=lambda values: _parse(values, path),
        refusal=ModelFolderInvalid,
        detail=f"{CONFIG} does not describe a model",
        hint=_IMPORT_AGAIN,
        tag=("format", FORMAT),
        source=path,
    )
    size = (path / WEIGHTS).stat().st_size
    if size != folder.weights_bytes:
        detail = f"{WEIGHTS} has {size:,} bytes, where {CONFIG} says {folder.weights_bytes:,}"
        raise ModelFolderInvalid(detail, hint="Copy the folder again.", source=path)
    if verify and sha256(path / WEIGHTS) != folder.weights_sha256:
        raise ModelFolderInvalid(f"{WEIGHTS} is not the file that {CONFIG} has the hash of", hint="Copy the folder again.", source=path)
    return folder


def load_state_dict(folder: ModelFolder) -> dict[str, Tensor]:
    """Load every weight, mapped from the file: untouched ones take no memory, quantized ones become float32. Names and shapes match
    `config`.

    Raises:
        ModelFolderInvalid: damaged, or the weights are not those of the configuration.
    """
    try:
        tensors = dequantize(load_file(folder.path / WEIGHTS))
    except (SafetensorError, OSError) as error:
        raise ModelFolderInvalid(f"{WEIGHTS} is damaged ({str(error)[:120]})", hint=_IMPORT_AGAIN, source=folder.path) from error
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    mismatched = sorted(name for name, _ in shapes.items() ^ folder.spec.weight_shapes(folder.config).items())
    if mismatched:
        detail = f"{CONFIG} and {WEIGHTS} do not agree on {', '.join(mismatched[:3])}"[:300]
        raise ModelFolderInvalid(detail, hint=_IMPORT_AGAIN, source=folder.path)
    return tensors


def _as_dict(folder: ModelFolder) -> dict[str, Any]:
    preprocess = config_to_mapping(folder.preprocess) if folder.preprocess else None
    return {"format": FORMAT, **{name: value for name, value in asdict(folder).items() if name != "path"}, "preprocess": preprocess}


def is_model_json(values: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether JSON is a model folder's config.json, of this or of another version."""
    return isinstance(values, dict) and str(values.get("format")).startswith(_FAMILY)


def _parse(values: Mapping[str, Any], path: Path) -> ModelFolder:
    try:
        if values["kind"] not in REGISTRY:
            raise ValueError(f"kind {values['kind']!r}")
        if not isinstance(values["trained"], bool) or not isinstance(values["licence"], str):
            raise ValueError(f"trained {values['trained']!r}, licence {values['licence']!r}")
        return ModelFolder(
            path=path,
            kind=values["kind"],
            config=REGISTRY[values["kind"]].read_config(values["config"]),
            preprocess=None if values["preprocess"] is None else preprocessing_from_mapping(values["preprocess"], source="preprocess"),
            labels=_texts(values, "labels"),
            prompts=_texts(values, "prompts"),
            disclaimer=str(values.get("disclaimer", "")),
            citations=_texts({"citations": list(REGISTRY[values["kind"]].citations), **values}, "citations"),
            **{name: values[name] for name in _AS_THEY_ARE},
        )
    except InputError as error:
        raise ValueError(str(error)) from error


def _texts(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    if not isinstance(values[name], list) or not all(isinstance(text, str) for text in values[name]):
        raise ValueError(f"{name} {values[name]!r:.60}, where a list of texts was expected")
    return tuple(values[name])


def _check_replaceable(out: Path) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        described = load_json(out / CONFIG)
    except (OSError, ValueError):
        described = None
    if not is_model_json(described):
        raise OutputConflict("exists and is not a model folder", hint="Choose another --out.", source=out)
    ours = (WEIGHTS, CONFIG, TOKENIZER, CARD, CALIBRATION, LABELLING, LOCALIZATION, _KEPT_LATENTS)
    foreign = sorted(path.name for path in out.iterdir() if not any(map(path.match, ours)))
    if foreign:
        raise OutputConflict(f"holds {', '.join(foreign[:5])} beside a model", hint="Move them, or choose another --out.", source=out)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous, and each with memory of its own: the format does not store ties."""
    pointers: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.detach().clone().contiguous() if pointer in pointers else tensor.detach().contiguous()
        pointers.add(pointer)
    return separate


def _tokenizer_missing(folder: ModelFolder) -> TokenizerMissing:
    rules = folder.spec.text_rules
    if rules is None:
        hint = f"Give a {models_with(Capability.TEXT)} model."
        return TokenizerMissing(f"is {folder.spec.title}, which reads no text", hint=hint, source=folder.path)
    return TokenizerMissing(
        "words cannot be read without the model's own tokenizer, and this folder has none",
        hint=f"Fetch {rules.tokenizer_files} from huggingface.co, by hand or with `thoracle fetch {rules.tokenizer} --out DIR`, then run"
        f" `thoracle import FILE --out {folder.path} --tokenizer DIR`.",
        source=folder.path,
    )
