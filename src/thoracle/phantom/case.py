"""One made-up patient from a seed: every visit with its volumes, masks, report and facts.

All randomness comes from (seed, patient, purpose), each purpose its own stream: labels cannot reach the noise, nor noise the anatomy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from thoracle.phantom.anatomy.patient import Patient, Rng, sample_patient, sample_visit
from thoracle.phantom.anatomy.thorax import LOBES, Thorax
from thoracle.phantom.cooccurrence import sample_labels
from thoracle.phantom.findings import FindingGenerator
from thoracle.phantom.imaging.grid import Floats, VoxelGrid
from thoracle.phantom.imaging.metadata import metadata_row
from thoracle.phantom.imaging.scanner import StoredVolume, reconstruct, sample_acquisition
from thoracle.phantom.imaging.scene import Scene, paint, sample_scene
from thoracle.phantom.presets import Preset
from thoracle.phantom.reporting.report import PhantomReport, write_report
from thoracle.types import ABNORMALITIES

#: Every sixth patient is held out.
_HELD_OUT = 6
#: Visits of a patient, and how many patients have so many.
_VISITS = (0.84, 0.13, 0.03)
_ATTEMPTS = 20


class _Stream(IntEnum):
    """What a stream of random numbers is for."""

    VISITS = 0
    LABELS = 1
    PERSON = 2
    ANATOMY = 3
    VISIT = 4
    FINDING = 5
    ACQUISITION = 6
    NOISE = 7
    REPORT = 8
    METADATA = 9


@dataclass(frozen=True, kw_only=True)
class PatientPlan:
    """Plan a patient: `index` from 0 over the cohort; `number` from 1 in its split; `visits` still to make."""

    index: int
    split: Literal["train", "valid"]
    number: int
    visits: int

    @property
    def name(self) -> str:
        """Name a patient as CT-RATE does: train_1."""
        return f"{self.split}_{self.number}"


@dataclass(frozen=True, kw_only=True, eq=False)
class PhantomVolume:
    """Hold one reconstruction with its metadata row; `name` is the file's."""

    name: str
    stored: StoredVolume
    metadata: dict[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class PhantomScan:
    """Hold one visit: `name` (train_1_a), findings, report and volumes."""

    name: str
    patient: Patient
    findings: tuple[FindingGenerator, ...]
    report: PhantomReport
    volumes: tuple[PhantomVolume, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        """Return 0 or 1 for each of `ABNORMALITIES`."""
        present = {finding.abnormality for finding in self.findings}
        return tuple(int(name in present) for name in ABNORMALITIES)

    def truth(self) -> dict[str, Any]:
        """Return everything that was decided, as plain JSON types."""
        return {
            "scan": self.name,
            "labels": dict(zip(ABNORMALITIES, self.labels, strict=True)),
            "findings": [_facts(finding) for finding in self.findings],
            "report": {
                "ClinicalInformation_EN": self.report.clinical,
                "Technique_EN": self.report.technique,
                "Findings_EN": self.report.findings,
                "Impressions_EN": self.report.impression,
            },
            "sentences": [asdict(sentence) for sentence in self.report.sentences],
            "volumes": [volume.metadata for volume in self.volumes],
        }


def plan_cohort(cases: int, *, seed: int) -> tuple[PatientPlan, ...]:
    """Plan patients whose visits add up to `cases` scans."""
    plans: list[PatientPlan] = []
    count = {"train": 0, "valid": 0}
    left = cases
    while left > 0:
        index = len(plans)
        split: Literal["train", "valid"] = "valid" if index % _HELD_OUT == _HELD_OUT - 1 else "train"
        count[split] += 1
        visits = min(left, 1 + int(_Draws(seed=seed, patient=index)(_Stream.VISITS).choice(len(_VISITS), p=_VISITS)))
        plans.append(PatientPlan(index=index, split=split, number=count[split], visits=visits))
        left -= visits
    return tuple(plans)


def make_patient(plan: PatientPlan, *, seed: int, preset: Preset) -> Iterator[PhantomScan]:
    """Make the scans of one patient, in order."""
    draws = _Draws(seed=seed, patient=plan.index)
    person = sample_patient(draws(_Stream.PERSON))
    labels = sample_labels(draws(_Stream.LABELS), plan.visits)
    for visit in range(plan.visits):
        if visit:
            person = sample_visit(draws(_Stream.PERSON, visit), person)
        names = tuple(name for name, present in zip(ABNORMALITIES, labels[visit], strict=True) if present)
        yield _Visit(name=f"{plan.name}_{'abc'[visit]}", patient=person, preset=preset, draws=draws, visit=visit).scan(names)


def report_patient(plan: PatientPlan, *, seed: int, preset: Preset) -> Iterator[tuple[PhantomReport, tuple[int, ...]]]:
    """Write what `make_patient` would report of each visit, and its labels, without painting: hundreds a second.

    A finding that the picture would not show where it was drawn is not drawn again, so that a sentence now and then names another lobe.
    """
    draws = _Draws(seed=seed, patient=plan.index)
    person = sample_patient(draws(_Stream.PERSON))
    labels = sample_labels(draws(_Stream.LABELS), plan.visits)
    for visit in range(plan.visits):
        if visit:
            person = sample_visit(draws(_Stream.PERSON, visit), person)
        names = tuple(name for name, present in zip(ABNORMALITIES, labels[visit], strict=True) if present)
        scene = _Visit(name=plan.name, patient=person, preset=preset, draws=draws, visit=visit).sampled(names, dict.fromkeys(names, 0))
        report = write_report(draws(_Stream.REPORT, visit), scene.findings, person, step=preset.step)
        yield report, tuple(int(name in names) for name in ABNORMALITIES)


@dataclass(frozen=True, kw_only=True)
class _Draws:
    """The random streams of one patient."""

    seed: int
    patient: int

    def __call__(self, stream: _Stream, *more: int) -> Rng:
        return np.random.default_rng([self.seed, self.patient, int(stream), *more])


@dataclass(frozen=True, kw_only=True)
class _Visit:
    """One visit on its way to a scan."""

    name: str
    patient: Patient
    preset: Preset
    draws: _Draws
    visit: int

    def scan(self, abnormalities: tuple[str, ...]) -> PhantomScan:
        acquisition = sample_acquisition(self.draws(_Stream.ACQUISITION, self.visit), self.patient, self.preset)
        scene, hu, mask = self._painted(abnormalities, acquisition.grid)
        rng = self.draws(_Stream.METADATA, self.visit)
        date = f"20{int(rng.integers(18, 23))}{int(rng.integers(1, 13)):02d}{int(rng.integers(1, 29)):02d}"
        volumes = []
        for number, reconstruction in enumerate(acquisition.reconstructions, start=1):
            stored = reconstruct(self.draws(_Stream.NOISE, self.visit, number), hu, mask, acquisition, reconstruction)
            file = f"{self.name}_{number}.nii.gz"
            row = metadata_row(
                rng, name=file, patient=self.patient, acquisition=acquisition, reconstruction=reconstruction, stored=stored, date=date
            )
            volumes.append(PhantomVolume(name=file, stored=stored, metadata=row))
        report = write_report(self.draws(_Stream.REPORT, self.visit), scene.findings, self.patient, step=self.preset.step)
        return PhantomScan(name=self.name, patient=self.patient, findings=scene.findings, report=report, volumes=tuple(volumes))

    def sampled(self, abnormalities: tuple[str, ...], drawn: dict[str, int]) -> Scene:
        """Sample a scene with these findings; `drawn` counts how often each was drawn before."""
        return sample_scene(
            self.patient,
            abnormalities,
            anatomy=self.draws(_Stream.ANATOMY),
            visit=self.draws(_Stream.VISIT, self.visit),
            finding=lambda name: self.draws(_Stream.FINDING, ABNORMALITIES.index(name), drawn[name]),
            finest=self.preset.pixel,
        )

    def _painted(self, abnormalities: tuple[str, ...], grid: VoxelGrid) -> tuple[Scene, Floats, NDArray[np.uint32]]:
        """A painted scene in which every finding can be seen where it is named: one that cannot is drawn again.

        It may fall outside the picture, or into fluid that took the lung's place.
        """
        drawn = dict.fromkeys(abnormalities, 0)
        for _ in range(_ATTEMPTS):
            scene = self.sampled(abnormalities, drawn)
            hu, mask = paint(scene, grid)
            bits = _bits_of_lobes(scene.thorax, grid, mask)
            lost = [finding.abnormality for finding in scene.findings if not _is_seen(finding, bits)]
            if not lost:
                return scene, hu, mask
            for name in lost:
                drawn[name] += 1
        raise AssertionError(f"{lost} cannot be painted where the scan sees them")


def _bits_of_lobes(thorax: Thorax, grid: VoxelGrid, mask: NDArray[np.uint32]) -> dict[str, int]:
    """The bits of all findings that a mask has in each lobe; every voxel counts to one, whatever its tissue."""
    x, y, z = grid.coordinates
    bits = dict.fromkeys(LOBES, 0)
    for sheet, x_sheet, y_sheet in zip(mask, x[:, :, 0], y[:, :, 0], strict=True):
        j, k = np.nonzero(sheet)
        lobe = thorax.lobe_index(x_sheet[j], y_sheet[j], z[0, 0, k])
        for i, name in enumerate(LOBES):
            bits[name] |= int(np.bitwise_or.reduce(sheet[j, k][lobe == i], initial=0))
    return bits


def _is_seen(finding: FindingGenerator, bits: Mapping[str, int]) -> bool:
    """Whether each lobe that a finding names has some of it; without lobes each side; without a side anything."""
    bit = 1 << ABNORMALITIES.index(finding.abnormality)
    marked = {name for name in LOBES if bits[name] & bit}
    if finding.lobes:
        return marked >= set(finding.lobes)
    sides = {"right", "left"} if finding.side == "bilateral" else {finding.side} - {None}
    return bool(marked) and {name.split()[0] for name in marked} >= sides


def _facts(finding: FindingGenerator) -> dict[str, Any]:
    facts = {name: getattr(finding, name) for name in ("abnormality", "severity", "side", "lobes", "size_mm", "number", "kind", "centre")}
    return {**facts, "lobes": list(finding.lobes), "centre": None if finding.centre is None else [round(c, 1) for c in finding.centre]}
