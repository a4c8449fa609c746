from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Hub
from thoracle.cli.train import encoder
from thoracle.errors import FetchFailed

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 1000, "vocab.txt": b"[PAD]", "modeling.py": b"import os"}
FETCH = "import sys; from thoracle.cli.train.encoder import fetched; print(fetched(sys.argv[1]))"


def test_a_folder_or_nothing_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert encoder.fetched("") == ""
    assert encoder.fetched(str(tmp_path / "owner" / "name")) == str(tmp_path / "owner" / "name")
    assert encoder.fetched("no-slash") == "no-slash"
    assert encoder.fetched("a/b/c") == "a/b/c"


def test_ranks_that_start_at_once_download_an_encoder_once(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["owner/name"] = FILES
    environment = {**os.environ, "THORACLE_CACHE": str(tmp_path)}
    ranks = [
        subprocess.Popen([sys.executable, "-c", FETCH, "owner/name"], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    folders = {rank.communicate(timeout=300)[0].strip() for rank in ranks}
    assert folders == {str(tmp_path / "encoders" / "owner--name")}
    assert sorted(path.name for path in Path(folders.pop()).glob("[!.]*")) == ["config.json", "model.safetensors", "vocab.txt"]
    assert len([path for command, path in hub.log if command == "GET" and path.endswith("model.safetensors")]) == 1


@pytest.mark.slow
def test_an_encoder_that_came_whole_needs_no_hub_and_one_that_did_not_is_fetched_again(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path))
    hub.repositories["owner/name"] = FILES
    hub.cuts, hub.cut_from = 99, 100
    with pytest.raises(FetchFailed, match="broke off"):
        encoder.fetched("owner/name")
    hub.cuts = 0
    folder = Path(encoder.fetched("owner/name"))
    del hub.repositories["owner/name"]
    before = len(hub.log)
    assert encoder.fetched("owner/name") == str(folder)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert len(hub.log) == before
