from __future__ import annotations

import io

import numpy as np
from PIL import Image

from thoracle.evaluation.html import plots
from thoracle.metrics.bootstrap import Interval


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_svgs_are_the_same_for_the_same_numbers_and_hold_their_words_as_text() -> None:
    panel = plots.Panel(title="ROC", lines=[plots.Line(x=[0, 1], y=[0, 1], label="model")], x="1 - specificity", unit=True, diagonal=True)
    svg = plots.panels([panel, panel], columns=2)
    assert svg == plots.panels([panel, panel], columns=2)
    assert svg.startswith("<svg")
    assert "ROC" in svg
    interval = Interval(value=0.5, low=0.4, high=0.6)
    assert "Emphysema" in plots.dots(["Emphysema"], {"a": [interval], "b": [interval]}, x="AUROC", reference=0.5)
    assert "cosine" in plots.histogram({"same": [0.1, 0.2], "other": [0.3]}, x="cosine", bins=4)


def test_slices_go_through_the_masks_middle_and_mark_it() -> None:
    hu = np.full((4, 6, 8), -1000.0)
    mask = np.zeros(hu.shape, bool)
    mask[3, 5, 7] = True
    plain, marked = picture(plots.slices(hu)), picture(plots.slices(hu, mask_ZHW=mask))
    assert plain.shape == marked.shape == (8, 6 + 6 + 8, 3)
    assert plain.max() == 0
    assert (marked[7, 5] == [114, 28, 0]).all()
    assert (marked.max(axis=2) > 0).sum() == 3
    assert picture(plots.slices(hu, zoom=2.0)).shape[0] == 16


def test_heat_and_scatter_are_pngs() -> None:
    hu = np.zeros((6, 6, 3))
    heat = plots.heat_slices(hu, np.ones_like(hu), at=[0, 2], titles=["a", "b"], pixel=(1.0, 1.0), title="t")
    group = plots.PointGroup(label="present", keep=np.array([True, False, True]))
    dots = plots.scatter([np.zeros((3, 2)), np.ones((3, 2))], [[group, group]], titles=["x"], size=3.0, note="n")
    assert heat[:4] == dots[:4] == b"\x89PNG"
