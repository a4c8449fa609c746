"""A finding's mask lies where truth and report say: in the lobes, on the side, in the organ that they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

import numpy as np
import pytest

from thoracle.phantom import case
from thoracle.phantom.anatomy.soft_tissue import AORTA, ESOPHAGUS
from thoracle.phantom.anatomy.thorax import LOBES, Thorax
from thoracle.phantom.anatomy.tubes import Tubes
from thoracle.phantom.case import PhantomScan, make_patient, plan_cohort
from thoracle.phantom.findings import FindingGenerator
from thoracle.phantom.findings.calcium import _CORONARIES, on_heart
from thoracle.phantom.findings.mediastinal import STATIONS
from thoracle.phantom.imaging.grid import VoxelGrid
from thoracle.phantom.presets import PRESETS
from thoracle.types import ABNORMALITIES

_SEED = 11
#: Words by which a sentence says where most of a finding is, not all of it.
_MAINLY = re.compile(r"\b(mainly|predominantly|more marked)\b")
_LOBE = re.compile(r"\b(right|left) (upper|middle|lower) lobe\b")
_LUNG_FINDINGS = ABNORMALITIES[ABNORMALITIES.index("Emphysema") :]


class _Location:
    """Where the mask of one finding lies: canonical points (n, 3), their lobes, their organs."""

    def __init__(self, thorax: Thorax, grid: VoxelGrid, mask: np.ndarray) -> None:
        self.thorax, self.grid, self.mask = thorax, grid, mask
        self.points = np.stack([axis[mask] for axis in np.broadcast_arrays(*grid.coordinates)], axis=1)
        self.lobe = thorax.lobe_index(*self.points.T)
        self.sides = {side for side, lobes in (("right", (0, 1, 2)), ("left", (3, 4))) if np.isin(self.lobe, lobes).any()}

    def fraction_in(self, inside: np.ndarray) -> float:
        return float(inside.mean())

    def lobes_differ(self, names: set[str]) -> str | None:
        """Why the mask does not lie in these lobes, and in each of them."""
        fractions = [np.mean(self.lobe == i) for i in range(len(LOBES))]
        outside = sum(fraction for lobe, fraction in zip(LOBES, fractions, strict=True) if lobe not in names)
        absent = sorted(lobe for lobe in names if not fractions[LOBES.index(lobe)])
        if absent:
            return f"nothing in the {' and the '.join(absent)}"
        return f"{outside:.1%} outside the {', the '.join(sorted(names))}" if outside else None

    def outside_of(self, tubes: Tubes) -> np.ndarray:
        """Distance of each voxel to the wall of tubes with round ends, mm; negative inside."""
        axis = tubes.end - tubes.start
        t = np.einsum("npi,pi->np", self.points[:, None] - tubes.start, axis) / (axis**2).sum(axis=1)
        t = np.clip(t, 0, 1)
        away = np.linalg.norm(self.points[:, None] - tubes.start - t[:, :, None] * axis, axis=2)
        return (away - (tubes.first * (1 - t) + tubes.last * t)).min(axis=1)

    def away_from(self, points: np.ndarray) -> np.ndarray:
        """Distance of each voxel to the nearest of some points, mm."""
        return np.linalg.norm(self.points[:, None] - points[None], axis=2).min(axis=1)


def _cases(count: int) -> Iterator[tuple[PhantomScan, Thorax, VoxelGrid, int]]:
    """Planned cases as the command makes them, with the chest and the grid of each, and how often it was painted."""
    scenes = []
    paint = case.paint

    def remembered(scene, grid):
        scenes.append((scene.thorax, grid))
        return paint(scene, grid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case, "paint", remembered)
        for plan in plan_cohort(count, seed=_SEED):
            for scan in make_patient(plan, seed=_SEED, preset=PRESETS["tiny"]):
                yield (scan, *scenes[-1], len(scenes))
                scenes.clear()


def _mismatches(scan: PhantomScan, thorax: Thorax, grid: VoxelGrid) -> list[str]:
    """What truth or report say of a scan's findings and its mask does not hold."""
    mask = scan.volumes[0].stored.mask  # the thin slices: those that were painted
    assert mask.shape == grid.shape
    mismatches = []
    for finding in scan.findings:
        present = (mask >> ABNORMALITIES.index(finding.abnormality) & 1).astype(bool)
        location = _Location(thorax, grid, present)
        reasons = [*_against_truth(finding, location)]
        for sentence in scan.report.sentences:
            if sentence.present and finding.abnormality in sentence.abnormalities:
                reasons += [f"{reason}: {sentence.text!r}" for reason in _against_sentence(finding, sentence.text, location)]
        mismatches += [f"{scan.name} {finding.abnormality} ({finding.kind}): {reason}" for reason in reasons]
    return mismatches


def _against_truth(finding: FindingGenerator, location: _Location) -> Iterator[str]:
    if finding.lobes and (reason := location.lobes_differ(set(finding.lobes))):
        yield reason
    if finding.abnormality in _LUNG_FINDINGS and finding.side is not None:
        expected = {"right", "left"} if finding.side == "bilateral" else {finding.side}
        if location.sides != expected:
            yield f"side {finding.side}, mask {sorted(location.sides)}"
    fraction = location.fraction_in(_in_organ(finding, location))
    if fraction < 0.97:
        yield f"{1 - fraction:.1%} outside its organ"
    for part, inside in _named_parts(finding, location):
        if not inside.any():
            yield f"nothing at the {part}"


def _against_sentence(finding: FindingGenerator, text: str, location: _Location) -> Iterator[str]:
    lobes = {match[0] for match in _LOBE.finditer(text)}
    for name in ("upper", "lower"):
        if f"{name} lobes" in text:
            lobes |= {f"right {name} lobe", f"left {name} lobe"}
    if lobes and _MAINLY.search(text):
        density = [np.mean(location.lobe == i) for i in range(len(LOBES))]
        if sum(density[LOBES.index(lobe)] for lobe in lobes) <= 0.5:
            yield "most of it elsewhere"
    elif lobes and (reason := location.lobes_differ(lobes)):
        yield reason
    if finding.abnormality == "Arterial wall calcification" and "arch" in text:
        _, y, z = location.points.T
        for part, inside in (("aortic arch", z > 30), ("descending aorta", (y > 25) & (z < 30))):
            if not inside.any():
                yield f"nothing in the {part}"
    if finding.abnormality in _LUNG_FINDINGS:
        words = re.findall(r"\w+", text)
        expected = {side for side in ("right", "left") if side in words}
        if "both" in words or any(SequenceMatcher(None, word, "bilateral").ratio() > 0.8 for word in words):
            expected = {"right", "left"}
        if expected and location.sides != expected:
            yield f"mask on {sorted(location.sides)}"


def _in_organ(finding: FindingGenerator, location: _Location) -> np.ndarray:
    """Which voxels of a mask lie in the finding's organ."""
    thorax, points = location.thorax, location.points
    edge = location.grid.edge
    match finding.abnormality:
        case "Arterial wall calcification":
            return location.outside_of(AORTA) < 10
        case "Cardiomegaly":
            return thorax.heart_surface(*points.T) < edge
        case "Pericardial effusion":
            away = thorax.heart_surface(*points.T)
            return (away > -edge) & (away < 26)
        case "Coronary artery wall calcification":
            return np.minimum.reduce([location.away_from(_course(thorax, name)) for name in finding.kind.split(", ")]) < 15
        case "Hiatal hernia":
            return location.away_from(np.array([[12.0, 28, -80]])) < 60
        case "Lymphadenopathy":
            return np.logical_or.reduce([inside for _, inside in _named_parts(finding, location)])
        case "Medical material":
            return _in_organ_of_device(str(finding.kind), location)
        case _:
            return thorax.lung_without_heart(*points.T, thorax.cavity(*points.T)) < edge


def _in_organ_of_device(kind: str, location: _Location) -> np.ndarray:
    x, y, z = location.points.T
    thorax = location.thorax
    match kind:
        case "sternal wires":
            return (np.abs(x) < 28) & (np.abs(y - np.array([thorax.front(float(h)) for h in z])) < 26)
        case "prosthetic heart valve":
            return thorax.heart_surface(x, y, z) < 6
        case "nasogastric tube":
            return location.outside_of(ESOPHAGUS) < 4
        case "spinal fixation screws":
            return (np.abs(x) < 30) & (y > 50)
        case _:
            return thorax.body(x, y, z) < 0


def _named_parts(finding: FindingGenerator, location: _Location) -> Iterator[tuple[str, np.ndarray]]:
    """Each station, artery or side that is named, and which voxels lie there."""
    if finding.abnormality == "Lymphadenopathy":
        for name in finding.kind.split(", "):
            stations = [(station, stray) for station_name, station, stray in STATIONS if station_name == name]
            yield name, np.logical_or.reduce([location.away_from(np.array([s])) < 3.5 * stray + 15 for s, stray in stations])
    elif finding.abnormality == "Coronary artery wall calcification":
        for name in finding.kind.split(", "):
            yield name, location.away_from(_course(location.thorax, name)) < 12
    elif finding.abnormality == "Medical material" and finding.side is not None:
        sign = {"left": 1, "right": -1}[finding.side]
        outside = location.thorax.cavity(*location.points.T) > 3
        yield f"{finding.side} chest wall", outside & (sign * location.points[:, 0] > 40) & (location.points[:, 2] < 75)


def _course(thorax: Thorax, name: str) -> np.ndarray:
    stations = on_heart(thorax, np.array(_CORONARIES[name], dtype=np.float32))
    t = np.linspace(0, len(stations) - 1, 60)
    return on_heart(thorax, np.stack([np.interp(t, np.arange(len(stations)), stations[:, i]) for i in range(3)], axis=1).astype(np.float32))


def _check(count: int, *, redrawn: int) -> None:
    """No mismatch in so many cases; nor were more than so many pictures drawn again, which would hide what always lies elsewhere."""
    mismatches, pictures = [], 0
    for scan, thorax, grid, painted in _cases(count):
        mismatches += _mismatches(scan, thorax, grid)
        pictures += painted
    assert not mismatches, "\n".join(mismatches)
    assert pictures - count <= redrawn


@pytest.mark.slow
def test_masks_lie_where_truth_and_report_say():
    _check(60, redrawn=3)


@pytest.mark.slow
def test_masks_of_500_cases_lie_where_truth_and_report_say():
    _check(500, redrawn=12)
