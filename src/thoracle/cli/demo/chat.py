"""The chat of `thoracle demo`: questions about its phantoms, a chat model that learns them, and one held-out phantom asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from thoracle.evaluation.demo.chat import SampleConversation
    from thoracle.models.chat.prompt import AnswerType
    from thoracle.training.chat.task import ChatConfig

#: Makes a stage of the demo: its name, and the command that it is.
Stage = Callable[[str, str], AbstractContextManager[None]]
#: The language model learns most, and first; then the projector speaks its words from the first step.
_STEPS: Final[dict[str, int]] = {"base": 280, "projector": 100, "lora": 180}
#: Of a scan: of all 111 the steps would see a tenth, and a hundred and fifty reports.
_PAIRS: Final = 24
#: Of the held-out ones, measured with the scan and without. A score of 60 reports swings by 0.08 between draws.
_QUESTIONS, _REPORTS = 1000, 200
_TOPICS: Final = ("presence", "side", "choice", "finding", "region", "comparison", "findings")
#: Of one held-out scan: the file of a conversation, the kind of answer, the questions.
_TALKS: Final[tuple[tuple[str, AnswerType, tuple[str, ...]], ...]] = (
    ("talk", "short_answer", ("Is cardiomegaly present?", "Is pleural effusion present?", "Is emphysema present?")),
    ("talk-sentences", "long_answer", ("Describe the findings in the lungs.",)),
    ("talk-report", "report_generation", ("Write the report of this scan.",)),
)


@dataclass(frozen=True, kw_only=True)
class ChatAnswers:
    """Hold what the demo says of its chat: sentences for the terminal, and parts of the page."""

    sentences: Sequence[str]
    parts: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class DemoChat:
    """Hold the paths of what the demo's chat needs.

    Attributes:
        config: of all stages; folders are replaced.
        cohort: prepared.
        encoder: the model folder whose tokens are read.
        out: the demo's folder.
        stage: as `Stage`.
    """

    config: ChatConfig
    cohort: Path
    encoder: Path
    out: Path
    stage: Stage

    @property
    def questions(self) -> Path:
        """Write questions by `thoracle vqa`."""
        return self.out / "vqa.json"

    @property
    def samples(self) -> dict[str, int]:
        """Count what stages train on or ask, by stage."""
        trained = {f"train chat: {name}": self._steps(name) * self.config.batch_size for name in _STEPS}
        return trained | {"evaluate chat": 2 * (_QUESTIONS + _REPORTS)}  # with the scan and without

    def train(self) -> Path:
        """Write questions, run each stage, and return the chat folder."""
        from thoracle.cli.train.chat import CHAT
        from thoracle.cli.vqa import vqa
        from thoracle.inference.demo.locations import keep_demo_chat
        from thoracle.training.chat.task import STAGES
        from thoracle.training.engine.config import write_config

        with self.stage("questions", f"vqa {self.cohort} --section impression --pairs {_PAIRS} --out {self.questions}"):
            vqa(self.cohort, section="impression", num_pairs=_PAIRS, out=self.questions)  # what is there, and in a ninth of the words
        folders = {name: self.out / f"chat-{name}" for name in STAGES}
        base = folders["base"] / "model"
        for name, folder in folders.items():
            settings, resume = self.out / f"chat-{name}.yaml", folder.exists()
            config = replace(
                self.config,
                stage=name,
                steps=self._steps(name),
                cohort=str(self.cohort),
                vqa_file=str(self.questions),
                encoder=str(self.encoder),
                language_model=str(base),
                init_from=str(folders["projector"] / "model") if name == "lora" else "",
                out=str(folder),
            )
            write_config(config, settings)
            with self.stage(f"train chat: {name}", f"train chat --config {settings}" + (" --resume" if resume else "")):
                CHAT.run(config=settings, resume=resume)
        model = folders["lora"] / "model"
        keep_demo_chat(model=model, base=base, encoder=self.encoder)
        return model

    def _steps(self, name: str) -> int:
        return min(self.config.steps, _STEPS[name])

    def answers(self, scan: Path, *, present: Sequence[str]) -> ChatAnswers:
        """Train, measure, ask about a scan into which `present` was painted, and describe all three."""
        from thoracle.evaluation.demo.chat import figures_of, section, sentences

        metrics = figures_of(self.measure(self.train()))
        return ChatAnswers(sentences=sentences(metrics), parts=section(metrics, self.ask(scan, present=present)))

    def measure(self, model: Path) -> Path:
        """Score the model beside the same model without the scan; return the JSON of its figures."""
        from thoracle.cli.evaluate.chat import chat as evaluate_chat

        where = self.out / "evaluation-chat"
        topics = " ".join(f"--topic {topic}" for topic in _TOPICS)
        arguments = f"--questions {self.questions} {topics} --limit {_QUESTIONS} --reports {_REPORTS} --out {where}"
        with self.stage("evaluate chat", f"evaluate chat {self.cohort} --model {model} {arguments}"):
            evaluate_chat(
                self.cohort, model=model, questions=self.questions, topic=list(_TOPICS), limit=_QUESTIONS, reports=_REPORTS, out=where
            )
        return where / "chat.json"

    def ask(self, scan: Path, *, present: Sequence[str]) -> SampleConversation:
        """Ask the default chat model about a scan into which `present` was painted: for words, for sentences, for a report."""
        from thoracle.cli.chat import chat
        from thoracle.evaluation.demo.chat import SampleConversation
        from thoracle.inference.chat.conversation import read_turns

        turns = []
        for name, task, questions in _TALKS:
            talk = self.out / f"{name}.json"
            talk.unlink(missing_ok=True)  # a second run asks anew
            arguments = " ".join(f'--ask "{question}"' for question in questions)
            with self.stage(f"chat: {task}", f"chat {scan} --task {task} {arguments} --conversation {talk}"):
                chat([scan], ask=list(questions), task=task, conversation=talk)
            turns += read_turns(talk)
        return SampleConversation(turns=[(turn.question, turn.answer) for turn in turns], present=present)
