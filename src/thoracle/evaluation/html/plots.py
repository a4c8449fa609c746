"""Draw pictures as SVG text or PNG bytes: lines in panels, figures with intervals, slices of a scan."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from thoracle.metrics.bootstrap import Interval

#: Told apart by most people who see colours otherwise (Okabe and Ito, 2008).
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
#: One after the other, from none to most.
_STEPS: Final = ("#000000", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7")
#: HU from black to white: lung and soft tissue both.
WINDOW: Final = (-1000.0, 400.0)
_SETTINGS: Final[Any] = {  # matplotlib's type of it has three hundred names
    "svg.fonttype": "none",
    "svg.hashsalt": "thoracle",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """Join points in order; with `marker` they are dots as well."""

    x: ArrayLike
    y: ArrayLike
    label: str = ""
    marker: str = ""
    style: str = "-"


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Hold one pair of axes; `limits` fixes both axes to 0 to 1, `diagonal` draws chance, or truth."""

    title: str
    lines: Sequence[Line]
    x: str = ""
    y: str = ""
    unit: bool = False
    diagonal: bool = False


def panels(contents: Sequence[Panel], *, columns: int = 6, size: float = 2.1) -> str:
    """Draw SVG panels in rows of `columns`, each `size` inches wide and high."""
    columns = min(columns, len(contents))
    rows = -(-len(contents) // columns)
    with matplotlib.rc_context(_SETTINGS):
        drawing, axes = _grid(rows, columns, size)
        for ax, panel in zip(axes, contents, strict=False):
            _draw(ax, panel)
        for ax in axes[len(contents) :]:
            ax.set_visible(False)
        return _svg(drawing)


def dots(names: Sequence[str], series: Mapping[str, Sequence[Interval]], *, x: str, reference: float | None = None) -> str:
    """Draw figures with their intervals as SVG, one row a name, one colour a series; `reference` is a dashed line."""
    with matplotlib.rc_context(_SETTINGS):
        drawing = Figure(figsize=(7, 0.8 + 0.27 * len(names)), layout="constrained")
        ax = drawing.subplots()
        heights = np.arange(len(names))[::-1]
        for number, (label, intervals) in enumerate(series.items()):
            value = np.array([interval.value for interval in intervals])
            reach = np.abs(np.array([[interval.low, interval.high] for interval in intervals]).T - value)
            shift = 0.2 * (number - (len(series) - 1) / 2)
            ax.errorbar(value, heights - shift, xerr=reach, fmt="o", ms=4, lw=1.2, color=COLOURS[number % len(COLOURS)], label=label)
        if reference is not None:
            ax.axvline(reference, ls="--", lw=0.8, color="grey")
        ax.set_yticks(heights, names)
        ax.set_xlabel(x)
        ax.grid(axis="x", lw=0.3)
        if len(series) > 1:
            drawing.legend(loc="outside lower center", ncols=min(len(series), 3), frameon=False)
        return _svg(drawing)


def histogram(values: Mapping[str, ArrayLike], *, x: str, bins: int = 60) -> str:
    """Draw fractions as SVG, one colour a series."""
    with matplotlib.rc_context(_SETTINGS):
        drawing = Figure(figsize=(6, 2.6), layout="constrained")
        ax = drawing.subplots()
        together = np.concatenate([np.asarray(sample, dtype=np.float64) for sample in values.values()])
        edges = np.histogram_bin_edges(together, bins)
        for colour, (label, sample) in zip(COLOURS, values.items(), strict=False):
            array = np.asarray(sample, dtype=np.float64)
            ax.hist(array, edges.tolist(), weights=np.full(len(array), 1 / len(array)), alpha=0.6, color=colour, label=label)
        ax.set_xlabel(x)
        ax.set_ylabel("share")
        ax.legend(frameon=False)
        return _svg(drawing)


@dataclass(frozen=True, kw_only=True, eq=False)
class PointGroup:
    """Group points that share a colour."""

    label: str
    keep: NDArray[np.bool_]


def scatter(
    halves: Sequence[NDArray[Any]], groups: Sequence[Sequence[PointGroup]], *, titles: Sequence[str], size: float, note: str
) -> bytes:
    """Draw a PNG: a panel for each of `groups`, `note` below all; the first half's points are dots, the second's are squares."""
    columns = min(6, len(groups))
    rows = -(-len(groups) // columns)
    with matplotlib.rc_context(_SETTINGS):
        drawing, axes = _grid(rows, columns, size)
        for ax, panel, title in zip(axes, groups, titles, strict=False):
            for colour, group in zip(("#56b4e9", "#d55e00") if len(panel) == 2 else _STEPS, panel, strict=False):
                for half, marker in zip(halves, ("o", "s"), strict=False):
                    face = colour if marker == "o" else "none"
                    ax.scatter(*half[group.keep].T, s=6, marker=marker, facecolors=face, edgecolors=colour, lw=0.5, alpha=0.7)
                ax.scatter([], [], color=colour, s=12, label=group.label)
            ax.set_title(title, fontsize=8)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.legend(fontsize=6.5, frameon=False)
        for ax in axes[len(groups) :]:
            ax.set_visible(False)
        drawing.text(0.45 / (size * columns), 0.12 / (size * rows), note, fontsize=8)
        out = io.BytesIO()
        drawing.savefig(out, format="png", dpi=110, metadata={"Software": None})
        return out.getvalue()


def slices(
    hu_ZHW: NDArray[Any], *, mask_ZHW: NDArray[Any] | None = None, at: tuple[int, int, int] | None = None, zoom: float = 1.0
) -> bytes:
    """Draw a PNG of an axial, a coronal and a sagittal slice, as radiologists look at them; a mask is drawn over in colour.

    Args:
        hu_ZHW: (z, x, y) in HU, of the LPS array, as `preprocess` orders it.
        mask_ZHW: alike, 0 where there is nothing.
        at: the voxel that slices go through; the middle, or the mask's middle, if absent.
        zoom: pixels a voxel.
    """
    if at is None:
        marked = np.argwhere(mask_ZHW) if mask_ZHW is not None else np.empty((0, 3))
        middle = np.median(marked, axis=0) if len(marked) else np.array(hu_ZHW.shape) // 2
        at = (int(middle[0]), int(middle[1]), int(middle[2]))
    grey = np.clip((np.asarray(hu_ZHW, dtype=np.float32) - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1)
    pictures = [_coloured(_cuts(grey, at)[n], None if mask_ZHW is None else _cuts(mask_ZHW, at)[n]) for n in range(3)]
    height = max(len(picture) for picture in pictures)
    padded = [np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0))) for picture in pictures]
    return png(np.concatenate(padded, axis=1), zoom=zoom)


def heat_slices(
    hu_XYZ: NDArray[Any], heat_XYZ: NDArray[Any], *, at: Sequence[int], titles: Sequence[str], pixel: tuple[float, float], title: str
) -> bytes:
    """Draw a PNG of axial slices side by side, as radiologists look at them, what is positive in `heat_XYZ` over them.

    Args:
        hu_XYZ, heat_XYZ: alike, the LPS array of a scan; one scale of colour for all slices, the more of it the less can be seen through.
        at: which slices.
        titles: one for each of them.
        pixel: mm along x and y.
        title: over all.
    """
    with matplotlib.rc_context(_SETTINGS):
        drawing = Figure(figsize=(3.6 * len(at), 4.0), layout="constrained")
        axes = drawing.subplots(1, len(at), squeeze=False).ravel().tolist()
        for ax, z, words in zip(axes, at, titles, strict=True):
            slices_of = (hu_XYZ[:, :, z], heat_XYZ[:, :, z])
            _draw_heat(ax, *slices_of, most=float(heat_XYZ.max()), aspect=pixel[1] / pixel[0], title=words)
        drawing.suptitle(title, fontsize=9)
        return _png_of(drawing)


def heat_columns(hu_XY: NDArray[Any], heats: Mapping[str, tuple[NDArray[Any], float]]) -> bytes:
    """Draw a PNG of one axial slice several times, as radiologists look at it, a heat over each.

    Args:
        hu_XY: HU of square voxels.
        heats: by title, alike, and what has its full colour.
    """
    with matplotlib.rc_context(_SETTINGS):
        drawing = Figure(figsize=(2.2 * len(heats), 2.4), layout="constrained")
        axes = drawing.subplots(1, len(heats), squeeze=False).ravel().tolist()
        for ax, (title, (heat_XY, most)) in zip(axes, heats.items(), strict=True):
            _draw_heat(ax, hu_XY, heat_XY, most=most, aspect=1.0, title=title)
        return _png_of(drawing)


def _draw_heat(ax: Any, hu_XY: NDArray[Any], heat_XY: NDArray[Any], *, most: float, aspect: float, title: str) -> None:
    heat = np.clip(heat_XY.T / max(most, np.finfo(np.float32).tiny), 0, 1)
    ax.imshow(hu_XY.T, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], aspect=aspect, interpolation="nearest")
    ax.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.6 * heat, aspect=aspect, interpolation="nearest")
    ax.set_title(title, fontsize=8)
    ax.set_axis_off()


def _png_of(drawing: Figure) -> bytes:
    out = io.BytesIO()
    drawing.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()


def png(rgb_HWC: NDArray[Any], *, zoom: float = 1.0) -> bytes:
    """Encode an RGB array of 0 to 1 as PNG."""
    from PIL import Image

    picture = Image.fromarray((np.clip(rgb_HWC, 0, 1) * 255).astype(np.uint8))
    if zoom != 1:
        picture = picture.resize((round(picture.width * zoom), round(picture.height * zoom)), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def _cuts(array_ZHW: NDArray[Any], at: tuple[int, int, int]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Axial with anterior up and the patient's right at the left; coronal and sagittal with the head up."""
    z, x, y = at
    return array_ZHW[z].T, array_ZHW[::-1, :, y], array_ZHW[::-1, x, :]


def _coloured(grey_HW: NDArray[Any], mask_HW: NDArray[Any] | None) -> NDArray[np.float32]:
    rgb = np.repeat(grey_HW[..., None], 3, axis=2).astype(np.float32)
    if mask_HW is not None:
        inside = np.asarray(mask_HW) != 0
        rgb[inside] = 0.55 * rgb[inside] + 0.45 * np.array([1.0, 0.25, 0.0], dtype=np.float32)
    return rgb


def _grid(rows: int, columns: int, size: float) -> tuple[Figure, list[Any]]:
    """Axes with fixed room for ticks and titles; matplotlib's own layout of eighteen takes longer than all else."""
    drawing = Figure(figsize=(size * columns, size * rows))
    axes = drawing.subplots(rows, columns, squeeze=False).ravel().tolist()
    room = 0.55 / (size - 0.55)
    above = 0.68 / (size - 0.68)  # ticks and name of the axis, and the title of the one below
    edges = {"left": 0.45 / (size * columns), "right": 1 - 0.1 / (size * columns)}
    drawing.subplots_adjust(**edges, bottom=0.38 / (size * rows), top=1 - 0.2 / (size * rows), wspace=room, hspace=above)
    return drawing, axes


def _draw(ax: Any, panel: Panel) -> None:
    if panel.diagonal:
        ax.plot([0, 1], [0, 1], ls="--", lw=0.7, color="grey")
    for colour, line in zip(COLOURS, panel.lines, strict=False):
        ax.plot(line.x, line.y, ls=line.style, lw=1.2, color=colour, marker=line.marker or None, ms=3, label=line.label or None)
    if panel.unit:
        ax.set_xlim(-0.02, 1.02)
        ax.set_ylim(-0.02, 1.02)
    ax.set_title(panel.title, fontsize=8)
    ax.set_xlabel(panel.x, fontsize=8)
    ax.set_ylabel(panel.y, fontsize=8)
    ax.tick_params(labelsize=7)
    if any(line.label for line in panel.lines):
        ax.legend(fontsize=6.5, frameon=False, loc="upper left")


def _svg(drawing: Figure) -> str:
    out = io.StringIO()
    drawing.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]  # without the declaration, which a page has no place for
