"""A chat model on the tokens of every family: trained, stopped and resumed, asked by each verb, and refused where tokens do not fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import thoracle
from tests.cli.conftest import Command
from tests.cli.families import CLIP, MODELS, write_encoder
from tests.models.tiny_configs import CONFIGS, TINY, installed
from tests.models.toy_family import SIZE, TOY, ToyConfig
from tests.training import chat_parts
from tests.training.chat_parts import question
from tests.training.cohorts import write_cohort
from thoracle.cohort.vqa.vqa_file import write_questions
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig, Preprocessing
from thoracle.ct.recipes.recipe import Recipe
from thoracle.inference.chat.scan_tokens import scan_tokens
from thoracle.inference.chat.session import load_chat
from thoracle.inference.prepare import prepare
from thoracle.models.bundle.model_folder import open_model
from thoracle.models.chat.components import load_projector
from thoracle.models.chat.scan_tokens import ScanTokens
from thoracle.models.encoder import Capability
from thoracle.models.medfinder.config import ResNetConfig
from thoracle.models.registry import REGISTRY, models_with
from thoracle.serving.jobs.worker import JobContext
from thoracle.serving.work.conversation import Respondent
from thoracle.serving.work.detection import Detector
from thoracle.serving.work.scan_folder import save_volume
from thoracle.training.chat.phantom_lm import save_phantom_lm

RESNET = ResNetConfig(blocks=(1, 1, 1, 1), widths=(8, 8, 16, 16), bottleneck=False, stride=1)
ENCODERS: dict[str, tuple[str, Any, Preprocessing]] = {
    **{name: model for name, model in MODELS.items() if name not in ("spectre", "merlin-tiles")},
    "ct-clip by place": ("ct-clip", replace(TINY, spatial_pool="grid"), CLIP),
    "ctvit without codes": ("ctvit", replace(TINY.ctvit, quantize=False), CLIP),
    "medfinder's resnet": ("medfinder", replace(CONFIGS["medfinder"], vit=None, resnet=RESNET), CLIP),
    "image-text": ("image-text", CONFIGS["image-text"], MODELS["merlin"][2]),
    "token-classifier": ("token-classifier", CONFIGS["token-classifier"], MODELS["merlin"][2]),
    "regions": ("regions", CONFIGS["regions"], CLIP),
    "toy": (TOY.kind, ToyConfig(), PreprocessConfig(spacing=(40.0, 20.0, 20.0), size=SIZE)),
}
#: The others take a minute and a half.
OFTEN = ("colipri", "merlin", "toy")
CONFIG = {
    "disclaimer": "Knows only noise.",
    "projector": {"num_queries": 3, "dim": 8, "attention_dim": 8, "heads": 2, "num_positions": None, "num_findings": 18},
    "adapter": {"rank": 2, "alpha": 4},
    "sequence_length": 120,
    "batch_size": 1,
    "num_workers": 0,
    "save_every": 1,
    "eval_every": 2,
    "num_eval_conversations": 2,
    "optimizer": {"lr": 1.0e-3, "max_grad_norm": 1.0, "schedule": "constant"},
}
ASKED = ("--max-tokens", 4, "--task", "short_answer", "--ask", "Is lung nodule present?")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a run begins with: an encoder, its cohort with questions, a language model and a configuration."""

    folder: Path
    encoder: Path
    base: Path

    def train(self, command: Command, out: str, *more: object) -> Any:
        files = {"config": self.folder / "config.yaml", "cohort": self.folder / "cohort", "questions": self.folder / "vqa.json"}
        folders = {**files, "encoder": self.encoder, "base": self.base, "out": self.folder / out}
        options = [part for name, path in folders.items() for part in (f"--{name}", path)]
        return command("train", "chat", *options, *more)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    language = chat_parts.language()
    out = tmp_path_factory.mktemp("language") / "base"
    save_phantom_lm(out, language, dict(language.model.named_parameters()))
    return out


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a family that nothing in Thoracle names."""
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(REGISTRY, TOY.kind, TOY)


def prepared(folder: Path, base: Path, kind: str, config: Any, recipe: Preprocessing) -> Setting:
    """Six volumes of noise, four of train and two of dev, two questions about each."""
    encoder = write_encoder(folder / "encoder", kind, config, recipe).path
    write_cohort(folder / "cohort", recipe)
    write_questions(folder / "vqa.json", [question(k, f"v{k % 6}", answer="No." if k % 2 else "Yes.") for k in range(12)])
    (folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "language_model": str(base)}))
    return Setting(folder=folder, encoder=encoder, base=base)


def _weights(run: Path) -> bytes:
    return (run / "model" / "projector" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in OFTEN else pytest.mark.slow) for name in ENCODERS])
def test_a_chat_model_learns_from_the_tokens_and_is_asked_by_each_verb(
    name: str, command: Command, base: Path, sketch: Path, tmp_path: Path
) -> None:
    setting = prepared(tmp_path, base, *ENCODERS[name])
    ran = setting.train(command, "run", "--stage", "projector", "--set", "steps=2")
    assert ran.status == 0, ran.err
    tokens, sizes = ScanTokens(open_model(setting.encoder)), load_projector(tmp_path / "run" / "model" / "projector").config
    assert (sizes.num_positions, sizes.dim_context) == (tokens.grid[0] * tokens.grid[1] * tokens.grid[2], tokens.width)
    assert len(list((tmp_path / "cohort").glob("codes-*/*.safetensors"))) == 6
    _resumes_equal_to_the_bit(setting, command)
    chat = tmp_path / "run" / "model"
    ran = setting.train(command, "adapted", "--stage", "lora", "--start", chat, "--set", "steps=1")
    assert ran.status == 0, ran.err
    _answers_alike(command, chat, sketch, tmp_path)
    ran = command("evaluate", "chat", chat, tmp_path / "cohort", "--questions", tmp_path / "vqa.json", "--split", "dev",
                  "--out", tmp_path / "figures", "--resamples", 5, "--max-tokens", 4)  # fmt: skip
    assert ran.status == 0, ran.err
    assert json.loads((tmp_path / "figures" / "chat.json").read_text())["questions"] == 4
    _refuses_another_encoder(setting, command, chat, sketch)


def _resumes_equal_to_the_bit(setting: Setting, command: Command) -> None:
    """After one step of two."""
    for more in (("--set", "steps=1"), ("--set", "steps=2", "--resume")):
        ran = setting.train(command, "stopped", "--stage", "projector", *more)
        assert ran.status == 0, ran.err
    assert _weights(setting.folder / "stopped") == _weights(setting.folder / "run")


def _answers_alike(command: Command, chat: Path, scan: Path, folder: Path) -> None:
    """By the command and by the server, of the same tokens."""
    ran = command("chat", scan, "--model", chat, *ASKED)
    assert ran.status == 0, ran.err
    assert "Knows only noise." in ran.err
    save_volume(folder, thoracle.read(scan))
    loaded = load_chat(chat, device="cpu")
    respondent = Respondent(Detector(loaded.encoder, None), chat=loaded, generate=loaded.complete_text, find_similar=None)
    context = JobContext(report=lambda _: None, emit=lambda _: None)
    served = respondent.answer(context, scan=str(folder), question=ASKED[-1], task="short_answer", grounded=False, turns=[])
    assert " ".join(served.shown.split()).startswith(ran.out.strip())
    tokens = scan_tokens(loaded.encoder, prepare(thoracle.read(scan), loaded.encoder.preprocess))
    assert torch.equal(respondent._tokens(str(folder)), tokens)
    assert tokens.float().std() > 0


def _refuses_another_encoder(setting: Setting, command: Command, chat: Path, scan: Path) -> None:
    """Of other weights, or of these behind another recipe."""
    folder = open_model(setting.encoder)
    other = write_encoder(setting.folder / "other", folder.kind, folder.config, folder.preprocess, seed=1).path
    mirrored = shutil.copytree(setting.encoder, setting.folder / "mirrored")
    values = json.loads((mirrored / "config.json").read_text())
    recipe = folder.preprocess
    changed = replace(recipe, axes="LAS") if isinstance(recipe, Recipe) else replace(recipe, spacing=(5.0, 3.0, 3.0))
    (mirrored / "config.json").write_text(json.dumps(values | {"preprocess": config_to_mapping(changed)}))
    for encoder, words in ((other, "was trained with another encoder"), (mirrored, "weights behind another recipe")):
        ran = command("chat", scan, "--model", chat, "--encoder", encoder, *ASKED)
        assert (ran.status, words in ran.err) == (1, True), ran.err
        more = ("--stage", "lora", "--start", chat, "--set", "steps=1", "--encoder", encoder)
        ran = setting.train(command, "lora", *more)
        assert ran.status != 0
        assert words in ran.err or "made for another preprocessing than the cohort's" in ran.err


@pytest.mark.parametrize("name", installed(["merlin-tiles", "spectre"]))
def test_an_encoder_whose_scans_share_no_grid_is_refused_by_name(name: str, command: Command, base: Path, tmp_path: Path) -> None:
    setting = prepared(tmp_path, base, *MODELS[name])
    ran = setting.train(command, "run", "--stage", "projector", "--set", "steps=1")
    assert ran.status == 1
    if name == "spectre":
        assert f"is SPECTRE (volume encoder, run by spectre-fm), which gives no {Capability.TOKEN_GRID.value}" in ran.err
        assert f"Give a {models_with(Capability.TOKEN_GRID)} model" in ran.err
    else:
        assert "a recipe that leaves each scan its own size: scans have no grid of tokens in common" in ran.err
    assert not list((tmp_path / "cohort").glob("codes-*"))


def test_another_recipes_cohort_is_refused_when_it_is_asked_about(command: Command, base: Path, tmp_path: Path) -> None:
    """Of the same size: nothing but the recipe tells that its voxels mean something else."""
    kind, config, recipe = ENCODERS["colipri"]
    setting = prepared(tmp_path, base, kind, config, recipe)
    assert setting.train(command, "run", "--stage", "projector", "--set", "steps=1").status == 0
    write_cohort(tmp_path / "mirrored", replace(recipe, axes="LAS"))
    ran = command("evaluate", "chat", tmp_path / "run" / "model", tmp_path / "mirrored", "--questions", tmp_path / "vqa.json",
                  "--split", "dev", "--out", tmp_path / "figures")  # fmt: skip
    assert ran.status == 2
    assert "prepared by another recipe than that of the chat model's encoder" in ran.err


@pytest.mark.parametrize(
    ("setting_name", "value", "words"),
    [("num_positions", 7, "a scan has 150 tokens"), ("dim_context", 512, "a scan's tokens are 24 wide")],
)
def test_sizes_that_are_not_the_encoders_are_refused_by_the_setting(
    setting_name: str, value: int, words: str, command: Command, base: Path, tmp_path: Path
) -> None:
    setting = prepared(tmp_path, base, *ENCODERS["colipri"])
    for more in ((), ("--dry-run",)):
        ran = setting.train(command, "run", "--stage", "projector", "--set", "steps=1", "--set", f"projector.{setting_name}={value}", *more)
        assert ran.status == 2
        assert f"projector.{setting_name} is {value}, {words}" in ran.err
