"""The pictures of docs are what `make pictures` draws."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "docs"
_IMAGE = re.compile(r"data:image/png;base64,([^\"]+)")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", FOLDER / "make_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _pixels(svg: str) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in _IMAGE.findall(svg)]


def test_pictures_are_current(script: ModuleType) -> None:
    """Words and shapes to the letter; grey values to what another processor may round otherwise."""
    drawn = script.pictures()
    assert sorted(drawn) == sorted(path.name for path in (FOLDER / "pictures").glob("*.svg"))
    for name, svg in drawn.items():
        ElementTree.fromstring(svg)
        written = (FOLDER / "pictures" / name).read_text()
        assert _IMAGE.sub("", written) == _IMAGE.sub("", svg), "run `make pictures`"
        for ours, theirs in zip(_pixels(svg), _pixels(written), strict=True):
            np.testing.assert_allclose(ours.astype(int), theirs.astype(int), atol=2)
        assert "Research use only. Not a medical device." in svg


def test_a_png_holds_its_grey_values(script: ModuleType) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(300, 257), dtype=np.uint8)  # more than one stored block
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(script.grey_png(pixels)))), pixels)


def test_every_count_of_the_data_set_is_drawn_and_adds_up(script: ModuleType) -> None:
    counts = json.loads(script.COUNTS.read_text())
    svg = script.data_picture(counts)
    assert sum(counts["number"].values()) == counts["scans"] == sum(counts["maker"].values())
    assert sum(int(n) * scans for n, scans in counts["number"].items()) == sum(counts["findings"].values())
    assert sum(counts["age"].values()) == counts["patients"] == sum(counts["sex"].values())
    shown = set(re.findall(r">([\d,]+)</text>", svg))
    assert {f"{count:,}" for group in ("findings", "number", "age", "sex", "maker") for count in counts[group].values()} <= shown
