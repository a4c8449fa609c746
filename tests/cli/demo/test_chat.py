"""The demo's chat: each stage is the command that it names, a second run goes on, and one scan is asked anew."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.cli.chat_training import TrainedChat
from thoracle.cli.demo import chat as demo_chat
from thoracle.cli.demo.chat import DemoChat
from thoracle.inference.demo.locations import demo_chat as cached_chat
from thoracle.inference.demo.locations import keep_demo_chat
from thoracle.training.chat.task import ChatConfig
from thoracle.training.engine.config import load_config


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Write down the stages, with the command of each."""

    commands: dict[str, list[str]] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str, command: str) -> Iterator[None]:
        yield
        self.commands[name] = shlex.split(command)


@pytest.fixture
def stages() -> Stages:
    return Stages()


@pytest.fixture
def demo(trained: TrainedChat, stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DemoChat:
    """On the cohort of noise, with a step of each stage and one question."""
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo_chat, "_QUESTIONS", 1)  # an untrained model finds no end
    monkeypatch.setattr(demo_chat, "_REPORTS", 1)
    monkeypatch.setattr(demo_chat, "_TALKS", [(name, task, asked[:1]) for name, task, asked in demo_chat._TALKS])
    config = replace(load_config(trained.folder / "config.yaml", ChatConfig), steps=1, eval_every=0)
    return DemoChat(config=config, cohort=trained.cohort, encoder=trained.encoder, out=tmp_path / "out", stage=stages)


def test_stages_end_with_the_model_that_chat_takes_and_a_second_run_goes_on(demo: DemoChat, stages: Stages) -> None:
    model = demo.train()
    assert model == demo.out / "chat-lora" / "model"
    assert list(stages.commands) == ["questions", "train chat: base", "train chat: projector", "train chat: lora"]
    assert all("--resume" not in words for words in stages.commands.values())
    assert (cached_chat() / "model" / "chat.json").is_file()
    settings = [load_config(demo.out / f"chat-{name}.yaml", ChatConfig) for name in ("base", "projector", "lora")]
    assert [config.init_from for config in settings] == ["", "", str(demo.out / "chat-projector" / "model")]
    weights = {path: path.read_bytes() for path in model.rglob("*.safetensors")}
    assert demo.train() == model
    assert all("--resume" in words for name, words in stages.commands.items() if name != "questions")
    assert {path: path.read_bytes() for path in model.rglob("*.safetensors")} == weights != {}


def test_a_stage_trains_no_longer_than_the_configuration_or_the_demo_says(demo: DemoChat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_chat, "_STEPS", {"base": 1, "projector": 3, "lora": 1})
    replace(demo, config=replace(demo.config, steps=2)).train()
    settings = [load_config(demo.out / f"chat-{name}.yaml", ChatConfig) for name in ("base", "projector", "lora")]
    assert [config.steps for config in settings] == [1, 2, 1]


def test_the_named_command_measures_the_same_questions(
    command, demo: DemoChat, trained: TrainedChat, stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.out.mkdir()
    (demo.out / "vqa.json").write_bytes((trained.folder / "vqa.json").read_bytes())
    figures = demo.measure(trained.chat)
    assert "Research use only. Not a medical device." in capsys.readouterr().out.replace("\n", " ")
    document = json.loads(figures.read_text())
    assert document["questions"] == 1 + 1
    figures.unlink()
    ran = command(*stages.commands["evaluate chat"], "--max-tokens", 2, "--resamples", 2)
    assert ran.status == 0, ran.err
    again = json.loads(figures.read_text())
    assert (again["questions"], again["with the scan"].keys()) == (1 + 1, document["with the scan"].keys())


def test_a_scan_is_asked_anew_each_time_by_the_default_model(demo: DemoChat, trained: TrainedChat, stages: Stages) -> None:
    keep_demo_chat(model=trained.chat, base=trained.folder / "base" / "model", encoder=trained.encoder)
    demo.out.mkdir()
    for _ in range(2):
        answers = demo.ask(trained.scan, present=["Emphysema"])
        assert [question for question, _ in answers.turns] == [question for *_, asked in demo_chat._TALKS for question in asked]
        assert answers.present == ["Emphysema"]
    for number, (name, task, asked) in enumerate(demo_chat._TALKS):
        (turn,) = json.loads((demo.out / f"{name}.json").read_text())["turns"]
        assert (turn["question"], turn["task"], turn["answer"]) == (*asked, task, answers.turns[number][1])
        assert stages.commands[f"chat: {task}"][:4] == ["chat", str(trained.scan), "--task", task]
