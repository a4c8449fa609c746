"""The chest as formulas: signed distances (mm, negative inside) of its surfaces at any points.

Canonical frame: x to the patient's left, y to the back, z upwards, millimetres, origin in the midline at the height of the carina. All
functions take coordinates that broadcast: a grid's axes, or points. Proportions are those of an adult in inspiration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from thoracle.phantom.anatomy.patient import Patient
from thoracle.phantom.imaging.grid import Floats, smoothstep

#: Right upper, middle, lower, left upper, lower.
LOBES = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")

APEX = 108.0
#: What the lungs fit in, however deep the breath.
LUNG_BOX = ((-135.0, -98.0, -240.0), (135.0, 110.0, APEX + 6))
#: Middle of the vertebral bodies and of the descending aorta, (x, y).
SPINE, AORTA = (0.0, 66.0), (25.0, 50.0)
_CAVITY = (126.0, 89.0)
_HEART_CENTRE = np.array([22.0, -24.0, -54.0])
_HEART_AXIS = np.array([0.72, -0.46, -0.52])
#: Fat and pericardium between lung and heart, mm.
HEART_GAP = np.float32(2.5)
_DOMES = ((-62.0, -8.0, -58.0, 76.0, 96.0), (66.0, -4.0, -70.0, 76.0, 96.0), (6.0, -22.0, -84.0, 80.0, 90.0))


@dataclass(frozen=True, kw_only=True)
class Thorax:
    """Model one person's chest; `heart` is the heart's size relative to the canonical one."""

    patient: Patient
    heart: float

    def cavity(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Return the inner face of the rib cage, without lid or floor."""
        a, b, middle = self._cavity_axes(z)
        offset = y - middle
        k = np.sqrt((x / a) ** 2 + (offset / b) ** 2)
        k *= self._squareness(x, y, 0.05)
        k -= 1
        k *= (a + b) / 2
        return k

    def diaphragm(self, x: Floats, y: Floats) -> Floats:
        """Return the height of the diaphragm."""
        drop = -13 * self.patient.inspiration
        heights = []
        for cx, cy, top, rx, ry in _DOMES:
            height = np.asarray(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)
            np.clip(height, 0, 4, out=height)
            height **= np.float32(1.2)
            height *= -80
            height += top + drop
            heights.append(height)
        return np.asarray(np.maximum(np.maximum(heights[0], heights[1]), heights[2]).astype(np.float32, copy=False))

    def heart_surface(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Return the outer face of the heart: a body along its axis and the right atrium."""
        s = self.heart
        centre = _HEART_CENTRE + _HEART_AXIS * 30 * (s - 1) + np.array([0, 0, -6 * self.patient.inspiration])
        dx, dy, dz = x - np.float32(centre[0]), y - np.float32(centre[1]), z - np.float32(centre[2])
        along = dx * np.float32(_HEART_AXIS[0]) + dy * np.float32(_HEART_AXIS[1]) + dz * np.float32(_HEART_AXIS[2])
        square = dx * dx + dy * dy + dz * dz
        body = np.sqrt(along**2 * np.float32((1 / (58 * s)) ** 2 - (1 / (43 * s)) ** 2) + square * np.float32((1 / (43 * s)) ** 2)) - 1
        atrium = np.sqrt(((dx + 30) / (32 * s)) ** 2 + ((dy - 10) / (34 * s)) ** 2 + ((dz - 12) / (38 * s)) ** 2) - 1
        return np.asarray(np.minimum(body, atrium) * np.float32(42 * s))

    def heart_width(self) -> float:
        """Return the transverse diameter of the heart: from the right atrium's face to the left face of the leaning body."""
        lean = float(_HEART_AXIS[0])
        left = np.hypot(58 * lean, 43 * np.sqrt(1 - lean**2))
        return float(30 + (32 + left) * self.heart)

    def lung(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Return the outer face of both lungs: the cavity without spine, mediastinum, heart and what lies below the diaphragm."""
        distance = self.lung_without_heart(x, y, z, self.cavity(x, y, z))
        return np.asarray(np.maximum(distance, HEART_GAP - self.heart_surface(x, y, z), out=distance))

    def lung_without_heart(self, x: Floats, y: Floats, z: Floats, cavity: Floats) -> Floats:
        """Return the lung, as `lung` does, from a cavity already computed, where the heart is far."""
        distance = cavity + np.float32(1)
        np.maximum(distance, z - APEX, out=distance)
        np.maximum(distance, self.mediastinum(x, y, z), out=distance)
        np.maximum(distance, self.diaphragm(x, y) - z, out=distance)
        spine = 23 - np.hypot(x - SPINE[0], y - SPINE[1])
        aorta = 15 - np.hypot(x - AORTA[0], y - AORTA[1])
        return np.asarray(np.maximum(distance, np.maximum(spine, aorta), out=distance))

    def mediastinum(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Return a positive number inside the mediastinum's band: narrow in front, wide between the hila."""
        height = np.interp(z, (-140, -70, -20, 10, 50, 108), (24, 24, 33, 33, 29, 22)).astype(np.float32)
        profile = 0.2 + 0.8 * smoothstep((y + 76) / 40)
        return height * profile - np.abs(x - 3)

    def body(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Return the skin, with shoulders and neck."""
        a, b = self._body_axes
        shoulders, neck = smoothstep((z - 30) / 75), smoothstep((z - 126) / 40)
        wide, deep = a + 40 * shoulders, b - 12 * shoulders
        wide += neck * (60 + np.float32(0.35 * self.patient.fat) - wide)
        deep += neck * (64 + np.float32(0.3 * self.patient.fat) - deep)
        k = np.sqrt((x / wide) ** 2 + ((y - (4 + 46 * neck)) / deep) ** 2)
        k *= self._squareness(x, y, 0.075) * self._lumps(x, y)
        k -= 1
        k *= (wide + deep) / 2
        return np.asarray(k)

    def lobe(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Return the heights above the oblique and above the horizontal fissure; `lobe_index` makes lobes of them."""
        oblique = z + 20 - np.float32(1.15) * y + np.float32(0.0012) * (x * x - 4900)
        return oblique, z + 10 - np.float32(0.12) * y

    def lobe_index(self, x: Floats, y: Floats, z: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """Index into `LOBES`."""
        oblique, horizontal = self.lobe(x, y, z)
        right = np.where(oblique < 0, 2, np.where(horizontal < 0, 1, 0))
        return np.where(x > 3, np.where(oblique < 0, 4, 3), right)

    @cached_property
    def _body_axes(self) -> tuple[float, float]:
        wall = 12 + self.patient.muscle_bulk
        return _CAVITY[0] + wall + 1.05 * self.patient.fat, _CAVITY[1] + wall + 2 + 0.85 * self.patient.fat

    def wall(self, x: Floats, y: Floats) -> Floats:
        """Return the thickness of fat under the skin."""
        across, deep = x * x, y * y
        square = across + deep + np.float32(1e-9)
        return np.asarray(self.patient.fat * (1 - 0.25 * y / np.sqrt(square) + 0.12 * (across - deep) / square))

    def front(self, z: float) -> float:
        """Return y of the rib cage's front at a height."""
        return float(self.front_at(np.array([z], dtype=np.float32))[0])

    def front_at(self, z: Floats) -> Floats:
        """Return y of the rib cage's front at many heights."""
        _, b, middle = self._cavity_axes(z)
        return np.asarray(middle - b)

    @property
    def bounds(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Return the corners of a box that holds the body: shoulders, breasts and the bones beneath."""
        a, b = self._body_axes
        wide, breast = 1.08 * a + 44, 10 + self.patient.fat if self.patient.sex == "F" else 0.0
        return (-wide, -1.08 * b - breast, -360.0), (wide, 1.08 * b + 12, 260.0)

    def skin_before(self) -> float:
        """Return y of the skin over the breastbone."""
        return 4 - self._body_axes[1]

    def skin_behind(self) -> float:
        """Return y of the skin of the back."""
        return 4 + self._body_axes[1]

    def _cavity_axes(self, z: Floats) -> tuple[Floats, Floats, Floats]:
        up = np.clip((z + 30) / 140, 0, 0.995)
        deep = np.clip((z + 40) / 152, 0, 0.995)
        expansion = 1 + 0.02 * self.patient.inspiration
        a = _CAVITY[0] * expansion * np.sqrt(1 - up ** np.float32(2.6))
        b = _CAVITY[1] * expansion * np.sqrt(1 - deep ** np.float32(2.6))
        return a.astype(np.float32), b.astype(np.float32), (16 * deep**2 - 3).astype(np.float32)

    def _squareness(self, x: Floats, y: Floats, amount: float) -> Floats:
        """1 - amount * sin(2 angle) ** 2, without the angle."""
        across, deep = x * x, y * y * np.float32((_CAVITY[0] / _CAVITY[1]) ** 2)
        total = across + deep + np.float32(1e-9)
        return np.asarray(1 - np.float32(4 * amount) * (across * deep) / (total * total))

    def _lumps(self, x: Floats, y: Floats) -> Floats:
        angle = np.arctan2(y, x)
        uneven, wave = np.ones_like(angle), np.empty_like(angle)
        for order, (phase, size) in enumerate(self.patient.lumps, start=2):
            np.multiply(angle, np.float32(order), out=wave)
            wave += np.float32(phase)
            np.cos(wave, out=wave)
            wave *= np.float32(size)
            uneven += wave
        return uneven
