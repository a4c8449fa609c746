"""Downloads against a server on this machine that answers as the hub does: terms, patterns, broken lines, hostile names."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from thoracle.errors import ExtraMissing, FetchFailed, InputError
from thoracle.models.hub.catalogue import CATALOGUE
from thoracle.models.hub.download import fetch, fetch_tokenizer
from thoracle.models.text.tokenizer import Tokenizer

WORDS = Tokenizer.from_words(["lung nodule is present."]).files["vocab.txt"]
WEIGHTS = bytes(range(256)) * 400


def test_a_file_is_fetched_once(hub: Any, tmp_path: Path) -> None:
    entry = CATALOGUE["ct-clip"]
    hub.repositories[entry.repository] = {entry.files[0]: WEIGHTS, "models/other.pt": b"no"}
    (path,) = fetch("ct-clip", out=tmp_path)
    assert path == tmp_path / entry.files[0]
    assert path.read_bytes() == WEIGHTS
    assert not (tmp_path / "models" / "other.pt").exists()
    before = sum(command == "GET" for command, _ in hub.log)
    assert fetch("ct-clip", out=tmp_path) == (path,)
    assert sum(command == "GET" for command, _ in hub.log) == before


def test_patterns_choose_among_what_there_is(hub: Any, tmp_path: Path) -> None:
    hub.repositories["ibrahimhamamci/CT-RATE"] = {f"dataset/valid_fixed/valid_{i}/v.nii.gz": b"%d" % i for i in range(3)}
    paths = fetch("ct-rate", out=tmp_path, include=["dataset/valid_fixed/valid_[12]/*"])
    assert [p.read_bytes() for p in paths] == [b"1", b"2"]
    with pytest.raises(InputError, match="no file"):
        fetch("ct-rate", out=tmp_path, include=["nothing/*"])


def test_terms_that_are_not_accepted_are_named(hub: Any, tmp_path: Path) -> None:
    repository = CATALOGUE["ct-clip"].repository
    hub.repositories[repository] = {}
    hub.gated.add(repository)
    with pytest.raises(FetchFailed, match=r"Accept the terms on https://huggingface\.co/datasets/ibrahimhamamci/CT-RATE.*hf auth login"):
        fetch("ct-clip", out=tmp_path)


def test_a_file_or_repository_that_has_gone_is_named(hub: Any, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="does not give"):
        fetch("ct-clip", out=tmp_path)
    hub.repositories[CATALOGUE["ct-clip"].repository] = {"models/moved.pt": b""}
    with pytest.raises(FetchFailed, match="no such file"):
        fetch("ct-clip", out=tmp_path)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library waits between its attempts."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.mark.usefixtures("impatient")
def test_a_broken_line_is_tried_again(hub: Any, tmp_path: Path) -> None:
    entry = CATALOGUE["ct-clip"]
    hub.repositories[entry.repository] = {entry.files[0]: WEIGHTS}
    hub.cuts = 2
    (path,) = fetch("ct-clip", out=tmp_path)
    assert path.read_bytes() == WEIGHTS
    assert hub.cuts == 0


@pytest.mark.usefixtures("impatient")
def test_what_came_whole_is_kept_and_half_a_file_never_shows(hub: Any, tmp_path: Path) -> None:
    hub.repositories["ibrahimhamamci/CT-RATE"] = {"a": b"first", "b": WEIGHTS}
    hub.cuts, hub.cut_from = 100, 1000
    with pytest.raises(FetchFailed, match="broke off"):
        fetch("ct-rate", out=tmp_path, include=["*"])
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["a"]
    hub.cuts = 0
    hub.log.clear()
    assert [p.read_bytes() for p in fetch("ct-rate", out=tmp_path, include=["*"])] == [b"first", WEIGHTS]
    assert [path.rpartition("/")[2] for command, path in hub.log if command == "GET" and "resolve" in path] == ["b"]


@pytest.mark.usefixtures("impatient")
def test_no_network_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FetchFailed, match="network"):
        fetch("ct-clip", out=tmp_path)


def test_a_hostile_name_does_not_leave_the_folder(hub: Any, tmp_path: Path) -> None:
    hub.repositories["ibrahimhamamci/CT-RATE"] = {"../evil": b"x"}
    with pytest.raises(FetchFailed):
        fetch("ct-rate", out=tmp_path / "in", include=["*"])
    assert not (tmp_path / "evil").exists()


def test_what_cannot_be_fetched_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ct-clip, vocabfine"):
        fetch("resnet", out=tmp_path)
    with pytest.raises(InputError, match=r"21\.3 TB.*--include"):
        fetch("ct-rate", out=tmp_path)
    with pytest.raises(InputError, match=r"zenodo\.org"):
        fetch("rad-chestct", out=tmp_path)


def test_a_tokenizer_comes_without_code_and_weights(hub: Any, tmp_path: Path) -> None:
    hub.repositories["owner/name"] = {"vocab.txt": WORDS, "tokenizer_config.json": b"{}", "tokenization.py": b"raise", "model.bin": WEIGHTS}
    folder = fetch_tokenizer("owner/name", out=tmp_path)
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == ["tokenizer_config.json", "vocab.txt"]
    assert Tokenizer.from_folder(folder).files["vocab.txt"] == WORDS
    with pytest.raises(InputError, match="owner/name"):
        fetch_tokenizer("no name/x y", out=tmp_path)


def test_the_missing_extra_names_its_install_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ExtraMissing, match=r"thoracle\[hub\]"):
        fetch("ct-clip", out=tmp_path)


def test_every_entry_says_what_a_person_must_know() -> None:
    for name, entry in CATALOGUE.items():
        assert name == entry.name
        assert entry.address.startswith("https://")
        assert entry.purpose
        assert entry.licence
        assert entry.size
        assert not entry.gated or entry.licence == "CC BY-NC-SA 4.0" or entry.name == "bimcv-r"  # whose page asks for agreement
