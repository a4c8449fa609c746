"""What a reader does: findings with their maps, agreement, a second scan, similar cases, questions, and an address to pass on."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.language_server import LanguageServer
from tests.serving.page.conftest import EFFUSION_AND_NODULE, Phantom, crosshair, token_of
from thoracle.types import ABNORMALITIES

pytest.importorskip("pytest_playwright", reason="pip install 'thoracle[services]'")
from playwright.sync_api import Page, expect  # by the line above

pytestmark = pytest.mark.service


def row(page: Page, finding: str):  # a locator
    return page.locator(f'[data-finding="{finding}"]')


def show(page: Page, finding: str) -> None:
    row(page, finding).locator(".finding-head").click()
    row(page, finding).locator(".map-part").wait_for()


def holds(phantom: Phantom, finding: str, page: Page) -> bool:
    """Whether the axial slice at the crosshair holds some of a finding that was painted."""
    voxel = page.evaluate("thoracle.page.first.grid.toVoxel(thoracle.page.first.mm)")
    return bool(phantom.mask(ABNORMALITIES.index(finding))[:, :, round(voxel[2])].any())


@pytest.mark.parametrize("finding", ["Pleural effusion", "Lung nodule"])
def test_a_finding_is_shown_where_it_was_painted_with_the_rate_of_such_slices(
    finding: str, seen: Page, phantoms: dict[str, Phantom]
) -> None:
    phantom = phantoms[EFFUSION_AND_NODULE]
    assert phantom.scan.labels[ABNORMALITIES.index(finding)] == 1
    show(seen, finding)
    assert holds(phantom, finding, seen), "the strongest slice"
    rate = row(seen, finding).locator(".rate").inner_text()
    assert re.search(r"The strongest slice holds it in \d+% of phantom scans with it: (\d+ points more|no better)", rate)
    assert "side right in" in row(seen, finding).locator(".place").inner_text()
    seen.keyboard.press("l")
    where = seen.evaluate("thoracle.page.first.map.volume.at(thoracle.page.first.mm)")
    assert where == pytest.approx(seen.evaluate("thoracle.page.first.map.range[1]"), rel=1e-4), "the strongest patch"


def test_verdicts_say_their_limits_and_bars_are_sorted(seen: Page) -> None:
    effusion = row(seen, "Pleural effusion")
    show(seen, "Pleural effusion")
    assert re.search(r"Present: 0\.\d\d is above 0\.\d\d, from where this finding is called present", effusion.inner_text())
    verdicts = [entry.get_attribute("data-verdict") for entry in seen.locator(".finding").all()]
    ranks = [["present", "cannot tell", "absent"].index(str(verdict)) for verdict in verdicts]
    assert ranks == sorted(ranks)
    seen.get_by_label("by verdict").uncheck()
    numbers = [float(text) for text in seen.locator(".finding-head > .finding-number").all_inner_texts()]
    assert len(numbers) == len(ABNORMALITIES)
    assert numbers == sorted(numbers, reverse=True)


def test_agreement_becomes_a_table_of_labels(seen: Page, address: str) -> None:
    with seen.expect_response(re.compile("/verdicts/")):
        row(seen, "Pleural effusion").get_by_role("button", name="Agree: Pleural effusion", exact=True).click()
    expect(row(seen, "Pleural effusion").locator(".judge-agree")).to_have_attribute("aria-pressed", "true")
    server = address.split("/?", maxsplit=1)[0]
    header, *rows = httpx.get(f"{server}/api/v1/verdicts.csv", headers=token_of(address)).text.splitlines()
    assert header.split(",")[1:] == list(ABNORMALITIES)
    column = header.split(",").index("Pleural effusion")
    assert rows[-1].split(",")[column] == "1"


def test_a_hit_opens_beside_and_is_scrolled_along_with_an_offset(seen: Page) -> None:
    seen.get_by_role("tab", name="Similar").click()
    seen.locator("input[name=text]").fill("no pleural effusion")
    seen.get_by_role("button", name="Search", exact=True).click()
    hits = seen.locator(".hit")
    expect(hits).to_have_count(2)
    assert hits.first.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 50
    hits.nth(1).get_by_role("button", name="Beside").click()
    seen.locator(".viewer").nth(1).locator(".stage[data-renderer=webgl]").wait_for()
    seen.get_by_label("Offset S, mm").fill("20")
    seen.get_by_label("Offset S, mm").press("Enter")
    seen.locator(".stage").first.focus()
    seen.keyboard.press("PageDown")
    first, second = seen.evaluate("[thoracle.page.first.mm, thoracle.page.second.mm]")
    assert abs(second[2] - first[2] - 20) <= 2.01, "within half a slice"
    expect(seen.locator(".finding-second")).to_have_count(len(ABNORMALITIES)), "findings in two columns"
    seen.get_by_role("button", name="Close 2").click()
    expect(seen.locator(".viewer")).to_have_count(1)


def test_an_answer_streams_and_its_citation_leads_to_the_slice(seen: Page, words: LanguageServer, phantoms: dict[str, Phantom]) -> None:
    number = ABNORMALITIES.index("Pleural effusion") + 1
    words.words = ["There is an effusion ", f"[F{number}]. ", "A similar case ", "had one [C1]."]
    seen.get_by_role("tab", name="Ask").click()
    question = seen.get_by_role("textbox", name="Question")
    question.fill("Is there an effusion?")
    question.press("Enter")
    seen.locator(".sources").wait_for()
    assert "There is an effusion" in seen.locator(".answer").inner_text()
    seen.locator(".answer .citation", has_text=f"F{number}").click()
    row(seen, "Pleural effusion").locator(".map-part").wait_for()
    assert holds(phantoms[EFFUSION_AND_NODULE], "Pleural effusion", seen)
    seen.reload()
    seen.get_by_role("tab", name="Ask").click()
    expect(seen.locator(".question")).to_have_text("Is there an effusion?"), "the conversation is kept with the scan"


def test_an_answer_can_be_stopped(seen: Page, words: LanguageServer) -> None:
    words.words, words.stall = ["Slowly ", "spoken."], 20.0
    try:
        seen.get_by_role("tab", name="Ask").click()
        seen.get_by_role("textbox", name="Question").fill("What is seen?")
        seen.get_by_role("button", name="Ask", exact=True).click()
        seen.get_by_role("button", name="Stop", exact=True).click()
        expect(seen.locator(".turn", has_text="Stopped.")).to_be_visible()
    finally:
        words.stall = 0.0


def test_the_address_shows_a_colleague_the_same(seen: Page) -> None:
    seen.keyboard.press("2")
    show(seen, "Pleural effusion")
    point = crosshair(seen)
    seen.wait_for_url(re.compile("window=mediastinum.*finding=Pleural"))
    colleague = seen.context.new_page()
    colleague.goto(seen.url)
    colleague.locator(".finding-open .map-part").wait_for()
    assert crosshair(colleague) == pytest.approx(point, abs=0.1)
    assert colleague.evaluate("thoracle.settings.window.name") == "mediastinum"
    assert colleague.locator(".finding-open").get_attribute("data-finding") == "Pleural effusion"
