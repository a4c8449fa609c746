"""Describe one kind of model: how it is recognized, measured, built, prompted and preprocessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from thoracle.ct.preprocess import Preprocessing
from thoracle.models.common.shapes import Shapes, module_shapes
from thoracle.models.encoder import Capability

#: A file cannot say which it is; its user can.
CT_RATE_LICENCE: Final = (
    "CC BY-NC-SA 4.0 (non-commercial use only) if this is one of the files that the authors of CT-CLIP and CT-CHAT published;"
    " otherwise what the author of the file says"
)


@dataclass(frozen=True, kw_only=True)
class ConfigGuess:
    """Hold what a published file's shapes say.

    Attributes:
        config: of the kind.
        preprocess: of its volumes; None for a model that takes none.
        assumptions: a sentence for each setting that shapes do not tell.
    """

    config: Any
    preprocess: Preprocessing | None
    assumptions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TextRules:
    """Describe the tokenizer that a kind needs.

    Attributes:
        tokenizer: its name in the catalogue.
        tokenizer_files: files and repository, in words.
        vocab_size: entries that the model has, from its configuration.
        normalize: what its authors make of a text before it is split into tokens.
    """

    tokenizer: str
    tokenizer_files: str
    vocab_size: Callable[[Any], int]
    normalize: Callable[[str], str] = str


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Describe a kind of model; `thoracle.models.registry` holds one of each.

    Attributes:
        kind: written in config.json.
        name: short, as hints list it.
        title: in one phrase, for people.
        licence: of published weights, in words.
        citations: papers that whoever uses such a model must cite.
        read_config: makes the configuration from plain types; raises InputError.
        build: makes the module, with random weights; its state dict has the published names.
        modules: exact classes of what `build` returns.
        capabilities: of a configuration; of None, the most that any configuration of the kind has.
        labels: names of its logits or of what its prompts ask for, from the configuration.
        prompts: zero-shot templates, present and not present; empty for a kind that is not prompted.
        text_rules: None for a kind that reads no text.
        key_pattern: matches a tensor name that only this kind's published file has; None for a kind that is not imported.
        select_names: gives the module's name of each published tensor that it needs, with those of its texts or without, and raises
            CheckpointIncomplete; None where they are alike and all are needed.
        files: names of the published files where they are several; their tensors are named `STEM.NAME`.
        infer_config: makes a guess from shapes and the user's settings; raises CheckpointIncomplete or InputError.
    """

    kind: str
    name: str
    title: str
    licence: str
    read_config: Callable[[Mapping[str, Any]], Any]
    build: Callable[[Any], nn.Module]
    modules: tuple[type[nn.Module], ...]
    capabilities: Callable[[Any], frozenset[Capability]]
    labels: Callable[[Any], tuple[str, ...]]
    citations: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    text_rules: TextRules | None = None
    key_pattern: re.Pattern[str] | None = None
    select_names: Callable[[Collection[str], bool], Mapping[str, str]] | None = None
    files: tuple[str, ...] = ()
    infer_config: Callable[[Shapes, Mapping[str, Any]], ConfigGuess] | None = None

    def is_without_text(self, config: Any) -> bool:
        """Tell whether such a model reads no text, where others of its kind do, which were imported with a tokenizer."""
        return Capability.TEXT in self.capabilities(None) - self.capabilities(config)

    def weight_shapes(self, config: Any) -> dict[str, tuple[int, ...]]:
        """Return names and shapes of every tensor of such a model, as its published files have them; allocates no weights."""
        return module_shapes(self.build, config)
