"""Ribs, spine, sternum, clavicles and shoulder blades, with the calcified cartilage of age."""

from __future__ import annotations

from typing import Final

import numpy as np

from thoracle.phantom.anatomy.thorax import SPINE
from thoracle.phantom.anatomy.tubes import joined, path
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import Floats, smoothstep, soft

#: Height of a vertebra with its disc, and so from rib to rib.
_PITCH: Final = 23.0
_SHOULDERS: Final = joined(
    path([(-14, -72, 72, 7), (-60, -64, 88, 6), (-120, -22, 104, 6), (-158, 4, 106, 7)]),
    path([(14, -72, 72, 7), (60, -64, 88, 6), (120, -22, 104, 6), (158, 4, 106, 7)]),
    path([(-86, 92, 82, 5), (-130, 76, 100, 6), (-160, 40, 106, 7)]),
    path([(86, 92, 82, 5), (130, 76, 100, 6), (160, 40, 106, 7)]),
    path([(-158, 22, 92, 19), (-176, 10, 118, 20)]),
    path([(158, 22, 92, 19), (176, 10, 118, 20)]),
)
_CORTEX_MM: Final = 1.6


def paint_skeleton(canvas: Canvas, cavity: Floats, uneven: Floats) -> None:
    """Paint all bones."""
    _paint_blades(canvas)
    _paint_ribs(canvas, cavity, uneven)
    _paint_spine(canvas, uneven)
    _paint_sternum(canvas)
    box, fraction = canvas.tubes(_SHOULDERS, canvas.thorax.patient.marrow_hu + 60)
    canvas.add(np.float32(0.5 * canvas.thorax.patient.cortex_hu) * fraction * (1 - fraction), box)


def _paint_ribs(canvas: Canvas, cavity: Floats, uneven: Floats) -> None:
    """Twelve arcs that fall from back to front in the shell around the cavity, the last of them short; cartilage in front."""
    patient, grid = canvas.thorax.patient, canvas.grid
    edge = grid.edge
    at = np.flatnonzero((np.abs(cavity - 5.5) < 4.5 + edge) & (grid.coordinates[2] < 105))
    x, y, z = grid.at(at)
    angle = np.arctan2(np.abs(x), y - 8)  # 0 behind, pi in front
    height = z + 19 * angle + 6 * angle**2
    phase = height / _PITCH
    off = (phase - np.floor(phase) - 0.5) * _PITCH
    distance = np.hypot((cavity.ravel()[at] - 5.5) / 4.2, off / 6.2) - 1
    fraction = soft(distance * np.float32(4.8), edge) * (angle < 3.3 + 0.022 * np.minimum(height + 100, 0)) * (height > -172)
    front = smoothstep((angle - 2.25 - 0.08 * np.sin(3 * phase)) / 0.12)
    bone = _bone_hu(canvas, distance * np.float32(4.8))
    flecks = np.clip(uneven.ravel()[at] + 1.2 * patient.calcified_cartilage - 0.3, 0, 1.5)
    cartilage = 95 + 420 * patient.calcified_cartilage * flecks
    values = canvas.hu.reshape(-1)
    values[at] += fraction * ((1 - front) * bone + front * cartilage - values[at])


def _paint_spine(canvas: Canvas, uneven: Floats) -> None:
    patient, edge = canvas.thorax.patient, canvas.grid.edge
    box = canvas.grid.box((-42, 44, -400), (42, 132, 400))
    x, y, z = canvas.grid.within(box).coordinates
    body = (np.hypot(x / 17.5, (y - SPINE[1]) / 15.0) - 1) * 16
    phase = z / np.float32(_PITCH)
    across = np.abs(phase - np.floor(phase) - 0.5) * np.float32(_PITCH)  # 0 in the middle of a vertebra
    disc = np.clip((across - 8.2) / 1.2, 0, 1)
    end_plate = np.clip(1 - np.abs(across - 7.6) / 1.6, 0, 1)
    shell = np.clip(1 - np.abs(body + 1) / np.float32(max(_CORTEX_MM, edge / 2)), 0, 1) * np.float32(min(1, _CORTEX_MM / edge))
    bone = patient.marrow_hu + 18 * uneven[box] + 0.35 * patient.cortex_hu * np.maximum(shell, 0.8 * end_plate)
    canvas.paint(soft(body, edge), bone * (1 - disc) + 85 * disc, box)
    ring = np.abs(np.hypot(x, (y - 91) / 0.95) - 12) - 3.2
    spine = np.maximum(np.abs(x) - 3.6, np.abs(y - 112 + 0.25 * across) - 13)
    wings = np.maximum(np.maximum(np.abs(y - 90 - 0.1 * np.abs(x)) - 5, np.abs(x) - 33), across - 5.5)
    arch = np.minimum(np.maximum(ring, across - 9), np.minimum(np.maximum(spine, across - 9), wings))
    canal = np.hypot(x, y - 91) - 8.5
    canvas.paint(soft(np.maximum(arch, -canal), edge), patient.marrow_hu * 0.6 + 0.4 * patient.cortex_hu, box)
    canvas.paint(soft(canal, edge), 22.0, box)


def _paint_sternum(canvas: Canvas) -> None:
    edge = canvas.grid.edge
    box = canvas.grid.box((-30, -115, -75), (30, -35, 85))
    x, y, z = canvas.grid.within(box).coordinates
    front = canvas.thorax.front_at(z)
    half = np.interp(z, (-70, -20, 55, 75), (9, 17, 18, 26)).astype(np.float32)
    slab = np.maximum(np.maximum(np.abs(y - front + 5.5) - 5.2, np.abs(x) - half), np.abs(z - 6) - 72)
    canvas.paint(soft(slab, edge), _bone_hu(canvas, slab) - 30, box)


def _paint_blades(canvas: Canvas) -> None:
    """Thin plates behind the upper ribs."""
    edge = canvas.grid.edge
    for side in (-1, 1):
        low, high = sorted((side * 62, side * 150))
        box = canvas.grid.box((low, 40, 5), (high, 122, 112))
        x, y, z = canvas.grid.within(box).coordinates
        lateral = np.abs(x) - 106
        plate = np.abs(y - 92 + 0.62 * lateral + 0.004 * lateral**2) - 2.8
        outline = (np.hypot(lateral / 42, (z - 58 - 0.2 * lateral) / 50) - 1) * 42
        canvas.paint(soft(np.maximum(plate, outline), edge), canvas.thorax.patient.cortex_hu * 0.55, box)


def _bone_hu(canvas: Canvas, distance: Floats) -> Floats:
    """Marrow inside a cortex; where a voxel is wider than the cortex, their mixture."""
    patient, edge = canvas.thorax.patient, canvas.grid.edge
    rim = np.clip(1 + distance / np.float32(max(_CORTEX_MM, edge)), 0, 1) * np.float32(min(1, 2 * _CORTEX_MM / max(edge, _CORTEX_MM)))
    return np.asarray(patient.marrow_hu + rim * np.float32(0.75) * (patient.cortex_hu - patient.marrow_hu))
