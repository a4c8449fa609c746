from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from thoracle.inference.demo.assets import write_scan
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.models.common.prompts import format_prompts
from thoracle.models.text.config import TextConfig
from thoracle.models.text.encoder import BertEncoder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.medfinder import MedFinderRunConfig
from thoracle.training.engine.config import load_config, write_config

ROOT = Path(__file__).parents[3]
SIZES = TextConfig(vocab_size=256, hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=32)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The shipped one, but short."""
    shipped = load_config(ROOT / "configs" / "phantom-medfinder.yaml", MedFinderRunConfig)
    short = replace(shipped, section="findings", steps=2, batch_size=2, save_every=1, eval_every=2)
    write_config(short, tmp_path / "short.yaml")
    return tmp_path / "short.yaml"


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A text encoder as transformers writes it."""
    folder = tmp_path / "words" / "model"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file({f"bert.{name}": tensor for name, tensor in BertEncoder(SIZES).state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**asdict(SIZES), "model_type": "bert"}))
    (folder / "vocab.txt").write_bytes(Tokenizer.from_words(format_prompts()).files["vocab.txt"])
    return folder


@pytest.fixture
def places(config: Path, words: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What stands for the names in docs/medfinder.md."""
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    write_scan(tmp_path / "chest.nii.gz")
    own = {"RUN/model": tmp_path / "run" / "model", "RUN": tmp_path / "run", "CASES": tmp_path / "cases", "FOUND": tmp_path / "found"}
    given = {"phantom-medfinder": config, "WORDS/model": words, "COHORT": cohort, "SCAN": tmp_path / "chest.nii.gz"}
    return {name: str(path) for name, path in {**own, **given}.items()}


def test_what_the_page_says_to_type_works(command, places: dict[str, str]) -> None:
    block = re.search(r"^```sh\n(.*?)^```$", (ROOT / "docs" / "medfinder.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    lines = [shlex.split(line) for line in block[1].splitlines()]
    assert [line[1] for line in lines] == ["train", "index", "search", "evaluate", "detect"]
    said = []
    for line in lines:
        more = ["--keep-identifiers"] if line[1] == "index" else ["--resamples", "5"] if line[1] == "evaluate" else []
        ran = command(*(places.get(word, word) for word in line[1:]), *more)
        assert ran.status == 0, ran.err
        said.append(ran)
    assert "step 2: macro_auroc 0." in said[0].err
    assert "8 volumes, 0 failed" in said[1].err
    found = json.loads((Path(places["FOUND"]) / "results.json").read_text())
    assert found["model"]["kind"] == "medfinder"
    assert {"report to volume", "volume to report", "words to volume"} <= found["tasks"].keys()
    assert "It has never seen a patient" in said[4].out
    model = open_model(Path(places["RUN/model"]), verify=True)
    torch.manual_seed(0)
    weights, text = load_state_dict(model), BertEncoder(SIZES).state_dict()
    assert (model.kind, model.trained) == ("medfinder", True)
    assert all(torch.equal(weights[f"text_transformer.{name}"], tensor) for name, tensor in text.items())


def test_a_scan_is_looked_for_and_what_needs_codes_says_so(command, places: dict[str, str], tmp_path: Path) -> None:
    run, model, scan = places["RUN"], places["RUN/model"], places["SCAN"]
    told = ("--config", places["phantom-medfinder"], "--cohort", places["COHORT"], "--text", places["WORDS/model"], "--out", run)
    assert command("train", "medfinder", *told).status == 0
    assert command("train", "medfinder", *told).status == 1
    assert command("train", "medfinder", *told, "--resume").status == 0
    assert command("index", places["COHORT"], "--model", model, "--out", tmp_path / "cases", "--keep-identifiers").status == 0
    ran = command("search", tmp_path / "cases", "--text", "emphysema", "--scan", scan, "--json", "-")
    assert ran.status == 0, ran.err
    hits = json.loads(ran.out)["hits"]
    assert (len(hits), hits[0]["ranks"].keys()) == (8, {"text", "scan"})
    ran = command("embed", scan, "--model", model, "--out", tmp_path / "latents.parquet", "--tokens", tmp_path / "tokens")
    assert ran.status == 0, ran.err
    ran = command("explain", scan, "--model", model, "--finding", "Emphysema", "--out", tmp_path / "maps")
    assert (ran.status, "tokens can be looked at" in ran.err) == (1, True)


def test_an_encoder_that_is_nowhere_and_another_cohort_end_with_2(command, cohort: Path, config: Path, tmp_path: Path) -> None:
    told = load_config(config, MedFinderRunConfig)
    write_config(replace(told, text=str(tmp_path / "nowhere")), tmp_path / "text.yaml")
    ran = command("train", "medfinder", "--config", tmp_path / "text.yaml", "--cohort", cohort, "--out", tmp_path / "run")
    assert ran.status == 2
    assert "config.json" in ran.err
    write_config(replace(told, preprocess=replace(told.preprocess, spacing=(5.0, 4.0, 4.0))), tmp_path / "other.yaml")
    ran = command("train", "medfinder", "--config", tmp_path / "other.yaml", "--cohort", cohort, "--out", tmp_path / "run")
    assert (ran.status, "another preprocessing" in ran.err) == (2, True)
    assert not (tmp_path / "run").exists()
