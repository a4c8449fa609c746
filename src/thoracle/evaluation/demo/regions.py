"""Show what the demo's model of regions detects, and where, beside where findings usually lie, as parts of a page.

Shapes: N scans, K labels; Z X Y voxels of the model's input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from thoracle.cohort.manifest import Cohort
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.ct.preprocess import to_hounsfield
from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.errors import MetadataError, OutsideIntendedUse
from thoracle.evaluation.demo.page import Example, bounds
from thoracle.evaluation.detection.compare import compare
from thoracle.evaluation.detection.results_json import EvaluationRun
from thoracle.evaluation.detection.summary import Scores
from thoracle.evaluation.explanation.atlas import BODY_ATLAS, cached_atlases, training_entries
from thoracle.evaluation.explanation.evaluate import map_grid
from thoracle.evaluation.explanation.masks import find_masks, read_mask
from thoracle.evaluation.html.page import figure, heading, paragraph, side_by_side, table
from thoracle.evaluation.html.plots import heat_columns
from thoracle.files.json_file import read_json_object
from thoracle.inference.model import Model
from thoracle.inference.prepare import PreparedVolume
from thoracle.inference.regions import region_maps
from thoracle.metrics.bootstrap import Comparison, Interval
from thoracle.types import ABNORMALITIES, FloatArray

_BUDGET: Final = 1 << 26


@dataclass(frozen=True, kw_only=True)
class RegionQuality:
    """Hold how well regions are read.

    Attributes:
        difference: in macro AUROC, by region minus prompts, of the same scans.
        verdicts: sentences on whether maps are better than where findings usually lie.
        scores: by metric and map, the mean over abnormalities.
        measured_on: whose maps these are, in words.
    """

    difference: Comparison
    verdicts: Sequence[str]
    scores: Mapping[str, Mapping[str, Interval]]
    measured_on: str


@dataclass(frozen=True, kw_only=True)
class MapPicture:
    """Hold a finding and the PNG of its mask, its map and the atlas over one slice of a held-out scan."""

    label: str
    picture: bytes


def averaged(prompts: Scores, regions: Scores) -> Scores:
    """Average the probabilities of both over the scans and labels of `regions`."""
    return replace(regions, probabilities_NK=(_like(prompts, regions).probabilities_NK + regions.probabilities_NK) / 2)


def read_quality(path: Path, *, prompts: Scores, regions: Scores) -> RegionQuality:
    """Read the JSON of `thoracle evaluate explanation`, and compare detection.

    Args:
        path: of the JSON.
        prompts, regions: scores of held-out scans, those of `regions` among those of `prompts`.

    Raises:
        MetadataError: it is something else.
    """
    first, second = (
        EvaluationRun(name=name, scores=scores, thresholds_NK=None)
        for name, scores in (("regions", regions), ("prompts", _like(prompts, regions)))
    )
    difference = compare(first, second).average["macro_auroc"]
    hint = "Give what `thoracle evaluate explanation` wrote."
    values = read_json_object(path, parse=_parse, refusal=MetadataError, detail="is no evaluation of maps", hint=hint, budget=_BUDGET)
    return RegionQuality(difference=difference, **values)


def sentences(quality: RegionQuality) -> list[str]:
    """Write the differences as sentences."""
    by = quality.difference
    words = f"{by.value:+.3f} ({by.low:+.3f} to {by.high:+.3f})"
    return [f"Macro AUROC by region less that with tuned prompts: {words}. Maps on {quality.measured_on}:", *quality.verdicts]


def map_pictures(examples: Sequence[Example], model: Model, cohort: Cohort, *, phantoms: Path, atlases: Path) -> list[MapPicture]:
    """Draw for each example the slice that its mask fills most: mask, map and atlas in the body's frame, each in a scale of its own.

    Args:
        examples: held-out scans with a finding.
        model: reads by region.
        cohort: of these scans.
        phantoms: with their masks.
        atlases: the file that `cached_atlases` wrote.

    Raises:
        CacheDamaged: a cached volume is not what was written.
        ScanUnreadable: a mask is none.
    """
    entries = {entry.scan: entry for entry in reversed(cohort.entries)}
    shown = [(example, entries[example.scan]) for example in examples if example.label in model.folder.labels]
    if not shown:
        return []
    masks, preprocess, pictures = find_masks(phantoms), cohort.preprocess, []
    grid = map_grid(model, cohort, [entry for _, entry in shown], "regions")
    usual = cached_atlases(atlases, training_entries(cohort, masks), masks, preprocess=preprocess, grid=grid)
    for example, entry in shown:
        array, k = read_volume(cohort.folder / entry.cache), ABNORMALITIES.index(example.label)
        try:
            heat_THW = region_maps(
                model, PreparedVolume(array=array, provenance=None, warnings=(), box=entry.box), abnormalities=[example.label]
            )[0]
        except OutsideIntendedUse:
            continue  # no lungs
        mask_ZXY = (read_mask(masks[entry.volume], preprocess, foreground=entry.foreground).bits_ZXY >> k) & 1
        at = int(mask_ZXY.sum(axis=(1, 2)).argmax())
        heats = {"painted": mask_ZXY, "read": heat_THW, "where it usually lies": usual.maps(k, entry.box)[BODY_ATLAS]}
        picture = heat_columns(
            to_hounsfield(view_as(array, preprocess.axes, ZXY)[at], preprocess),
            {name: (_enlarged(heat, mask_ZXY.shape)[at], float(heat.max())) for name, heat in heats.items()},
        )
        pictures.append(MapPicture(label=example.label, picture=picture))
    return pictures


def section(quality: RegionQuality, pictures: Sequence[MapPicture]) -> list[str]:
    """Build the parts of the demo's page."""
    maps = list(next(iter(quality.scores.values())))
    rows = [[name, *(bounds(of[name]) for of in quality.scores.values())] for name in maps]
    return [
        heading("Read by region"),
        *map(paragraph, sentences(quality)),
        table(["mean over abnormalities", *quality.scores], rows),
        paragraph(
            "An atlas is the mean of the training scans' masks, on the map's grid or in the box of the lungs; it never sees the scan."
        ),
        paragraph("One held-out scan for each abnormality, the slice in which most of it was painted; each colour scale is its own:"),
        side_by_side([figure(shown.picture, caption=shown.label, width=430) for shown in pictures]),
    ]


def _like(scores: Scores, like: Scores) -> Scores:
    """Select the scans and labels of `like`, in its order."""
    rows, columns = [scores.names.index(name) for name in like.names], [scores.labels.index(name) for name in like.labels]
    return replace(
        like,
        probabilities_NK=scores.probabilities_NK[np.ix_(rows, columns)],
        truth_NK=scores.truth_NK[np.ix_(rows, columns)],
    )


def _parse(values: Mapping[str, Any]) -> dict[str, Any]:
    overall = values["found"]["all abnormalities"]["scores"]
    return {
        "verdicts": [str(sentence) for sentence in values["verdicts"]],
        "scores": {metric: {name: Interval(**_known(of)) for name, of in maps.items()} for metric, maps in overall.items()},
        "measured_on": f"{int(values['volumes']):,} volumes of split {values['split']}",
    }


def _known(interval: Mapping[str, Any]) -> dict[str, float]:
    return {name: float("nan") if interval[name] is None else float(interval[name]) for name in ("value", "low", "high")}


def _enlarged(heat: Any, shape: Sequence[int]) -> FloatArray:
    """Repeat cells until the grid has a size."""
    for axis, size in enumerate(shape):
        heat = np.repeat(heat, size // heat.shape[axis], axis=axis)
    return np.asarray(heat, dtype=np.float64)
