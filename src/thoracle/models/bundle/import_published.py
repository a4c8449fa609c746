"""Make a model folder from published files: recognized by their names, checked name by name, nothing guessed silently."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from thoracle.errors import CheckpointDamaged, CheckpointIncomplete, CheckpointUnknown, InputError
from thoracle.files.atomic import sha256
from thoracle.models.bundle.model_folder import ModelFolder, save_model
from thoracle.models.common.shapes import Shapes
from thoracle.models.common.tensor_names import WRAPPERS, shared_prefix, summarize_names, without_wrappers
from thoracle.models.model_spec import ConfigGuess, ModelSpec
from thoracle.models.registry import REGISTRY, listed_or
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.models.weights.checkpoint import read_checkpoint
from thoracle.models.weights.shards import find_weights, is_index, read_weights, weight_files

#: Of files of weights.
_ENDINGS: Final = (".bin", ".pt", ".pth", ".safetensors")
#: Written by every published training loop, needed by none.
DROPPED: Final = re.compile(r"(^|\.)embeddings\.position_ids$")
#: Carried, but learned by other means than a gradient, or not at all.
BUFFERS: Final = re.compile(r"\._codebook\.|\.beta$|\.running_(mean|var)$|\.rope\.periods$")


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """Report what was recognized and written.

    Attributes:
        folder: the model folder.
        files: those that were read.
        assumptions: sentences on what the file does not say.
        dropped: names that were in the file and are not needed.
        unwrapped: parts of names that training wrappers had added, and that were taken off.
        parameters: how many the model has, buffers (the codebook, unused biases) left out, as the papers count.
    """

    folder: ModelFolder
    files: tuple[Path, ...]
    assumptions: tuple[str, ...]
    dropped: tuple[str, ...]
    unwrapped: tuple[str, ...]
    parameters: int


def import_checkpoint(path: Path, *, out: Path, config: Mapping[str, Any] | None = None, tokenizer: Path | None = None) -> ImportReport:
    """Recognize a published file, or one trained in the same way, and write a model folder.

    Args:
        path: any container that `read_checkpoint` opens; a folder with `model.safetensors`, `pytorch_model.bin` or the index of several
            such files; or a folder with the files of a kind that was published as several, under whatever names.
        out: absent, empty, or a model folder, which is replaced.
        config: what tensors cannot say, with the keys of the published configuration.
        tokenizer: the folder of the model's own. Some kinds read volumes alone without it.

    Raises:
        CheckpointUnsafe, CheckpointDamaged: see `read_checkpoint`; also weights that are not finite numbers.
        CheckpointUnknown: names of no published model.
        CheckpointIncomplete: names missing, left over or of another shape.
        InputError: `config` contradicts the tensors, or `tokenizer` does not fit them.
        TokenizerMissing: no tokenizer in that folder.
        OutputConflict: `out` holds something else.
    """
    words = Tokenizer.from_folder(tokenizer) if tokenizer else None
    files = _published_files(path)
    names, unwrapped = unwrap_names(_read_files(files), source=path)
    spec, tensors, dropped = detect_kind(names, source=path, with_text=words is not None)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    guess = _infer(spec, shapes, config or {}, source=path)
    if words is None and spec.is_without_text(guess.config):
        assert spec.text_rules is not None, "its kind reads text"
        left_out = f"its texts are left out, for which --tokenizer is needed: {spec.text_rules.tokenizer_files}"
        guess = replace(guess, assumptions=(*guess.assumptions, left_out))
    _check_names(spec, shapes, spec.weight_shapes(guess.config), source=path)
    _check_numbers(tensors, source=path)
    _check_tokenizer(words, spec, guess.config)
    folder = save_model(
        out,
        kind=spec.kind,
        config=guess.config,
        preprocess=guess.preprocess,
        labels=spec.labels(guess.config),
        tensors=tensors,
        tokenizer=words,
        licence=spec.licence,
        trained=True,
        source_sha256=_source_sha256(files),
        assumptions=guess.assumptions,
    )
    return ImportReport(
        folder=folder,
        files=files,
        assumptions=guess.assumptions,
        dropped=dropped,
        unwrapped=unwrapped,
        parameters=sum(tensor.numel() for name, tensor in tensors.items() if not BUFFERS.search(name)),
    )


def unwrap_names(tensors: Mapping[str, Tensor], *, source: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Take off what training wrappers added to names, such as "module._orig_mod.", as far as a known kind appears; return what it was.

    Raises:
        CheckpointUnknown: two names are then the same.
    """
    plain = {without_wrappers(name): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        raise CheckpointUnknown("holds the same names with and without _orig_mod.", hint="Give one model's state dict.", source=source)
    patterns = [spec.key_pattern for spec in REGISTRY.values() if spec.key_pattern]
    prefix = shared_prefix(plain, known=lambda name: any(pattern.match(name) for pattern in patterns)) or ""
    removed = [wrapper for wrapper in WRAPPERS if any(wrapper in name for name in tensors)]
    return {name[len(prefix) :]: tensor for name, tensor in plain.items()}, (*removed, *filter(None, [prefix]))


def detect_kind(
    tensors: Mapping[str, Tensor], *, source: Path, with_text: bool = True
) -> tuple[ModelSpec, dict[str, Tensor], tuple[str, ...]]:
    """Return the kind of model, its tensors under its own names, and the names that were dropped: also those of its texts, where it is
    wanted without and can be.

    Raises:
        CheckpointUnknown: names of no published model.
        CheckpointIncomplete: a part of one.
    """
    plain, _ = unwrap_names(tensors, source=source)
    weights = {name: tensor for name, tensor in plain.items() if not DROPPED.search(name)}
    importable = [spec for spec in REGISTRY.values() if spec.key_pattern]
    matching = [spec for spec in importable if any(cast("re.Pattern[str]", spec.key_pattern).match(name) for name in weights)]
    if not matching:
        titles = "; ".join(spec.title for spec in importable)
        raise CheckpointUnknown(
            f"holds {len(weights)} tensors of no published model, the first {summarize_names(list(weights))}; known are {titles}",
            hint=f"Give a {listed_or([spec.name for spec in importable])} file.",
            source=source,
        )
    spec = matching[0]
    try:
        names = {name: name for name in weights} if spec.select_names is None else spec.select_names(weights, with_text)
    except CheckpointIncomplete as error:
        raise CheckpointIncomplete(error.detail, hint=error.hint, source=source) from error
    return spec, {name: weights[published] for published, name in names.items()}, tuple(name for name in plain if name not in names)


def _published_files(path: Path) -> tuple[Path, ...]:
    """Return the files of a kind that was published as several, where `path` is a folder that holds them; else those of its weights."""
    several = [spec.files for spec in REGISTRY.values() if spec.files]
    for names in several:
        if all((path / name).is_file() for name in names):
            return tuple(path / name for name in names)
    parts = sorted(file for file in path.iterdir() if file.suffix in _ENDINGS) if path.is_dir() and find_weights(path) is None else []
    return tuple(parts) if len(parts) in map(len, several) else weight_files(path)


def _read_files(files: Sequence[Path]) -> dict[str, Tensor]:
    if len(files) == 1 or is_index(files[0]):
        return read_weights(files[0])
    return {f"{file.stem}.{name}": tensor for file in files for name, tensor in read_checkpoint(file).items()}


def _source_sha256(files: Sequence[Path]) -> str:
    """Hash a file, or the hashes of several in the order of their spec."""
    hashes = [sha256(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _infer(spec: ModelSpec, shapes: Shapes, settings: Mapping[str, Any], *, source: Path) -> ConfigGuess:
    assert spec.infer_config is not None, "a spec with a key pattern infers"
    try:
        return spec.infer_config(shapes, settings)
    except CheckpointIncomplete as error:
        raise CheckpointIncomplete(f"looks like {spec.title}, but {error.detail}", hint=error.hint, source=source) from error


def _check_names(spec: ModelSpec, shapes: Shapes, expected: Shapes, *, source: Path) -> None:
    missing = [name for name in expected if name not in shapes]
    left_over = [name for name in shapes if name not in expected]
    mismatched = [
        f"{name} is {shapes[name]}, expected {shape}" for name, shape in expected.items() if name in shapes and shapes[name] != shape
    ]
    facts = []
    if missing:
        facts.append(f"missing {len(missing)}: {summarize_names(missing, near=left_over)}")
    if left_over:
        facts.append(f"left over {len(left_over)}: {summarize_names(left_over, near=missing)}")
    if mismatched:
        facts.append(f"of another shape {len(mismatched)}: {summarize_names(mismatched)}")
    if facts:
        raise CheckpointIncomplete(
            f"looks like {spec.title}, but of its tensors are {'; '.join(facts)}",
            hint="Give an unchanged state dict, and --config where sizes are not the published ones.",
            source=source,
        )


def _check_numbers(tensors: Mapping[str, Tensor], *, source: Path) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise CheckpointDamaged(f"{name} holds {tensor.dtype}, not weights", hint="Give an unquantised state dict.", source=source)
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointDamaged(f"{name} holds NaN or infinity", hint="Train again from a sound checkpoint.", source=source)


def _check_tokenizer(tokenizer: Tokenizer | None, spec: ModelSpec, config: Any) -> None:
    if tokenizer is None:
        return
    if spec.text_rules is None or spec.is_without_text(config):
        raise InputError("this model reads no text", hint="Leave --tokenizer out.")
    entries = spec.text_rules.vocab_size(config)
    if tokenizer.vocab_size > entries:
        raise InputError(
            f"the tokenizer knows {tokenizer.vocab_size:,} entries, the model {entries:,}", hint="Give the model's own tokenizer."
        )
