"""A prepared cohort through a model into an index, which goes on where it was.

What is acknowledged is on the disk: records are kept in groups, a group every few seconds, and each group is one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.cohort.pseudonyms import SiteKey
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.cohort.sources import Split, VolumeSource
from thoracle.errors import CacheDamaged, IndexMismatch, TokenizerMissing
from thoracle.execution.prefetch import prefetch
from thoracle.inference.model import Model
from thoracle.inference.requested_findings import Finding
from thoracle.inference.text.text_query import text_query_latents
from thoracle.models.common.zero_shot import zero_shot_probabilities
from thoracle.models.encoder import Capability
from thoracle.search.backend import IndexBackend
from thoracle.search.record import IndexedVolume, LatentArray, Record
from thoracle.search.slices import contact_strip
from thoracle.types import ABNORMALITIES, ModelInput

_GROUP: Final = 256
_SECONDS: Final = 2.0
_EMPTY: Final = "Not given."
_WORDS: Final = ("", "Left", "Right", "Severe")


@dataclass(frozen=True, kw_only=True)
class IndexProgress:
    """Report how many volumes are done in this run, to do in it, and were done before; `failed` names one that could not be read."""

    completed: int
    total: int
    before: int
    failed: str = ""


def index_settings(model: Model, cohort: Cohort, key: SiteKey | None) -> dict[str, Any]:
    """Return the settings that an index of this cohort depends on.

    Raises:
        IndexMismatch: the cohort was prepared for another model.
    """
    if cohort.preprocess != model.preprocess:
        raise IndexMismatch(
            "was prepared with another preprocessing than the model's",
            hint="Prepare it again: thoracle prepare --preprocess MODEL.",
            source=cohort.folder,
        )
    return latent_settings(model, key=key.fingerprint if key is not None else cohort.site_key_fingerprint)


def latent_settings(model: Model, *, key: str | None) -> dict[str, Any]:
    """Return the settings that any index of a model's latents depends on; `key` is the fingerprint of the site key, None without one."""
    return {**model.settings(), "dim_latent": model.dim_latent, "key": key}


def index_cohort(
    index: IndexBackend,
    cohort: Cohort,
    model: Model,
    *,
    splits: Collection[Split] = (),
    key: SiteKey | None = None,
    thumbnails: bool = True,
    batch_size: int = 1,
    progress: Callable[[IndexProgress], None] = lambda _: None,
) -> int:
    """Add what the index does not have, and what has changed since.

    Args:
        index: opened for writing, of `index_settings` these.
        cohort: prepared.
        model: encodes each volume.
        splits: only these; all where empty.
        key: puts pseudonyms in place of names.
        thumbnails: keep a few slices of each.
        batch_size: volumes that are encoded at once.
        progress: told of each volume, once it is on the disk.

    Returns:
        How many volumes could not be read.
    """
    chosen = [entry for entry in cohort.entries if not splits or entry.split in splits]
    todo = [(entry, record) for entry in chosen for record in [to_record(entry, key)] if not _is_there(index, record)]
    completed = failed = 0
    group: list[IndexedVolume] = []
    last = time.monotonic()
    volumes = prefetch(lambda pair: _read(cohort.folder / pair[0].cache), todo, ahead=batch_size)
    while batch := list(islice(volumes, batch_size)):
        for (_, record), volume in batch:
            if isinstance(volume, CacheDamaged):
                failed += 1
                completed += 1
                progress(IndexProgress(completed=completed, total=len(todo), before=len(chosen) - len(todo), failed=record.volume))
        sound = [(record, volume) for (_, record), volume in batch if not isinstance(volume, CacheDamaged)]
        for (record, volume), latent_L in zip(sound, _latents(model, [volume for _, volume in sound]), strict=True):
            strip = contact_strip(volume, cohort.preprocess) if thumbnails else b""
            group.append(IndexedVolume(record=record, latent_L=latent_L, thumbnail=strip))
        if len(group) >= _GROUP or (group and time.monotonic() - last > _SECONDS):
            index.add(group)
            completed, group, last = completed + len(group), [], time.monotonic()
            progress(IndexProgress(completed=completed, total=len(todo), before=len(chosen) - len(todo)))
    if group:
        index.add(group)
        progress(IndexProgress(completed=completed + len(group), total=len(todo), before=len(chosen) - len(todo)))
    return failed


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
    for start in range(0, len(numbers), _GROUP):
        part = numbers[start : start + _GROUP]
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


def encode_queries(model: Model, reports: Sequence[str]) -> list[LatentArray]:
    """Encode texts as they are looked for: the abnormalities with a few words beside them, and whole reports.

    Returns:
        (T, L) of each kind; nothing where the model reads no text.
    """
    if Capability.TEXT not in model.capabilities:
        return []
    texts = [f"{word} {name}".strip() for word in _WORDS for name in ABNORMALITIES]
    try:
        queries = [text_query_latents(model, texts), *([model.encode_text(reports)] if reports else [])]
    except TokenizerMissing:
        return []
    return [np.ascontiguousarray(latents.cpu().numpy()) for latents in queries]


def to_record(entry: CohortEntry, key: SiteKey | None) -> Record:
    """Build a volume's record, under pseudonyms where there is a key."""
    source = VolumeSource(
        volume=entry.volume,
        scan=entry.scan,
        patient=entry.patient,
        path=Path(),
        accession=entry.accession or entry.scan,
        facts=entry.facts,
    )
    if key is not None:
        source = key.pseudonymize(source)
    return Record(
        volume=source.volume,
        scan=source.scan,
        accession=source.accession,
        patient=source.patient,
        split=entry.split,
        report=Report(findings=_said(entry.report.findings), impression=_said(entry.report.impression)),
        labels=entry.labels,
        facts=source.facts,
        source_sha256=entry.source_sha256,
        voxels_sha256=entry.cache_sha256,
    )


def _said(text: str) -> str:
    stripped = text.replace("\0", " ").strip()
    return "" if stripped == _EMPTY else stripped


def _is_there(index: IndexBackend, record: Record) -> bool:
    indexed = index.records(index.ids_where(volume=record.volume)).values()
    return record in [replace(other, scores=()) for other in indexed]  # a cohort has no scores


def _latents(model: Model, volumes: Sequence[ModelInput]) -> list[LatentArray]:
    if not volumes:
        return []
    latents_BL: LatentArray = cast(Tensor, model.encode_batch(volumes).latent_BL).float().cpu().numpy()
    return list(np.ascontiguousarray(latents_BL))


def _read(path: Path) -> ModelInput | CacheDamaged:
    """Return a cached volume, or why it is none."""
    try:
        return read_volume(path)
    except CacheDamaged as error:
        return error


def _scored(record: Record, probabilities: dict[str, float]) -> Record:
    """A record with probabilities as tables have them, to six digits."""
    rounded = {name: float(f"{probability:.6g}") for name, probability in probabilities.items()}
    return replace(record, scores=tuple(sorted({**dict(record.scores), **rounded}.items())))
