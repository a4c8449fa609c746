"""What the slices show: real HU on the right side, measures, windows, pictures where there is no WebGL."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

import thoracle
from tests.serving.page.conftest import EFFUSION_AND_NODULE, TIMEOUT_MS, Phantom, crosshair, open_file
from thoracle.phantom.layout import nifti

pytest.importorskip("pytest_playwright", reason="pip install 'thoracle[services]'")
from playwright.sync_api import Browser, Page  # by the line above

pytestmark = pytest.mark.service


def go_to(page: Page, mm: tuple[float, float, float]) -> None:
    page.evaluate("mm => thoracle.page.first.moveTo(mm)", list(mm))


def shown_hu(page: Page) -> int:
    return int(page.locator(".hu").first.inner_text().split()[0])


def drop(page: Page, *paths: Path) -> None:
    """Drop files or folders from outside the browser on the page, as a person does."""
    devtools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for event in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": event, "x": 300, "y": 300, "data": data})


def brightness(page: Page, mm: tuple[float, float, float]) -> float:
    """How bright the axial plane is about a point, of a picture of the screen."""
    go_to(page, (mm[0], mm[1] + 15, mm[2]))  # so that the crosshair's lines do not cross it
    page.evaluate("thoracle.page.first.settled()")
    x, y = page.evaluate("mm => { const v = thoracle.page.first; return v.panes[0].placeOf(v.shownGrid.toFractions(mm)) }", list(mm))
    box = page.locator(".stage").first.bounding_box()
    assert box is not None
    picture = page.screenshot(clip={"x": box["x"] + x - 3, "y": box["y"] + y - 3, "width": 7, "height": 7})
    return float(np.asarray(Image.open(io.BytesIO(picture)).convert("L")).mean())


def test_a_folder_that_is_dropped_is_read_with_all_that_lies_in_it(opened: Page, data_dir: Path, tmp_path: Path) -> None:
    files = sorted((data_dir / "dicom" / "cip_ct64").iterdir())
    for number, file in enumerate(files):
        inside = tmp_path / "study" / ("upper" if number % 2 else "lower/deep")
        inside.mkdir(parents=True, exist_ok=True)
        (inside / file.name).write_bytes(file.read_bytes())
    drop(opened, tmp_path / "study")
    opened.locator(".scan-shown", has_text="study").locator(".scan-finding").wait_for()
    assert opened.locator(".scan-shown .scan-shape").inner_text() == f"64 × 64 × {len(files)}"


def test_a_header_that_is_dropped_with_its_data_is_one_scan(opened: Page, data_dir: Path, tmp_path: Path) -> None:
    volume = thoracle.read(data_dir / "dicom" / "cip_ct64")
    spacing, shape = (" ".join(map(str, numbers)) for numbers in (volume.spacing, volume.array.shape))
    (tmp_path / "Müller.raw").write_bytes(np.asarray(volume.array).astype("<i2").tobytes("F"))
    fields = f"NDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nElementSpacing = {spacing}\nDimSize = {shape}"
    (tmp_path / "Müller.mhd").write_text(f"ObjectType = Image\n{fields}\nElementType = MET_SHORT\nElementDataFile = Müller.raw\n")
    drop(opened, tmp_path / "Müller.raw", tmp_path / "Müller.mhd")
    opened.locator(".scan-shown").locator(".scan-finding").wait_for()
    assert opened.locator(".scan").count() == 1
    go_to(opened, (0, 0, 0))
    assert opened.locator(".scan-shown .scan-shape").inner_text() == " × ".join(map(str, volume.array.shape))


def test_a_dicom_folder_shows_its_hu_on_the_side_where_they_are(opened: Page, data_dir: Path) -> None:
    """Two voxels of one row of the files, one on either side of the patient: what pydicom reads is what the page says and shows."""
    folder = data_dir / "dicom" / "cip_ct64"
    slices = sorted((pydicom.dcmread(path) for path in folder.glob("*.dcm")), key=lambda header: float(header.ImagePositionPatient[2]))
    middle = slices[len(slices) // 2]
    hu = middle.pixel_array * float(middle.RescaleSlope) + float(middle.RescaleIntercept)
    row = hu.shape[0] // 2
    differences = hu[row] - hu[row, ::-1]
    column = int(np.abs(differences[4 : hu.shape[1] // 2]).argmax()) + 4  # of the patient's right half, with its mirror image on the left
    x, y, z = (float(value) for value in middle.ImagePositionPatient)
    down, across = (float(value) for value in middle.PixelSpacing)

    open_file(opened, folder)
    points = {}
    for side, at in (("right", column), ("left", hu.shape[1] - 1 - column)):
        points[side] = (-(x + at * across), -(y + row * down), z)  # DICOM counts towards left and back
        go_to(opened, points[side])
        assert shown_hu(opened) == round(hu[row, at])
    bright = {side: brightness(opened, point) for side, point in points.items()}
    assert (bright["right"] > bright["left"]) == (differences[column] > 0)
    assert opened.locator(".side-left").first.text_content() == "R"

    right_half = opened.locator(".stage").first.bounding_box()
    assert right_half is not None
    opened.mouse.click(right_half["x"] + 60, right_half["y"] + right_half["height"] / 2)
    go_right = crosshair(opened)
    assert go_right[0] > points["left"][0], "the left of the screen is the patient's right"


def test_keys_change_the_window_and_scroll(seen: Page) -> None:
    stage = seen.locator(".stage").first
    stage.focus()
    before = crosshair(seen)
    seen.keyboard.press("PageUp")
    after = crosshair(seen)
    assert after[2] - before[2] == pytest.approx(4.0, abs=0.01), "one slice of 4 mm towards the head"
    seen.keyboard.press("2")
    assert seen.get_by_role("button", name="Mediastinum").get_attribute("aria-pressed") == "true"
    seen.keyboard.press("3")
    assert seen.evaluate("thoracle.settings.window.level") == 400
    seen.keyboard.press("a")
    assert seen.locator(".pane-marks").count() == 1
    seen.keyboard.press("Escape")
    assert seen.locator(".pane-marks").count() == 3


def test_a_circle_gives_mean_and_deviation_of_its_voxels_and_a_line_its_length(seen: Page, phantoms: dict[str, Phantom]) -> None:
    stored = phantoms[EFFUSION_AND_NODULE].scan.volumes[0].stored
    go_to(seen, tuple(seen.evaluate("thoracle.page.first.grid.toMm([0.5, 0.5, 0.5])")))
    centre = np.array(crosshair(seen))
    seen.locator(".stage").first.focus()
    seen.keyboard.press("o")
    seen.keyboard.press("Enter")
    words = seen.locator(".measure-words").first.text_content() or ""

    spacing, origin = np.array(stored.spacing), np.array(stored.origin)
    grid = np.stack(np.meshgrid(*(np.arange(size) for size in stored.hu.shape), indexing="ij"), axis=-1) * spacing + origin
    ras = grid * [-1, -1, 1]
    inside = (np.abs(ras[..., 2] - centre[2]) < spacing[2] / 2) & (np.linalg.norm(ras[..., :2] - centre[:2], axis=-1) <= 10)
    values = stored.hu[inside]
    assert words == f"{round(float(values.mean()))} ± {round(float(values.std()))} HU · Ø 20.0 mm · {len(values)} voxels"

    seen.keyboard.press("r")
    seen.keyboard.press("d")
    seen.keyboard.press("Enter")
    for _ in range(5):
        seen.keyboard.press("ArrowRight")
    seen.keyboard.press("Enter")
    length = 5 * stored.spacing[0]
    assert seen.locator(".measure-words").first.text_content() == f"{length:.1f} mm"


def test_a_file_that_is_dropped_is_opened(opened: Page, phantoms: dict[str, Phantom]) -> None:
    content = base64.b64encode(phantoms[EFFUSION_AND_NODULE].path.read_bytes()).decode()
    drop = """content => {
      const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0))
      const dataTransfer = new DataTransfer()
      dataTransfer.items.add(new File([bytes], 'SURNAME_firstname.nii.gz'))
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }))
    }"""
    opened.evaluate(drop, content)
    opened.locator(".finding").first.wait_for()
    assert opened.locator(".scan-name").first.inner_text() == "SURNAME_firstname.nii.gz", "this browser knows the name"
    listed = opened.evaluate("fetch('/api/v1/scans').then(answer => answer.text())")
    assert "SURNAME" not in listed
    assert json.loads(listed)["scans"]


def test_a_preview_is_first_and_every_voxel_on_demand(opened: Page, phantoms: dict[str, Phantom], tmp_path: Path) -> None:
    stored = phantoms[EFFUSION_AND_NODULE].scan.volumes[0].stored
    fine = np.repeat(stored.hu, 3, axis=0)
    spacing = (stored.spacing[0] / 3, *stored.spacing[1:])
    (tmp_path / "fine.nii.gz").write_bytes(nifti(fine, spacing=spacing, origin=stored.origin))
    open_file(opened, tmp_path / "fine.nii.gz")
    opened.locator(".note", has_text="Preview of 144 × 96").wait_for()
    assert "HU in the preview" in opened.locator(".hu").inner_text()
    opened.locator(".stage").focus()
    opened.keyboard.press("f")
    opened.locator("#full[disabled]").wait_for()
    assert opened.evaluate("thoracle.page.first.volume.dims") == list(fine.shape)


def test_without_webgl_slices_come_as_pictures(browser: Browser, address: str, phantoms: dict[str, Phantom]) -> None:
    bare = browser.browser_type.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-3d-apis"])
    page = bare.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(address)
    page.set_input_files("#file-input", phantoms[EFFUSION_AND_NODULE].path)
    page.locator(".finding").first.wait_for()
    page.locator(".hu", has_text="HU").wait_for()
    assert page.locator(".stage").get_attribute("data-renderer") == "pictures"
    assert "No WebGL" in page.locator(".note").inner_text()
    stored = phantoms[EFFUSION_AND_NODULE].scan.volumes[0].stored
    assert list(stored.hu.shape) == page.evaluate("thoracle.page.first.settled().then(() => thoracle.page.first.scan.shape)")
    picture = np.asarray(Image.open(io.BytesIO(page.locator("canvas.slices").screenshot())).convert("L"))
    assert picture.std() > 20, "a chest, and not a black screen"
    page.locator('[data-finding="Pleural effusion"] .finding-head').click()
    page.locator(".map-part").wait_for()
    coloured = Image.open(io.BytesIO(page.locator("canvas.slices").screenshot())).convert("RGB")
    red, _, blue = np.asarray(coloured, np.int16).transpose(2, 0, 1)
    assert (red - blue > 60).sum() > 100, "the map lies over the slices"
    bare.close()
