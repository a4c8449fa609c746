"""A new projector between an encoder and a language model; what its rows of findings begin with."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from thoracle.errors import InputError
from thoracle.models.chat.language_model import GroundTruthFindingTokens, LanguageModel
from thoracle.models.chat.scan_tokens import ScanTokens
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import FindingTokens, Projector
from thoracle.training.chat.ridge_probe import fit_ridge_probe
from thoracle.training.chat.scan_features import ScanFeatures
from thoracle.training.chat.task import NewProjectorConfig
from thoracle.types import ABNORMALITIES


def projector_sizes(config: NewProjectorConfig, tokens: ScanTokens, *, hidden: int) -> ProjectorConfig:
    """Take what a configuration leaves open from the encoder and the language model.

    Args:
        config: of a new projector.
        tokens: the encoder's.
        hidden: width of the language model's embeddings.

    Raises:
        InputError: a size that is not theirs; names its setting.
    """
    sizes = {"num_positions": prod(tokens.grid), "dim_context": tokens.width, "hidden_size": hidden}
    words = {
        "num_positions": f"a scan has {sizes['num_positions']} tokens",
        "dim_context": f"a scan's tokens are {tokens.width} wide",
        "hidden_size": f"the language model's embeddings are {hidden} wide",
    }
    for name, size in sizes.items():
        value = getattr(config, name)
        if value not in (None, size) and not (value == 0 and name == "num_positions"):
            hint = f"Give that, or null{', or 0 for none' if name == 'num_positions' else ''}."
            raise InputError(f"projector.{name} is {value}, {words[name]}", hint=hint, source="config")
    if config.num_findings not in (0, len(ABNORMALITIES)):
        detail = f"projector.num_findings is {config.num_findings}, there are {len(ABNORMALITIES)}"
        raise InputError(detail, hint="Give that, or 0.", source="config")
    return config.complete(**sizes)


def new_projector(
    config: NewProjectorConfig, scans: ScanFeatures, language: LanguageModel, *, fitted_to: Mapping[str, Tensor]
) -> Projector:
    """Initialize at random, but for rows of findings, which are fitted to what is told and speak in the language model's own words.

    Args:
        config: what it leaves open is taken from the encoder and the language model.
        scans: that it will see.
        language: that it speaks to.
        fitted_to: what is told of the scans' findings, (K, A), by name.

    Raises:
        InputError: as `projector_sizes`.
    """
    projector = Projector(projector_sizes(config, scans.tokens, hidden=language.hidden))
    if projector.findings is not None:
        _begin(projector.findings, scans, language, fitted_to)
    return projector


@torch.no_grad()
def _begin(rows: FindingTokens, scans: ScanFeatures, language: LanguageModel, fitted: Mapping[str, Tensor]) -> None:
    weight, bias = fit_ridge_probe(
        torch.stack([scans.compressed(name) for name in fitted]), scans.tokens.expand, torch.stack([*fitted.values()]).flatten(1)
    )
    rows.weight.copy_(weight)
    rows.bias.copy_(bias)
    name_KH, said_SH = GroundTruthFindingTokens(language, ABNORMALITIES).words()
    rows.name.copy_(name_KH)
    rows.said.copy_(said_SH)
