"""Keep with each volume of an index how probable a model finds what somebody asked for, from the latent that is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch

from thoracle.inference.model import Model
from thoracle.inference.requested_findings import Finding
from thoracle.models.common.zero_shot import zero_shot_probabilities
from thoracle.search.backend import IndexBackend
from thoracle.search.record import IndexedVolume, Record

_AT_ONCE: Final = 256


def score_findings(index: IndexBackend, model: Model, findings: Sequence[Finding]) -> int:
    """Give every volume of an index its probabilities of findings, in place of those of the same names; no volume is encoded again.

    Args:
        index: opened for writing, of this model's latents.
        model: has text and a temperature.
        findings: by names or prompts.

    Returns:
        How many records were changed.

    Raises:
        As `Model.prompt_latents`.
    """
    prompts_2KL, scale, changed = model.prompt_latents(findings), model.logit_scale(), 0
    names, numbers = [finding.name for finding in findings], index.ids()
    for start in range(0, len(numbers), _AT_ONCE):
        part = numbers[start : start + _AT_ONCE]
        records, thumbnails, latents_NL = index.records(part), index.thumbnails(part), index.latents(part)
        latents = torch.tensor(latents_NL, device=prompts_2KL.device)
        rows = zero_shot_probabilities(prompts_2KL, latents, scale).tolist()
        additions = [
            IndexedVolume(record=record, latent_L=latent_L, thumbnail=thumbnails.get(number, b""))
            for number, latent_L, row in zip(sorted(records), latents_NL, rows, strict=True)
            for record in [_scored(records[number], dict(zip(names, row, strict=True)))]
            if record != records[number]
        ]
        if additions:
            index.add(additions)
        changed += len(additions)
    return changed


def _scored(record: Record, probabilities: dict[str, float]) -> Record:
    """A record with probabilities as tables have them, to six digits."""
    rounded = {name: float(f"{probability:.6g}") for name, probability in probabilities.items()}
    return replace(record, scores=tuple(sorted({**dict(record.scores), **rounded}.items())))
