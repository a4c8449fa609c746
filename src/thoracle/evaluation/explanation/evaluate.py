"""Score a model's maps against masks, beside maps that do not look at the scan, into a table that a stopped run goes on with.

Shapes: N volumes, M maps (`sources`), K abnormalities, S `METRICS`; 2 places (side, lobe).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np

from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.cohort.vqa.attributes import LOBES
from thoracle.ct.recipes.orientation import ZXY, reorder
from thoracle.errors import InputError, OutsideIntendedUse
from thoracle.evaluation.explanation.atlas import BODY_ATLAS, COMMONEST_SLICE, GRID_ATLAS, Atlases
from thoracle.evaluation.explanation.baselines import lung_centre_baseline, random_score
from thoracle.evaluation.explanation.masks import read_mask, share_of_patches
from thoracle.evaluation.explanation.phantom_truth import Truth
from thoracle.evaluation.predict import entry_source, pending_entries
from thoracle.execution.prefetch import prefetch
from thoracle.files.atomic import sha256
from thoracle.inference.batch.result_table import ResultTable, RowSource
from thoracle.inference.explain import Method, Saliency, saliency
from thoracle.inference.localization.strongest_place import StrongestPlace, strongest_place
from thoracle.inference.model import Model
from thoracle.inference.prepare import PreparedVolume
from thoracle.metrics.localization import METRICS, localization_scores
from thoracle.types import ABNORMALITIES, FloatArray, ModelInput

ATLASES: Final = (GRID_ATLAS, BODY_ATLAS)
OTHER_SCAN: Final = "other scan's map"
LUNG_CENTRE: Final = "centre of lung"
RANDOM: Final = "random"
#: What a method is compared with.
BASELINES: Final = (*ATLASES, OTHER_SCAN, COMMONEST_SLICE, LUNG_CENTRE, RANDOM)
#: The mask itself on the grid: no map of patches scores higher.
CEILING: Final = "ceiling of the grid"
PLACES: Final = ("side", "lobe")
#: Scans whose maps are remembered, to be other scans' maps: a finding that one in a hundred scans has comes again within them.
_REMEMBERED: Final = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class ScanMaps:
    """Hold a method's maps of one scan (K, T, h, w), and the nearness of each patch to the middle of a lung (T, h, w)."""

    maps_KTHW: Saliency
    centre_THW: FloatArray


def sources(method: Method) -> tuple[str, ...]:
    """Name the maps that are scored, in the order of (M,)."""
    return (method, *BASELINES, CEILING)


def columns(method: Method) -> tuple[str, ...]:
    """Name the columns of the table that `measure` fills: (M, K, S), then (2, K, 2) of the places of the method and of the body's atlas."""
    scores = [f"{source}: {label}: {metric}" for source in sources(method) for label in ABNORMALITIES for metric in METRICS]
    correct = [f"{source}: {label}: {kind}" for source in (method, BODY_ATLAS) for label in ABNORMALITIES for kind in PLACES]
    return (*scores, *correct)


def with_masks(entries: Sequence[CohortEntry], masks: Mapping[str, Path]) -> list[CohortEntry]:
    """Select entries whose masks are there.

    Raises:
        InputError: there is none.
    """
    masked = [entry for entry in entries if entry.volume in masks]
    if not masked:
        raise InputError("no volume of the cohort has a mask of its name", hint="Give the phantoms that the cohort was prepared from.")
    return masked


def pending_masked(entries: Sequence[CohortEntry], table: ResultTable, masks: Mapping[str, Path]) -> list[CohortEntry]:
    """List the volumes that have no row, or one that was made of another volume or mask, or of other scans' maps."""
    made_of = _row_sources(entries, masks)
    return pending_entries(entries, table, source_of=lambda entry: made_of[entry.volume])


def map_grid(model: Model, cohort: Cohort, entries: Sequence[CohortEntry], method: Method) -> tuple[int, int, int]:
    """Return the grid (T, h, w) of a method's maps, by the first volume that it takes.

    Raises:
        OutsideIntendedUse: it takes none.
    """
    for entry in entries:
        with suppress(OutsideIntendedUse):
            _, T, h, w = _read_maps(model, entry, read_volume(cohort.folder / entry.cache), method).shape
            return T, h, w
    hint = "Give the chests that the model was made for; a cohort of before 2026-12 must be prepared anew, to know where their lungs are."
    raise OutsideIntendedUse("lungs were found in none of the volumes", hint=hint, source=cohort.folder)


def map_reader(
    model: Model, cohort: Cohort, method: Method, grid: tuple[int, int, int], *, masks: Mapping[str, Path]
) -> Callable[[CohortEntry], ScanMaps]:
    """Make a function from a volume to its maps, which remembers the last ones; maps of a scan that the method refuses are 0.

    The function raises `CacheDamaged` as `read_volume`, `ScanUnreadable` as `read_mask`, and what else `saliency` raises.
    """
    resampled = cohort.preprocess.spacing

    @lru_cache(maxsize=_REMEMBERED)
    def read(entry: CohortEntry) -> ScanMaps:
        array = read_volume(cohort.folder / entry.cache)
        try:
            maps_KTHW = _read_maps(model, entry, array, method)
        except OutsideIntendedUse:
            maps_KTHW = np.zeros((len(ABNORMALITIES), *grid), np.float32)
        spacing = (
            read_mask(masks[entry.volume], cohort.preprocess, foreground=entry.foreground).spacing
            if resampled is None
            else reorder(resampled, cohort.preprocess.axes, ZXY)
        )
        return ScanMaps(maps_KTHW=maps_KTHW, centre_THW=lung_centre_baseline(array, cohort.preprocess, grid, spacing=spacing))

    return read


def earlier_scans(entries: Sequence[CohortEntry]) -> list[dict[int, CohortEntry]]:
    """Find for each volume and abnormality the last volume before it of another patient whose label says that it is present."""
    earlier: list[dict[int, CohortEntry]] = []
    last: dict[int, list[CohortEntry]] = {}  # of each abnormality, one of each of the last two patients
    for entry in entries:
        earlier.append({k: scan for k, scans in last.items() for scan in scans if scan.patient != entry.patient})
        for k in (k for k, label in enumerate(entry.labels) if label == 1):
            last[k] = [*[scan for scan in last.get(k, []) if scan.patient != entry.patient][-1:], entry]
    return earlier


def measure(
    entries: Sequence[CohortEntry],
    table: ResultTable,
    *,
    read_maps: Callable[[CohortEntry], ScanMaps],
    atlases: Atlases,
    masks: Mapping[str, Path],
    truth: Truth,
    cohort: Cohort,
) -> Iterator[str]:
    """Add a row for each volume that has none, and yield its name. Cells are empty of findings that its mask does not have, or the
    model does not know.

    Raises:
        ScanUnreadable: a mask that is none.
        CacheDamaged: a cached volume that is not what was written.
    """
    made_of = _row_sources(entries, masks)
    pending = {entry.volume for entry in pending_entries(entries, table, source_of=lambda entry: made_of[entry.volume])}
    with_earlier = [pair for pair in zip(entries, earlier_scans(entries), strict=True) if pair[0].volume in pending]
    read = prefetch(lambda pair: read_mask(masks[pair[0].volume], cohort.preprocess, foreground=pair[0].foreground), with_earlier)
    for (entry, earlier), mask in read:
        scan = read_maps(entry)
        shares_KTHW = share_of_patches(mask.bits_ZXY, atlases.grid)
        scores = np.full((len(BASELINES) + 2, len(ABNORMALITIES), len(METRICS)), np.nan)
        correct_2K2 = np.full((2, len(ABNORMALITIES), len(PLACES)), np.nan)
        present = shares_KTHW.any(axis=(1, 2, 3)) & ~np.isnan(scan.maps_KTHW).any(axis=(1, 2, 3))
        for k in np.flatnonzero(present).tolist():
            share_THW, atlas_maps = shares_KTHW[k], atlases.maps(k, entry.box)
            maps = {"method": scan.maps_KTHW[k], **atlas_maps, LUNG_CENTRE: scan.centre_THW, CEILING: share_THW}
            if k in earlier:
                maps[OTHER_SCAN] = read_maps(earlier[k]).maps_KTHW[k]
            scored = {name: localization_scores(heat, share_THW) for name, heat in maps.items()}
            scored[RANDOM] = random_score(share_THW, seed=[crc32(entry.volume.encode()), k])
            scores[:, k] = [scored.get(name, np.full(len(METRICS), np.nan)) for name in ("method", *BASELINES, CEILING)]
            attributes = truth.get(entry.volume, {}).get(ABNORMALITIES[k])
            if attributes is not None:
                strongest = [strongest_place(heat, entry.box) for heat in (scan.maps_KTHW[k], atlas_maps[BODY_ATLAS])]
                correct_2K2[:, k] = [_correct(location, attributes.side, attributes.lobes) for location in strongest]
        cells = ["" if np.isnan(number) else f"{number:.6g}" for number in (*scores.ravel(), *correct_2K2.ravel())]
        table.add(entry.volume, cells, source=made_of[entry.volume])
        yield entry.volume


def values_of(table: ResultTable, entries: Sequence[CohortEntry]) -> tuple[FloatArray, FloatArray]:
    """Return what `measure` wrote: scores (N, M, K, S), and whether places were right (N, 2, K, 2)."""
    cells = np.array([[float(cell) if cell else np.nan for cell in table.rows[entry.volume]] for entry in entries])
    scores = (len(BASELINES) + 2, len(ABNORMALITIES), len(METRICS))
    split = int(np.prod(scores))
    return cells[:, :split].reshape(-1, *scores), cells[:, split:].reshape(-1, 2, len(ABNORMALITIES), len(PLACES))


def _read_maps(model: Model, entry: CohortEntry, array: ModelInput, method: Method) -> Saliency:
    """Compute maps of `ABNORMALITIES`, NaN for those that are none of the model's labels."""
    prepared = PreparedVolume(array=array, provenance=None, warnings=(), box=entry.box)
    labels = [k for k, name in enumerate(ABNORMALITIES) if name in model.folder.labels]
    heats_THW = saliency(model, prepared, abnormalities=[ABNORMALITIES[k] for k in labels], method=method)
    maps_KTHW = np.full((len(ABNORMALITIES), *heats_THW.shape[1:]), np.nan, np.float32)
    maps_KTHW[labels] = heats_THW
    return maps_KTHW


def _correct(location: StrongestPlace | None, side: str | None, lobes: tuple[str, ...]) -> tuple[float, float]:
    """Judge side and lobe: NaN where every answer would be right, or nobody knows; a place that is not named is wrong."""
    on_one_side, in_some_lobes = side in ("right", "left"), 0 < len(lobes) < len(LOBES)
    return (
        float(location is not None and location.side == side) if on_one_side else np.nan,
        float(location is not None and location.lobe in lobes) if in_some_lobes else np.nan,
    )


def _row_sources(entries: Sequence[CohortEntry], masks: Mapping[str, Path]) -> dict[str, RowSource]:
    """Identify by volume what its row is made of."""
    made_of = {}
    for entry, earlier in zip(entries, earlier_scans(entries), strict=True):
        others = sorted((k, scan.cache_sha256) for k, scan in earlier.items())
        reading = f"{entry.cache_sha256} {sha256(masks[entry.volume])} {entry.box} {others}"
        made_of[entry.volume] = replace(entry_source(entry), reading=sha256_of(reading.encode()).hexdigest())
    return made_of
