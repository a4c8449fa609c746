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

from thoracle.phantom.anatomy.patient import Patient, Rng, sample_patient, sample_position, sample_visit
from thoracle.phantom.anatomy.thorax import LOBES, Thorax
from thoracle.phantom.cooccurrence import sample_labels
from thoracle.phantom.findings import FindingGenerator
from thoracle.phantom.imaging.grid import Floats, VoxelGrid
from thoracle.phantom.imaging.metadata import metadata_row
from thoracle.phantom.imaging.scanner import Acquisition, StoredVolume, reconstruct, sample_acquisition
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
    POSITION = 10


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


def make_patient(plan: PatientPlan, *, seed: int, preset: Preset, aligned: bool = False) -> Iterator[PhantomScan]:
    """Make the scans of one patient, in order; `aligned`: all chests alike in the picture, as no patients lie."""
    for visit in _visits(plan, seed, preset, aligned=aligned):
        yield visit.scan()


def report_patient(plan: PatientPlan, *, seed: int, preset: Preset) -> Iterator[tuple[PhantomReport, tuple[int, ...]]]:
    """Write what `make_patient` would report of each visit, and its labels, without painting: hundreds a second.

    A finding that fluid would hide where it was drawn is not drawn again, so that a sentence now and then names another lobe.
    """
    for visit in _visits(plan, seed, preset, aligned=False):
        scene = visit.in_the_picture(dict.fromkeys(visit.abnormalities, 0), visit.acquisition.grid)
        yield visit.report(scene), tuple(int(name in visit.abnormalities) for name in ABNORMALITIES)


def _visits(plan: PatientPlan, seed: int, preset: Preset, *, aligned: bool) -> Iterator[_Visit]:
    draws = _Draws(seed=seed, patient=plan.index)
    person = sample_patient(draws(_Stream.PERSON))
    labels = sample_labels(draws(_Stream.LABELS), plan.visits)
    for visit in range(plan.visits):
        if visit:
            person = sample_visit(draws(_Stream.PERSON, visit), person)
        patient = person if aligned else sample_position(draws(_Stream.POSITION, visit), person)
        yield _Visit(
            name=f"{plan.name}_{'abc'[visit]}",
            patient=patient,
            abnormalities=tuple(name for name, present in zip(ABNORMALITIES, labels[visit], strict=True) if present),
            preset=preset,
            acquisition=sample_acquisition(draws(_Stream.ACQUISITION, visit), patient, preset, aligned=aligned),
            draws=draws,
            visit=visit,
        )


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
    abnormalities: tuple[str, ...]
    preset: Preset
    acquisition: Acquisition
    draws: _Draws
    visit: int

    def scan(self) -> PhantomScan:
        acquisition = self.acquisition
        scene, hu, mask = self._painted(acquisition.grid)
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
        return PhantomScan(name=self.name, patient=self.patient, findings=scene.findings, report=self.report(scene), volumes=tuple(volumes))

    def report(self, scene: Scene) -> PhantomReport:
        return write_report(self.draws(_Stream.REPORT, self.visit), scene.findings, self.patient, step=self.preset.step)

    def in_the_picture(self, drawn: dict[str, int], grid: VoxelGrid) -> Scene:
        """Sample a scene all parts of whose findings lie in the picture; `drawn` counts how often each was drawn before."""
        for _ in range(_ATTEMPTS):
            scene = self._sampled(drawn)
            outside = [finding.abnormality for finding in scene.findings if not grid.holds(finding.parts).all()]
            if not outside:
                return scene
            for name in outside:
                drawn[name] += 1
        raise AssertionError(f"{outside} cannot be placed where the scan sees them")

    def _sampled(self, drawn: dict[str, int]) -> Scene:
        return sample_scene(
            self.patient,
            self.abnormalities,
            anatomy=self.draws(_Stream.ANATOMY),
            visit=self.draws(_Stream.VISIT, self.visit),
            finding=lambda name: self.draws(_Stream.FINDING, ABNORMALITIES.index(name), drawn[name]),
            finest=self.preset.pixel,
        )

    def _painted(self, grid: VoxelGrid) -> tuple[Scene, Floats, NDArray[np.uint32]]:
        """A painted scene in which every finding can be seen where it is named: one that cannot is drawn again.

        It may fall outside the picture, or into fluid that took the lung's place. What lies where no ray crosses is marked in no mask.
        """
        drawn = dict.fromkeys(self.abnormalities, 0)
        for _ in range(_ATTEMPTS):
            scene = self.in_the_picture(drawn, grid)
            hu, mask = paint(scene, grid)
            mask[~grid.crossed] = 0
            bits = _bits_of_lobes(scene.thorax, grid, mask)
            lost = [finding.abnormality for finding in scene.findings if not _is_seen(finding, bits)]
            if not lost:
                return scene, hu, mask
            for name in lost:
                drawn[name] += 1
        raise AssertionError(f"{lost} cannot be painted where the scan sees them")


def _bits_of_lobes(thorax: Thorax, grid: VoxelGrid, mask: NDArray[np.uint32]) -> dict[str, int]:
    """The bits of all findings that a mask has in each lobe; every voxel counts to one, whatever its tissue."""
    marked = np.flatnonzero(mask)
    values, lobe = mask.ravel()[marked], thorax.lobe_index(*grid.at(marked))
    return {name: int(np.bitwise_or.reduce(values[lobe == i], initial=0)) for i, name in enumerate(LOBES)}


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
