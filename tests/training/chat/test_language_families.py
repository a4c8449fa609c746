"""Language models of many families, tiny and random, beside `transformers` itself: answers over three turns, loss, packed rows, LoRA."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.language_families import FAMILIES, FamilyReport, report_family
from thoracle.inference.demo.assets import write_model
from thoracle.inference.model import Model, load

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "language-models.md"
#: One of each kind: windows in some layers and in all, scales, soft caps, an image's part, alibi, recurrence, experts, positions learned.
FEW = (
    "llama", "gemma 2", "gemma 3, images", "gemma 4", "phi 3, long rope", "granite", "mixtral, window", "deepseek 3", "llama 4", "falcon",
    "gpt-2", "opt", "bloom", "gpt-neox", "qwen 3.5", "mamba",
)  # fmt: skip
#: What does not begin: peft adapts no `out_proj` of these.
WITHOUT_LORA = {"falcon h1", "mamba", "mamba 2"}
UNPACKED = {
    "falcon, alibi", "bloom", "lfm 2", "qwen 3 next", "qwen 3.5", "granite hybrid", "bamba", "falcon h1", "mamba", "mamba 2",
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_model(tmp_path_factory.mktemp("encoder") / "tiny").path, device="cpu")


def _check(name: str, folder: Path, encoder: Model) -> FamilyReport:
    report = report_family(name, folder, encoder=encoder)
    assert report.answers == "equal"
    assert report.logits <= 1e-5
    assert report.training == ("unpacked" if name in UNPACKED else "packed")
    assert report.loss <= 1e-5
    assert report.adapter.startswith("refused: " if name in WITHOUT_LORA else "LoRA adapts ")
    return report


@pytest.mark.parametrize("name", FEW)
def test_a_family_answers_and_trains_as_in_its_own_library(name: str, tmp_path: Path, encoder: Model) -> None:
    _check(name, tmp_path, encoder)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in FEW])
def test_every_other_family_answers_and_trains_as_in_its_own_library(name: str, tmp_path: Path, encoder: Model) -> None:
    _check(name, tmp_path, encoder)


def test_the_page_of_families_is_current() -> None:
    """It names every family that is tried, with what is asserted of it here."""
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+ \| [^|]+ \| [^|]+) \|$", PAGE.read_text(), re.MULTILINE))
    assert [name for name in rows if name in FAMILIES] == list(FAMILIES)
    for name in FAMILIES:
        answers, training, adapter = rows[name].split(" | ")
        assert answers.startswith("equal")
        assert training.startswith("unpacked" if name in UNPACKED else "packed")
        assert adapter.startswith("refused") == (name in WITHOUT_LORA)
