"""Another assistant: which slices it is shown, in which words it is asked, and what its silences count."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ct.pictures import decode_png
from tests.language_server import LanguageServer
from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import pack
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.ct.recipes.published import MERLIN
from thoracle.errors import AnswerFailed
from thoracle.evaluation.chat.assistant import Slices, ask_assistant
from thoracle.inference.llm import openai_client
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.openai_client import OpenAIClient
from thoracle.types import ABNORMALITIES

PREPROCESS = PreprocessConfig(size=(24, 12, 12), spacing=(1.0, 1.0, 1.0))


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """Two scans; all planes of the first are air but the uppermost third."""
    (tmp_path / "cache").mkdir()
    entries = []
    for name in ("before", "after"):
        volume = np.full(PREPROCESS.size, -1.0, np.float32)
        volume[16:] = 0.04 if name == "before" else -1.0
        (tmp_path / "cache" / name).write_bytes(pack(volume, scale=1000.0))
        entries.append(
            CohortEntry(
                volume=name, scan=name, patient="one", split="valid", source_sha256="", cache=f"cache/{name}", cache_sha256=name,
                report=Report(), labels=(None,) * len(ABNORMALITIES),
            )
        )  # fmt: skip
    return Cohort(folder=tmp_path, preprocess=PREPROCESS, entries=tuple(entries), layout="", naming="real", site_key_fingerprint=None)


def _asked(*images: str, task: str = "short_answer", number: int = 1) -> QuestionSet:
    pair = QuestionAnswer(question="Is it there?", answer="Yes.", task=task, type=task, topic="presence")
    return QuestionSet(id=f"{images}{task}", images=images, pairs=(pair,) * number)


def _ask(server: LanguageServer, cohort: Cohort, *conversations: QuestionSet, **options: Any) -> list[str]:
    client = OpenAIClient(server.address, model="m")
    options = {"slices": Slices(count=3), "blind": False, "sampling": SamplingOptions(max_tokens=8), **options}
    return [answered.answer for answered in ask_assistant(client, cohort, conversations, **options)]


def test_slices_go_from_head_to_feet_at_even_steps_in_two_windows(language_server: LanguageServer, cohort: Cohort) -> None:
    language_server.say = lambda _: (200, " Yes. ")
    assert _ask(language_server, cohort, _asked("before")) == ["Yes."]
    (turn,) = language_server.asked[0]["messages"]
    *pictures, words = turn["content"]
    images = [decode_png(b64decode(part["image_url"]["url"].removeprefix("data:image/png;base64,"))) for part in pictures]
    assert [image.shape for image in images] == [(384, 768)] * 3
    assert Slices(count=3).planes(24) == [20, 12, 4]
    # 40 HU in the uppermost, air below: (40 + 1350) / 1500 and (40 + 160) / 400 of white
    assert [(int(image[100, 100]), int(image[100, 500])) for image in images] == [(236, 127), (59, 0), (59, 0)]
    assert "axial slices of one chest CT, from the head to the feet, with a lung window on the left" in words["text"]
    assert "Is it there?\nAnswer in a word" in words["text"]
    described = Slices(count=3).describe(PREPROCESS)
    assert described["axial planes, from head to feet"] == [20, 12, 4]
    assert (described["of planes, from feet to head"], described["mm between planes"]) == (24, 1.0)


def test_inputs_of_other_axes_are_drawn_alike() -> None:
    hu = np.random.default_rng(0).integers(-900, 200, (6, 8, 10)).astype(np.float32)
    cubes = PreprocessConfig(spacing=(1.0, 1.0, 1.0))
    recipe = replace(MERLIN, resampling=replace(MERLIN.resampling, spacing=(1.0, 1.0, 1.0)))
    other = view_as((hu - np.float32(recipe.zero_hu)) / np.float32(recipe.intensity_scale), ZXY, recipe.axes)
    pairs = zip(Slices(count=2).draw(hu / 1000, cubes), Slices(count=2).draw(other, recipe), strict=True)
    assert max(np.abs(decode_png(first).astype(int) - decode_png(second)).max() for first, second in pairs) <= 1
    assert Slices(count=2).describe(recipe)["of planes, from feet to head"] == 160


def test_of_two_scans_both_are_shown_and_without_a_scan_or_blind_none(language_server: LanguageServer, cohort: Cohort) -> None:
    language_server.say = lambda _: (200, "Yes.")
    _ask(language_server, cohort, _asked("before", "after"))
    *pictures, words = language_server.asked[-1]["messages"][0]["content"]
    assert len(pictures) == 6
    assert "2 chest CTs of one patient, 3 of each, in the order of time" in words["text"]
    _ask(language_server, cohort, _asked("before"), blind=True)
    _ask(language_server, cohort, _asked())
    assert all("pictures are" not in body["messages"][0]["content"] for body in language_server.asked[1:])
    _ask(language_server, cohort, _asked("before", number=3, task="multiple_choice"))
    roles = [turn["role"] for turn in language_server.asked[-1]["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert isinstance(language_server.asked[-1]["messages"][2]["content"], str), "pictures stand in the first turn alone"
    assert "letter of the right one" in language_server.asked[-1]["messages"][-1]["content"]


def test_an_answer_without_words_is_none_and_a_question_that_is_refused_is_named_and_asked_again(
    language_server: LanguageServer, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_client, "_PAUSE", 0.0)
    language_server.words = [""]
    assert _ask(language_server, cohort, _asked("before")) == [""]
    language_server.words = []
    language_server.refusal = b'{"error": "too many pictures"}'
    language_server.say = lambda body: (400 if len(body["messages"][0]["content"]) > 4 else 200, "Yes.")
    questions, journal = (_asked("before"), _asked("before", "after")), tmp_path / "answers.jsonl"
    with pytest.raises(AnswerFailed, match=r"no answer to 1 of 2 questions \(\('before', 'after'\).*too many pictures"):
        _ask(language_server, cohort, *questions, journal=journal)
    language_server.say, count = (lambda _: (200, "No.")), len(language_server.asked)
    assert _ask(language_server, cohort, *questions, journal=journal) == ["Yes.", "No."]
    assert len(language_server.asked) == count + 1
