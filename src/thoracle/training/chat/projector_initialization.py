"""A new projector between an encoder and a language model; what its rows of findings begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from thoracle.errors import InputError
from thoracle.models.chat.language_model import GroundTruthFindingTokens, LanguageModel
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import FindingTokens, Projector
from thoracle.training.chat.ridge_probe import fit_ridge_probe
from thoracle.training.chat.scan_features import ScanFeatures
from thoracle.types import ABNORMALITIES


def new_projector(config: ProjectorConfig, scans: ScanFeatures, language: LanguageModel, *, fitted_to: Mapping[str, Tensor]) -> Projector:
    """Initialize at random, but for rows of findings, which are fitted to what is told and speak in the language model's own words.

    Args:
        config: its widths are replaced by the encoder's and the language model's.
        scans: that it will see.
        language: that it speaks to.
        fitted_to: what is told of the scans' findings, (K, A), by name.

    Raises:
        InputError: sizes that are not the encoder's.
    """
    T, h, w = scans.tokens.grid
    if config.num_positions not in (0, T * h * w):
        raise InputError(
            f"projector.num_positions is {config.num_positions}, a scan has {T * h * w} tokens", hint="Give that, or 0.", source="config"
        )
    if config.num_findings not in (0, len(ABNORMALITIES)):
        detail = f"projector.num_findings is {config.num_findings}, there are {len(ABNORMALITIES)}"
        raise InputError(detail, hint="Give that, or 0.", source="config")
    projector = Projector(replace(config, dim_context=scans.tokens.width, hidden_size=language.hidden))
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
