"""Fit a model that reads findings place by place to the labels of a cohort: `thoracle train regions`.

Training is on split train; split dev is scored, and nothing else of the cohort is read.

Shapes: S scans, K findings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.cohort.samples.dataset import CohortDataset
from thoracle.cohort.sources import Split
from thoracle.config_reader import NonNegativeFloat, PositiveInt, check_fields
from thoracle.errors import CapabilityMissing, InputError
from thoracle.metrics.classification import auroc
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict, save_model
from thoracle.models.citations import derived_licence
from thoracle.models.common.prompts import format_prompts
from thoracle.models.encoder import Capability, VolumeEncoder, VolumeTextEncoder
from thoracle.models.regions.config import RegionsConfig
from thoracle.models.regions.evidence import smooth
from thoracle.models.regions.model import RegionModel, place, region_features
from thoracle.models.regions.spec import KIND
from thoracle.models.registry import models_with
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.distributed import World
from thoracle.training.engine.start_model import open_start_model
from thoracle.training.regions.features import (
    PlacedScans,
    component_rows,
    entry_boxes,
    rank_rows,
    reader_configs,
    region_batches,
    scored_rows,
)
from thoracle.training.regions.moments import PlaceMoments, score_logits
from thoracle.training.regions.prompts import encode_prompts, prompt_tokenizer
from thoracle.types import ABNORMALITIES, FloatArray

#: Of the lungs' box, on each side of it: what lies below, before and behind the lungs is in the frame.
MARGIN: Final = 0.05
#: Principal components of a cell; at CT-CLIP's size covariances of all 512 numbers would take 14.5 GB.
COMPONENTS: Final = 64
#: Of tokens and of cells: the fraction of a place's own covariance.
_LOCAL_WEIGHTS: Final = (0.95, 0.98)
#: For each finding; with fewer, effects of several findings cannot be told apart.
_FEWEST_SCANS: Final = 2
_NO_BOX: Final = "Prepare the cohort anew with this Thoracle, which keeps where the lungs are: `thoracle prepare` with a new --out."
#: Told what is done, how many of how many.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class RegionsSettings:
    """Configure a fit.

    Attributes:
        components: the most numbers of a cell that are used, as principal components where it has more.
        margin: of the frame around the lungs' box, on each side, of its extent.
        average_prompts: make a probability the mean of the regions' and of that of the encoder's prompts.
    """

    components: PositiveInt = COMPONENTS
    margin: NonNegativeFloat = MARGIN
    average_prompts: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


_DEFAULTS: Final = RegionsSettings()


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionsFit:
    """Hold a fitted model.

    Attributes:
        folder: of the model.
        notes: sentences on what was left out.
        entries: of split dev that were scored.
        probabilities_SK: of these, not calibrated.
        truth_SK: 0 or 1.
    """

    folder: ModelFolder
    notes: tuple[str, ...]
    entries: tuple[CohortEntry, ...]
    probabilities_SK: FloatArray
    truth_SK: FloatArray

    @property
    def aurocs(self) -> dict[str, float]:
        """Return the AUROC of each finding on split dev; NaN where it has one answer alone."""
        if not self.entries:
            return {}
        return dict(zip(self.folder.labels, auroc(self.probabilities_SK, self.truth_SK).tolist(), strict=True))


def fit_regions(
    model: str,
    cohort: Cohort,
    out: Path,
    *,
    settings: RegionsSettings = _DEFAULTS,
    world: World,
    progress: Progress = lambda what, count, total: None,
) -> RegionsFit:
    """Fit a regression at each place of both grids, score split dev, and write the model's folder.

    Args:
        model: folder of the encoder.
        cohort: with labels and boxes of lungs.
        out: the new folder.
        settings: of the fit.
        world: the ranks that fit it, each of which calls this; a rank reads its part of the scans, and the first one writes.
        progress: told of scans that are read.

    Raises:
        CapabilityMissing: the model takes no volume, has no grid of tokens, or no prompts to average.
        TokenizerMissing: prompts are averaged, and its tokenizer is not there.
        InputError: too few scans with labels and lungs, no finding that some have and some lack, or another preprocessing.
    """
    start = open_start_model(model, cohort.preprocess)
    if Capability.VOLUMES not in start.capabilities or start.kind == KIND:
        hint = f"Give a {models_with(Capability.LATENTS, Capability.CODES)} model."
        raise CapabilityMissing(f"is {start.spec.title}, which gives no tokens of volumes", hint=hint, source=start.path)
    tokenizer = prompt_tokenizer(start) if settings.average_prompts else None
    volumes, notes = _usable(cohort, "train")
    findings, more = _varying(volumes)
    labels_SK = _labels(volumes)[:, findings]
    names = tuple(ABNORMALITIES[k] for k in findings)
    if len(volumes) < _FEWEST_SCANS * len(names):
        raise InputError(
            f"{len(volumes)} scans of split train are too few to fit {len(names)} findings to",
            hint=f"Give {_FEWEST_SCANS * len(names)} at least; some hundred are needed for maps that are worth it.",
            source=cohort.folder,
        )
    fitting = _Fitting(start=start, tokenizer=tokenizer, settings=settings, world=world, progress=progress)
    fitted = fitting.fit(volumes, labels_SK, names)
    entries, probabilities_SK, truth_SK = fitting.score(fitted, cohort, findings)
    notes = (*notes, *more)
    aurocs = auroc(probabilities_SK, truth_SK).tolist() if entries else []
    scores = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, aurocs, strict=False))
    about = "patches before attention" if fitted.config.before_attention else "tokens after attention, since its encoder gives no others"
    write = partial(
        save_model,
        out,
        kind=KIND,
        config=fitted.config,
        preprocess=start.preprocess,
        labels=names,
        tensors=fitted.state_dict(),
        tokenizer=None,
        licence=derived_licence(start.licence, data="the data it was fitted to"),
        citations=start.citations,
        trained=start.trained,
        caution=start.disclaimer,
        assumptions=(
            f"Fitted to {len(volumes):,} scans of split train, on {about}, and to labels of scans alone: no mask was read.",
            "It says where a scan differs as scans with a finding do, not what another classifier of them used.",
            *([f"A probability is the mean of the regions' and of its encoder's at {' / '.join(start.prompts)}"] if tokenizer else []),
            f"AUROC on {len(entries):,} scans of split dev: {scores}." if entries else "There was no split dev to score it on.",
            *notes,
        ),
    )
    folder = world.on_first(write)
    return RegionsFit(folder=folder, notes=notes, entries=entries, probabilities_SK=probabilities_SK, truth_SK=truth_SK)


@dataclass(frozen=True, kw_only=True)
class _Fitting:
    """One fit: the model it begins with, the tokenizer of prompts that are averaged, and how it is done."""

    start: ModelFolder
    tokenizer: Tokenizer | None
    settings: RegionsSettings
    world: World
    progress: Progress

    @property
    def before_attention(self) -> bool:
        return Capability.SALIENCY in self.start.capabilities

    def fit(self, volumes: CohortDataset, labels_SK: Tensor, names: tuple[str, ...]) -> RegionModel:
        """Read all volumes once, after some for principal components; then solve, and see how high scans with a finding score."""
        encoder, scans, device = self._load_encoder(), len(volumes), self.world.device
        rank_scans = rank_rows(scans, self.world)
        encode = partial(region_features, cast(VolumeEncoder, encoder), before_attention=self.before_attention)
        components = region_batches(encode, volumes, component_rows(scans, self.world), device=device)
        configs, bases = reader_configs(components, components=self.settings.components, world=self.world)
        config = RegionsConfig(
            labels=names,
            margin=self.settings.margin,
            tokens=configs[0],
            cells=configs[1] if len(configs) > 1 else None,
            before_attention=self.before_attention,
            average_prompts=self.tokenizer is not None,
            encoder_kind=self.start.kind,
            encoder=self.start.config,
        )
        model = RegionModel(config, encoder).to(device).eval()
        if self.tokenizer is not None:
            prompts = format_prompts(names, self.start.prompts)
            text_encoder = cast(VolumeTextEncoder, encoder)
            model.prompt_latents_2KL.copy_(encode_prompts(text_encoder, self.tokenizer, prompts, device=device))
        sums = [PlaceMoments(labels_SK, places=c.places, numbers=c.components) for c in configs]
        for reader, (centre_D, basis_DP) in zip(model.readers, bases, strict=True):
            reader.centre_D.copy_(centre_D)
            reader.basis_DP.copy_(basis_DP)
        with tempfile.TemporaryDirectory(prefix="thoracle-regions-") as folder, torch.inference_mode():
            scored = scored_rows(labels_SK)
            placed = PlacedScans(Path(folder) / "tokens.f16", config.tokens, scans=sum(row in rank_scans for row in scored))
            for rows, features in region_batches(encode, volumes, rank_scans, device=device):
                for reader, moments, cells_BTHWD in zip(model.readers, sums, features.grids, strict=True):
                    places_BNP = place(reader, cells_BTHWD, entry_boxes(volumes, rows), margin=config.margin)
                    moments.add(slice(rows[0], rows[-1] + 1), places_BNP)
                    if reader is model.tokens:
                        placed.add(places_BNP[[row in scored for row in rows]])
                self.progress("scans", rows[-1] + 1 - rank_scans.start, len(rank_scans))
            for reader, moments, local_weight in zip(model.readers, sums, _LOCAL_WEIGHTS, strict=False):
                moments.reduce(self.world)
                discriminant = moments.solve(local_weight=local_weight)
                reader.mean_NP.copy_(discriminant.mean_NP)
                reader.weights_KNP.copy_(discriminant.weights_KNP)
                reader.prior_KN.copy_(smooth(discriminant.prior_KN, reader.config.frame, sigma=reader.config.sigma))
            scores = [torch.zeros(0, len(names)), *(model.strongest(places_BNP.to(device)).cpu() for places_BNP in placed.batches())]
            scale_K, shift_K = score_logits(torch.cat(self.world.all_gather_object(torch.cat(scores))), labels_SK[sorted(scored)])
        model.scale_K.copy_(scale_K)
        model.shift_K.copy_(shift_K)
        return model

    def score(self, model: RegionModel, cohort: Cohort, findings: list[int]) -> tuple[tuple[CohortEntry, ...], FloatArray, FloatArray]:
        """Return the entries of split dev, and probabilities and truth of each; nothing where it has no usable scan."""
        if not any(entry.split == "dev" and None not in entry.labels for entry in cohort.entries):
            return (), np.zeros((0, len(findings))), np.zeros((0, len(findings)))
        volumes, _ = _usable(cohort, "dev")
        logits, rank_scans = [torch.zeros(0, len(findings))], rank_rows(len(volumes), self.world)
        for rows, features in region_batches(model.features, volumes, rank_scans, device=self.world.device):
            with torch.inference_mode():
                logits.append(model.finding_logits(features, entry_boxes(volumes, rows)).cpu())
            self.progress("dev", rows[-1] + 1 - rank_scans.start, len(rank_scans))
        logits_SK = torch.cat(self.world.all_gather_object(torch.cat(logits)))
        return volumes.entries, logits_SK.sigmoid().double().numpy(), _labels(volumes)[:, findings].double().numpy()

    def _load_encoder(self) -> nn.Module:
        encoder = self.start.spec.build(self.start.config)
        encoder.load_state_dict(load_state_dict(self.start))
        return encoder.eval().requires_grad_(False).to(self.world.device)


def _usable(cohort: Cohort, split: Split) -> tuple[CohortDataset, tuple[str, ...]]:
    """Volumes of a split with all labels and the box of their lungs, and how many others were left out."""
    entries = [entry for entry in cohort.entries if entry.split == split and None not in entry.labels]
    boxed = [entry for entry in entries if entry.box is not None and entry.box.encloses == "lungs"]
    if entries and not boxed:
        raise InputError(f"no volume of split {split} says where its lungs are", hint=_NO_BOX, source=cohort.folder)
    dataset = CohortDataset(replace(cohort, entries=tuple(boxed)), split=split, needs=["labels"])
    left_out, cut = len(entries) - len(boxed), sum(bool(entry.box and entry.box.cut) for entry in boxed)
    notes = [
        *([f"{left_out:,} of {len(entries):,} scans of split {split} were left out: no lungs were found in them."] if left_out else []),
        *([f"In {cut:,} scans of split {split} the lungs are cut at a face of the scan: their frame is that of a part."] if cut else []),
    ]
    return dataset, tuple(notes)


def _varying(volumes: CohortDataset) -> tuple[list[int], tuple[str, ...]]:
    """Columns of findings that some scans have and some lack, and a sentence on the others."""
    counts = _labels(volumes).sum(dim=0).tolist()
    findings = [k for k, count in enumerate(counts) if 0 < count < len(volumes)]
    same = [name for k, name in enumerate(ABNORMALITIES) if k not in findings]
    if not findings:
        raise InputError(
            "no finding is present in some scans of split train and absent in others",
            hint="Give more scans, or others.",
            source=volumes.cohort.folder,
        )
    note = f"Left out, since all scans of split train have it or none has: {', '.join(same)}."
    return findings, (note,) if same else ()


def _labels(volumes: CohortDataset) -> Tensor:
    return torch.tensor([[float(cast(int, label)) for label in entry.labels] for entry in volumes.entries])
