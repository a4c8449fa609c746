"""The page as a whole: refusals, sizes, accessibility, and that it is small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.serving.page.conftest import AXE, EFFUSION_AND_NODULE, Phantom, open_file
from thoracle.types import RESEARCH_USE

pytest.importorskip("pytest_playwright", reason="pip install 'thoracle[services]'")
from playwright.sync_api import Page, expect  # by the line above

pytestmark = pytest.mark.service

STATIC = Path(__file__).parents[3] / "src" / "thoracle" / "serving" / "static"


def serious(page: Page) -> list[str]:
    """What axe-core finds that is serious or worse."""
    found: dict[str, Any] = page.evaluate("axe.run()")
    return [
        f"{violation['id']}: {node['html'][:120]}"
        for violation in found["violations"]
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth"))


def test_a_refusal_shows_the_librarys_words_and_cure(opened: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Dear colleague, this is no scan.")
    opened.set_input_files("#file-input", tmp_path / "notes.txt")
    refusal = opened.locator(".scan .refusal")
    refusal.wait_for()
    assert "Unsupported format" in refusal.inner_text()
    assert "Give a" in refusal.inner_text()
    opened.get_by_role("button", name="Remove notes.txt").click()
    expect(opened.locator(".scan")).to_have_count(0)


def test_a_query_without_a_question_is_refused_in_words(seen: Page) -> None:
    seen.get_by_role("tab", name="Similar").click()
    seen.get_by_label("Like this scan").uncheck()
    seen.get_by_role("button", name="Search", exact=True).click()
    expect(seen.locator(".hits .refusal")).to_be_visible()


def test_nothing_serious_for_those_who_do_not_see_or_use_a_mouse(page: Page, address: str, phantoms: dict[str, Phantom]) -> None:
    page.add_init_script(path=AXE)
    page.set_default_timeout(120_000)
    page.goto(address)
    open_file(page, phantoms[EFFUSION_AND_NODULE].path)
    page.locator('[data-finding="Pleural effusion"] .finding-head').click()
    page.locator(".map-part").wait_for()
    faults = []
    for _ in ("dark", "light"):
        for tab in ("Findings", "Similar", "Ask"):
            page.get_by_role("tab", name=tab).click()
            faults += serious(page)
        page.get_by_role("button", name="Table").click()
        faults += serious(page)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Dark or light").click()
    assert not faults


@pytest.mark.parametrize("width", [1280, 2560])
def test_it_fits_and_says_what_it_is_for(width: int, seen: Page) -> None:
    seen.set_viewport_size({"width": width, "height": width * 5 // 8})
    for tab in ("Findings", "Similar", "Ask"):
        seen.get_by_role("tab", name=tab).click()
        assert fits(seen)
        expect(seen.get_by_text(RESEARCH_USE)).to_be_in_viewport()


def test_many_scans_are_a_table_that_sorts(seen: Page, phantoms: dict[str, Phantom]) -> None:
    for name, phantom in phantoms.items():
        if name != EFFUSION_AND_NODULE:
            open_file(seen, phantom.path)
    seen.locator(".scan").nth(1).wait_for()
    seen.get_by_role("button", name="Table").click()
    rows = seen.locator(".scan-table tbody tr")
    expect(rows).to_have_count(2)
    seen.get_by_role("button", name="Pleural effusion", exact=True).click()
    column = seen.locator(".scan-table thead th").all_inner_texts().index("Pleural effusion")
    values = [float(entry.locator("th, td").nth(column).inner_text()) for entry in rows.all()]
    assert values == sorted(values, reverse=True)
    with seen.expect_download() as download:
        seen.get_by_role("link", name="Table as CSV").click()
    assert Path(download.value.path()).read_text().count("\n") >= 3


def test_the_page_is_less_than_a_megabyte_of_script_of_its_own(opened: Page) -> None:
    scripts = sum(path.stat().st_size for path in STATIC.rglob("*.js"))
    assert scripts < 1_000_000
    assert "BSD 2-Clause" in (STATIC / "vendor" / "niivue.LICENSES.txt").read_text()
    assert opened.locator("script:not([src]), [onclick]").count() == 0
