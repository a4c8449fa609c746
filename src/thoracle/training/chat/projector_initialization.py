"""A new projector between an encoder and a language model; what its rows of findings begin with; trains nothing by gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from thoracle.errors import InputError
from thoracle.models.chat.language_model import Language, ToldFindings
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import FindingRows, Projector
from thoracle.training.chat.ridge_probe import fit_findings
from thoracle.training.chat.scan_features import Scans
from thoracle.types import ABNORMALITIES


def new_projector(config: ProjectorConfig, scans: Scans, language: Language, *, fitted_to: Mapping[str, Tensor]) -> Projector:
    """Random weights, but rows of findings, which are fitted to what is told and speak in the language model's own words.

    Args:
        config: its widths are replaced by the encoder's and the language model's.
        scans: that it will see.
        language: that it speaks to.
        fitted_to: what is told of the scans' findings, (K, A), by name.

    Raises:
        InputError: sizes that are not the encoder's.
    """
    T, h, w = scans.tokens.grid
    if config.places not in (0, T * h * w):
        raise InputError(f"projector.places is {config.places}, a scan has {T * h * w} tokens", cure="Give that, or 0.", source="config")
    if config.findings not in (0, len(ABNORMALITIES)):
        fact = f"projector.findings is {config.findings}, there are {len(ABNORMALITIES)}"
        raise InputError(fact, cure="Give that, or 0.", source="config")
    projector = Projector(replace(config, dim_context=scans.tokens.width, hidden=language.hidden))
    if projector.findings is not None:
        _begin(projector.findings, scans, language, fitted_to)
    return projector


@torch.no_grad()
def _begin(rows: FindingRows, scans: Scans, language: Language, told: Mapping[str, Tensor]) -> None:
    weight, bias = fit_findings(
        torch.stack([scans.kept(name) for name in told]), scans.tokens.read, torch.stack([*told.values()]).flatten(1)
    )
    rows.weight.copy_(weight)
    rows.bias.copy_(bias)
    name_KH, said_SH = ToldFindings(language, ABNORMALITIES).words()
    rows.name.copy_(name_KH)
    rows.said.copy_(said_SH)
