"""Scans for a chat model: encoded once, each rank its part, and refused where encoder, names or files do not fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training import steps
from tests.training.chat_parts import write_encoder
from tests.training.cohorts import write_cohort
from thoracle.cohort.manifest import Cohort
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.errors import CacheDamaged, CapabilityMissing, InputError
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.text.classifier import TextClassifier
from thoracle.training.chat.scan_features import ScanFeatures, encode_cohort_scans
from thoracle.training.engine.distributed import World
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
#: Run on each of two ranks.
ENCODE = """
import json, sys
from pathlib import Path
from thoracle.cohort.manifest import open_cohort
from thoracle.training.chat.scan_features import encode_cohort_scans
from thoracle.training.engine.distributed import distributed_context
cohort, encoder, out = map(Path, sys.argv[1:])
names, counts = ["v4", "v0", "v2"], []
with distributed_context() as world:
    scans = encode_cohort_scans(open_cohort(cohort), names, world, encoder=encoder, progress=lambda *count: counts.append(count))
    codes = [scans.compressed(name).tolist() for name in names]
    (out / f"{world.rank}.json").write_text(json.dumps({"counts": counts, "codes": codes}))
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "model").path


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return write_cohort(tmp_path / "cohort", steps.CONFIG.preprocess)


def encode(cohort: Cohort, encoder: Path, *names: str) -> tuple[ScanFeatures, list[tuple[int, int]]]:
    counts: list[tuple[int, int]] = []
    scans = encode_cohort_scans(cohort, names, ALONE, encoder=encoder, progress=lambda *count: counts.append(count))
    return scans, counts


def test_tokens_are_those_that_the_encoder_gives_of_the_volume(cohort: Cohort, encoder: Path) -> None:
    scans, counts = encode(cohort, encoder, "v3", "v1")
    assert counts == [(1, 2), (2, 2)]
    clip = CTCLIP(steps.MODEL).eval()
    clip.load_state_dict(load_state_dict(open_model(encoder)))
    for number in (1, 3):
        codes = scans.compressed(f"v{number}")
        assert (codes.dtype, tuple(codes.shape)) == (torch.int32, (2, 2, 2))
        volume = torch.from_numpy(read_volume(cohort.folder / "cache" / f"{number}.vol"))[None, None]
        with torch.no_grad():
            encoded = clip.visual_transformer(volume)
        assert torch.equal(scans.tokens.expand(codes[None]), encoded.tokens_BTHWD)
    assert not torch.equal(scans.compressed("v1"), scans.compressed("v3"))


def test_tokens_are_computed_without_tf32_as_where_they_are_asked_about(
    cohort: Cohort, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cuDNN rounds is another code, or another number, than `chat` gives the language model."""
    encode_volume, allowed = CTCLIP.encode_volume, []

    def recorded(self: CTCLIP, volume: torch.Tensor) -> object:
        allowed.append(torch.backends.cudnn.allow_tf32)
        return encode_volume(self, volume)

    monkeypatch.setattr(CTCLIP, "encode_volume", recorded)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    encode(cohort, encoder, "v0")
    assert (allowed, torch.backends.cudnn.allow_tf32) == ([False], True)


def test_a_scan_is_encoded_once_and_again_where_its_file_is_damaged(cohort: Cohort, encoder: Path) -> None:
    before, _ = encode(cohort, encoder, "v0", "v1")
    codes = before.compressed("v0")
    scans, counts = encode(cohort, encoder, "v0", "v1", "v2")
    assert counts == [(1, 1)], "v2 alone"
    files = sorted(cohort.folder.glob("codes-*/*"))
    assert len(files) == 3
    assert not any(name in file.name for file in files for name in ("v0", "v1", "v2"))
    for file in files:
        file.write_bytes(file.read_bytes()[:-1])
    scans, counts = encode(cohort, encoder, "v0", "v1", "v2")
    assert counts == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(scans.compressed("v0"), codes)


@pytest.mark.slow
def test_ranks_encode_a_part_each_and_have_them_all(cohort: Cohort, encoder: Path, ranks: Any, tmp_path: Path) -> None:
    ranks("-c", ENCODE, cohort.folder, encoder, tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert (first["counts"], second["counts"]) == ([[1, 2], [2, 2]], [[1, 1]])
    scans, counts = encode(cohort, encoder, "v0", "v2", "v4")
    assert counts == []
    assert first["codes"] == second["codes"] == [scans.compressed(name).tolist() for name in ("v4", "v0", "v2")]


def test_volumes_that_the_cohort_has_not_are_counted_and_not_named(cohort: Cohort, encoder: Path) -> None:
    with pytest.raises(InputError) as caught:
        encode(cohort, encoder, "v0", "doe^john", "v99")
    assert caught.value.detail == "2 of 3 volumes in the questions are not in the cohort"
    assert "doe" not in str(caught.value)
    assert not list(cohort.folder.glob("codes-*"))


def test_an_encoder_of_other_volumes_or_of_none_is_refused(cohort: Cohort, encoder: Path, tmp_path: Path) -> None:
    others = write_cohort(tmp_path / "others", replace(steps.CONFIG.preprocess, spacing=(3.0, 3.0, 3.0)))
    with pytest.raises(InputError, match="made for another preprocessing than the cohort's"):
        encode(others, encoder, "v0")
    facts = {"labels": ABNORMALITIES, "tokenizer": None, "licence": "", "trained": True}
    network = TextClassifier(steps.MODEL.bert, n_labels=len(ABNORMALITIES))
    save_model(
        tmp_path / "text", kind="text-classifier", config=steps.MODEL.bert, preprocess=cohort.preprocess,
        tensors=network.state_dict(), **facts,
    )  # fmt: skip
    with pytest.raises(CapabilityMissing, match="which gives no tokens on a regular grid"):
        encode(cohort, tmp_path / "text", "v0")


def test_a_damaged_volume_stops_it_and_what_was_encoded_stays(cohort: Cohort, encoder: Path) -> None:
    file = cohort.folder / "cache" / "1.vol"
    content = file.read_bytes()
    file.write_bytes(content[:-3])
    with pytest.raises(CacheDamaged):
        encode(cohort, encoder, "v0", "v1", "v2")
    file.write_bytes(content)
    assert encode(cohort, encoder, "v0", "v1", "v2")[1] == [(1, 2), (2, 2)]


def test_tokens_that_are_taken_away_during_a_run_are_an_error(cohort: Cohort, encoder: Path) -> None:
    scans, _ = encode(cohort, encoder, "v0")
    shutil.rmtree(next(cohort.folder.glob("codes-*")))
    with pytest.raises(InputError, match="tokens were taken away"):
        scans.compressed("v0")
