"""What the demo's page says of chat: measured beside a model that does not see, in plain words, under the notice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoracle.errors import MetadataError
from thoracle.evaluation.demo.chat import SampleConversation, figures_of, section, sentences
from thoracle.types import RESEARCH_USE


def _interval(value: float | None, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    seeing = {
        "CRG": _interval(0.5, 0.25, 0.75),
        "side accuracy": _interval(0.9, None, None),
        "choice accuracy": _interval(None, None, None),
        "BLEU": _interval(1.0, 1.0, 1.0),
    }
    blind = {name: _interval(0.125, 0.0, 0.25) for name in seeing}
    out = tmp_path / "chat.json"
    gain = {"with the scan minus without the scan": {name: _interval(0.375, 0.25, 0.5) for name in seeing}}
    out.write_text(json.dumps({"with the scan": seeing, "without the scan": blind, "differences": gain}))
    return out


def test_metrics_are_read_beside_those_without_the_scan_and_null_is_a_dash(path: Path) -> None:
    blind = ("0.125 (0.000 to 0.250)", "0.375 (0.250 to 0.500)")
    expected = {"side accuracy": ("0.900", *blind), "choice accuracy": ("–", *blind), "CRG": ("0.500 (0.250 to 0.750)", *blind)}
    assert figures_of(path) == expected, "a number without bounds, no number, and nothing of what a demo does not show"


def test_sentences_say_which_is_which() -> None:
    assert sentences({"CRG": ("0.500", "0.125", "0.375")}) == ["Chat, CRG: 0.500 with the scan, 0.125 without it, difference 0.375."]
    assert sentences({}) == []


def test_a_section_escapes_what_was_said_and_says_what_it_is() -> None:
    answers = SampleConversation(turns=[("Is there <b>fluid</b>?", "<script>Yes.")], present=["Pleural <effusion>"])
    content = "".join(section({"<CRG>": ("0.500", "0.125", "0.375")}, answers))
    assert "<td>&lt;CRG&gt;</td><td>0.500</td><td>0.125</td><td>0.375</td>" in content
    assert "Is there &lt;b&gt;fluid&lt;/b&gt;? &lt;script&gt;Yes." in content
    assert "painted: Pleural &lt;effusion&gt;." in content
    assert "words of a model that knows only phantoms" in content
    assert RESEARCH_USE in content
    assert "painted: nothing." in "".join(section({}, SampleConversation(turns=[], present=[])))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"with the scan": {"CRG": {"value": 1}}, "without the scan": {"CRG": {}}}'])
def test_another_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text(content)
    with pytest.raises(MetadataError, match="is no evaluation of a chat"):
        figures_of(tmp_path / "chat.json")
