"""Licence and citations go from an imported file into everything that is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from thoracle.inference.demo.assets import write_model
from thoracle.models import citations
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.citations import CT_CLIP, derived_licence
from thoracle.models.registry import REGISTRY

ROOT = Path(__file__).parents[2]


def test_a_licence_is_named_once_however_often_a_model_is_gone_on_from() -> None:
    once = derived_licence("CC BY-NC-SA 4.0", data="the data it was trained on")
    assert once == "CC BY-NC-SA 4.0; and that of the data it was trained on"
    assert derived_licence(once, data="the data it was trained on") == once
    assert derived_licence("", data="these reports") == derived_licence(data="these reports") == "that of these reports"


def test_licences_of_several_origins_stand_beside_each_other_each_once() -> None:
    """An image side, and a text encoder that a labeler's run made of the same authors' weights."""
    theirs, data = "CC BY-NC-SA 4.0 (non-commercial); otherwise theirs", "the data it was trained on"
    text = derived_licence(theirs, data="the reports it was trained on")
    assert text == f"{theirs}; and that of the reports it was trained on"
    assert derived_licence(theirs, text, data=data) == f"{text}; and that of {data}"
    assert derived_licence(derived_licence(theirs, text, data=data), "MIT", data=data) == f"{text}; and MIT; and that of {data}"


def test_the_file_for_citations_has_every_paper() -> None:
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert content["cff-version"] == "1.2.0"
    titles = {reference["title"].casefold() for reference in content["references"]}
    papers = [value for name, value in vars(citations).items() if name[0].isupper() and name.isupper()]
    assert len(papers) == 5
    for paper in papers:
        assert any(title in paper.casefold() for title in titles), paper
    assert "ct-rate" in " ".join(titles)


@pytest.mark.parametrize("kind", ["ct-clip", "ct-clip-classifier", "ctvit", "text-classifier"])
def test_kinds_of_the_family_cite_its_paper(kind: str) -> None:
    assert REGISTRY[kind].citations == (CT_CLIP,)


def test_folders_and_cards_name_what_they_were_made_of(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    assert folder.citations == (CT_CLIP,)
    assert CT_CLIP in (folder.path / "README.md").read_text()
    saved = save_model(
        tmp_path / "made",
        kind=folder.kind,
        config=folder.config,
        preprocess=folder.preprocess,
        labels=folder.labels,
        tensors=load_state_dict(folder),
        tokenizer=None,
        licence="theirs",
        citations=("Somebody 2026", CT_CLIP),
        trained=True,
    )
    assert saved.citations == open_model(tmp_path / "made").citations == ("Somebody 2026", CT_CLIP)
    assert "Somebody 2026" in (tmp_path / "made" / "README.md").read_text()
    values = json.loads((tmp_path / "made" / "config.json").read_text())
    del values["citations"]  # a folder of before
    (tmp_path / "made" / "config.json").write_text(json.dumps(values))
    assert open_model(tmp_path / "made").citations == (CT_CLIP,)
