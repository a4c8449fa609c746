"""One made-up person: habitus, density of tissues, position on the table.

Every number here is drawn without a look at the labels, so that nothing about the person gives a finding away.
Lengths are millimetres in the canonical chest (`thorax.py`), which `scale` stretches to the person.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Patient:
    """Hold habitus and tissues of one person, at one scan.

    Attributes:
        scale: person's size over the canonical chest along x, y, z.
        shift: of the body from the scanner's axis along x, y, mm; in an aligned phantom the field of view's from the body's.
        roll: turn on the table about the long axis, radians.
        pitch: how far the upper chest is raised from the table, radians.
        arms_raised: whether those arms that do not lie on the chest lie beside the head.
        inspiration: -1 (expiration) to 1; lowers the diaphragm and thins the lung.
        fat: thickness of the subcutaneous fat, mm.
        marbling: fat in muscle, 0 to 1.
        contrast: whether blood is enhanced; `artery_hu`, `vein_hu` say how much.
        lung_gradient: how much denser the lowest lung is than the highest, HU (supine).
        lung_texture: standard deviation of the slow unevenness of normal lung, HU.
        calcified_cartilage: 0 to 1; grows with age in the rib cage of everybody.
        lumps: phases and sizes of the body outline's unevenness.
    """

    sex: Literal["M", "F"]
    age: int
    scale: tuple[float, float, float]
    shift: tuple[float, float]
    roll: float
    inspiration: float
    fat: float
    heart: float
    lung_hu: float
    lung_gradient: float
    lung_texture: float
    fat_hu: float
    muscle_hu: float
    muscle_bulk: float
    marbling: float
    contrast: bool
    artery_hu: float
    vein_hu: float
    liver_hu: float
    marrow_hu: float
    cortex_hu: float
    calcified_cartilage: float
    lumps: tuple[tuple[float, float], ...]
    pitch: float = 0.0
    arms_raised: bool = False


def sample_patient(rng: Rng) -> Patient:
    """Sample a person; the population is adult, as CT-RATE's is."""
    sex: Literal["M", "F"] = "F" if rng.random() < 0.42 else "M"
    age = int(np.clip(rng.normal(52, 17), 18, 95))
    size = (1.0 if sex == "M" else 0.92) * rng.normal(1.0, 0.035)
    fat = float(np.clip(rng.gamma(4.0, 4.5) * (1.25 if sex == "F" else 1.0), 4, 52))
    return _on_the_table(
        rng,
        Patient(
            sex=sex,
            age=age,
            scale=(size * rng.normal(1.02, 0.03), size * rng.normal(1.0, 0.05), size * rng.normal(1.0, 0.035)),
            shift=(0.0, 0.0),
            roll=0.0,
            inspiration=0.0,
            fat=fat,
            heart=float(np.clip(rng.normal(0.96, 0.045), 0.86, 1.04)),
            lung_hu=float(rng.normal(-904, 24)),
            lung_gradient=float(np.clip(rng.gamma(2.2, 30.0), 0, 220)),
            lung_texture=float(rng.gamma(3.0, 8.5)),
            fat_hu=float(rng.normal(-106, 5)),
            muscle_hu=float(rng.normal(46, 8)),
            muscle_bulk=float(rng.normal(16, 3)),
            marbling=float(rng.uniform(0.05, 0.4)),
            contrast=False,
            artery_hu=0.0,
            vein_hu=0.0,
            liver_hu=float(rng.normal(56, 11)),
            marrow_hu=float(rng.normal(255 - 1.7 * age, 45)),
            cortex_hu=float(rng.normal(900, 150)),
            calcified_cartilage=float(np.clip((age - 35) / 50 + rng.normal(0.1, 0.25), 0, 1)),
            lumps=tuple((float(rng.uniform(0, 2 * np.pi)), float(rng.normal(0, 0.012))) for _ in range(4)),
        ),
    )


def sample_visit(rng: Rng, patient: Patient) -> Patient:
    """Sample the same person on another day: age and habitus drift; position, breath and contrast are new."""
    later = replace(
        patient,
        age=min(95, patient.age + int(rng.integers(0, 3))),
        fat=float(np.clip(patient.fat * rng.normal(1, 0.06), 4, 54)),
        lung_hu=patient.lung_hu + float(rng.normal(0, 8)),
    )
    return _on_the_table(rng, later)


def sample_position(rng: Rng, patient: Patient) -> Patient:
    """Place a person in the scanner as patients lie, where `sample_patient` aligns them; docs/phantom.md has the source of each spread."""
    return replace(
        patient,
        shift=(float(rng.normal(0, 8)), float(rng.normal(0, 16))),
        roll=float(np.radians(np.clip(rng.normal(0, 4), -12, 12))),
        pitch=float(np.radians(np.clip(rng.normal(2, 3.5), -8, 12))),
        arms_raised=bool(rng.random() < 0.6),
    )


def _on_the_table(rng: Rng, patient: Patient) -> Patient:
    contrast = bool(rng.random() < 0.3)
    blood = float(rng.normal(42, 6))
    enhanced = (float(rng.uniform(90, 340)), float(rng.uniform(80, 320))) if contrast else (blood, blood)
    inspiration = float(np.clip(rng.normal(0.15, 0.5), -1.3, 1.2))
    return replace(
        patient,
        shift=(float(rng.normal(0, 5)), float(rng.normal(0, 6))),
        roll=float(np.radians(np.clip(rng.normal(0, 2.6), -8, 8))),
        inspiration=inspiration,
        contrast=contrast,
        artery_hu=enhanced[0],
        vein_hu=enhanced[1],
    )
