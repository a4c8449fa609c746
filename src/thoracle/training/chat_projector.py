"""A new projector between an encoder and a language model; what its rows of findings begin with; trains nothing by gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from thoracle.errors import InputError
from thoracle.models.chat import FindingRows, Projector
from thoracle.models.chat_language import Language
from thoracle.models.config import ProjectorConfig
from thoracle.training.chat_fit import fit_findings
from thoracle.training.chat_scans import Scans
from thoracle.types import ABNORMALITIES


def new_projector(config: ProjectorConfig, scans: Scans, language: Language, *, fitted_to: Sequence[str]) -> Projector:
    """Random weights, but rows of findings, which are fitted to labels and speak in the language model's own words.

    Args:
        config: its widths are replaced by the encoder's and the language model's.
        scans: that it will see.
        language: that it speaks to.
        fitted_to: names of the scans whose labels are fitted.

    Raises:
        InputError: sizes that are not the encoder's, or labels that cannot be fitted.
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
def _begin(rows: FindingRows, scans: Scans, language: Language, names: Sequence[str]) -> None:
    labels_SK = torch.tensor([[float("nan") if label is None else float(label) for label in scans.labels[name]] for name in names])
    weight, bias = fit_findings(torch.stack([scans.kept(name) for name in names]), scans.tokens.read, labels_SK)
    rows.weight.copy_(weight)
    rows.bias.copy_(bias)
    rows.name.copy_(torch.stack([_read_as(language, name.lower()) for name in ABNORMALITIES]))
    rows.none.copy_(_read_as(language, "-"))


def _read_as(language: Language, text: str) -> Tensor:
    """What the language model reads where these words stand, (H,)."""
    ids = language.tokenizer(f" {text}", add_special_tokens=False)["input_ids"]
    words_NH: Tensor = language.model.get_input_embeddings()(torch.tensor(ids))
    return words_NH.mean(dim=0)
