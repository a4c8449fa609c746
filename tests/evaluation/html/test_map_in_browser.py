"""The interactive map in a real browser: it is drawn, it answers the pointer, and it asks for nothing from the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.services import require_service
from thoracle.evaluation.latent_space import measures
from thoracle.evaluation.latent_space.evaluate import SpaceEvaluation
from thoracle.evaluation.latent_space.hierarchy import measure_hierarchy
from thoracle.evaluation.latent_space.order import measure_order
from thoracle.evaluation.latent_space.report import report_files

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.mark.service
def test_the_map_of_latents_is_drawn_and_names_what_is_pointed_at(tmp_path: Path) -> None:
    chromium = require_service("chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'thoracle[services]'")
    random = np.random.default_rng(0)
    image, text = (latents / np.linalg.norm(latents, axis=1, keepdims=True) for latents in random.normal(size=(2, 12, 8)))
    truth = random.integers(2, size=(12, 2)).astype(float)
    labels = ("Emphysema", "</script><b>")
    names = [f"scan {number}" for number in range(12)]
    draws = {"patients": names, "resamples": 5}
    space = SpaceEvaluation(
        geometry=measures.measure_latent_space(image, text, truth_NK=truth, labels=labels, **draws),
        order=measure_order(image, truth_NK=truth, labels=labels, **draws),
        hierarchy=measure_hierarchy(image, truth_NK=truth, **draws),
    )
    files = report_files(space, image, text, names=names, truth_NK=truth, labels=labels, notes=["12 scans"])
    (tmp_path / "space.html").write_bytes(files["space.html"])
    errors: list[str] = []
    requests: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: requests.append(request.url))
        page.goto((tmp_path / "space.html").as_uri())
        drawn = page.evaluate("drawn.map(({x, y, row, modality}) => ({x, y, name: row.name, modality}))")
        colored = "[...context.getImageData(0, 0, canvas.width, canvas.height).data].some((shade, index) => index % 4 === 3 && shade > 0)"
        assert page.evaluate(colored)
        assert sorted(point["name"] for point in drawn if point["modality"] == "image") == sorted(names)
        canvas = page.locator("#map")
        scale = canvas.bounding_box()["width"] / page.evaluate("canvas.width")
        canvas.hover(position={"x": drawn[0]["x"] * scale, "y": drawn[0]["y"] * scale})
        assert page.locator("#tip").inner_text().startswith(f"{drawn[0]['name']}, image")
        page.select_option("#colour", label=labels[0])
        assert "present" in page.locator("#legend").inner_text()
        browser.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
