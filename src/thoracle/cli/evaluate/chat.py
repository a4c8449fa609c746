"""`thoracle evaluate chat`: answers about held-out scans, of a chat model, of another assistant or of a file, beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.llm_options import LlmModel, Timeout, open_server
from thoracle.cli.options import Device, LanguageDtype, Only, SplitName

if TYPE_CHECKING:
    from rich.console import Console

    from thoracle.cohort.manifest import Cohort
    from thoracle.cohort.vqa.vqa_file import QuestionSet
    from thoracle.evaluation.chat.assistant import Slices
    from thoracle.evaluation.chat.metrics import AnsweredQuestion, Judge
    from thoracle.inference.llm.decoding import SamplingOptions
    from thoracle.inference.llm.openai_client import OpenAIClient
    from thoracle.metrics.bootstrap import Interval
    from thoracle.models.chat.language_model import Dtype


@evaluate.command()
def chat(
    folders: Annotated[
        list[Path], typer.Argument(metavar="[CHAT] COHORT", help="Chat folder, if one is asked, and what `thoracle prepare` wrote.")
    ],
    *,
    questions: Annotated[Path, typer.Option(metavar="JSON", help="What `thoracle vqa` wrote.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="questions.json, answers.json, chat.json, and what a stopped run goes on from.")],
    llm_url: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible server that is asked, and shown slices.")] = None,
    llm_model: LlmModel = None,
    slices: Annotated[int, typer.Option(min=1, help="Axial slices that --llm-url is shown of a scan.")] = 12,
    answers: Annotated[Path | None, typer.Option(metavar="JSON", help="Anybody's answers to questions.json: a list of id, answer.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Questions, drawn from those of the split.")] = 500,
    topic: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only questions that ask for this. Repeatable.")] = None,
    split: Annotated[SplitName, typer.Option(help="Whose scans: dev to choose by, valid to score.")] = "valid",
    only: Only = None,
    reports: Annotated[int, typer.Option(min=0, help="Reports, drawn likewise.")] = 50,
    judge_url: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible server that judges what is not closed.")] = None,
    judge_model: LlmModel = None,
    timeout: Timeout = 120.0,
    judge_tokens: Annotated[int, typer.Option(min=1, help="Of a judge's answer.")] = 256,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer.")] = 256,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    device: Device = "auto",
    dtype: LanguageDtype = "auto",
) -> None:
    """Measure answers about scans that were not trained on, with intervals over patients.

    Figures of a model and of an assistant stand beside its own without the scan, which can only guess, and beside those of --answers,
    with the paired difference. --answers alone gives one column; with neither CHAT nor --llm-url nor --answers, questions.json is
    written and nothing is asked. A run that was stopped goes on.
    """
    from rich.console import Console

    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.vqa.question_file import open_questions
    from thoracle.errors import InputError
    from thoracle.evaluation.chat.answer_file import questions_json, read_answers
    from thoracle.evaluation.chat.answers import draw_questions, label_texts
    from thoracle.evaluation.chat.assistant import Slices
    from thoracle.evaluation.chat.metrics import compare_answers, summarise, template_similarity
    from thoracle.evaluation.chat.report import FILE, answers_json, chat_json
    from thoracle.files.json_file import write_json
    from thoracle.inference.llm.decoding import SamplingOptions
    from thoracle.training.chat.run import split_questions

    is_theirs = answers is not None and answers.resolve() == (out / "answers.json").resolve()
    model, cohort = _asked(folders, llm_url, replaced=answers if is_theirs else None)
    client = None if llm_url is None else open_server(llm_url, model=llm_model, timeout=timeout)
    server = None if judge_url is None else open_server(judge_url, model=judge_model, timeout=timeout)
    prepared = open_cohort(cohort, only=only)
    parts = split_questions(open_questions(questions), prepared, held_out=split)
    for note in filter(None, (prepared.selection, *parts.notes)):
        typer.echo(note, err=True)
    if not len(parts.held_out):
        raise InputError(f"no question is about a scan of the split {split}", hint="Give the cohort's own questions.", source=questions)
    console = Console(stderr=True, highlight=False)
    conversations = draw_questions(parts.held_out, limit=limit, reports=reports, topics=topic or ())
    if absent := set(topic or ()) - {conversation.pairs[-1].topic for conversation in conversations}:
        typer.echo(f"No question that was drawn asks for {', '.join(sorted(absent))}.", err=True)
    write_json(out / "questions.json", questions_json(conversations), indent=1, private=True)
    others = None if answers is None else read_answers(answers, conversations, {entry.volume: entry for entry in prepared.entries})
    asking = _Asking(prepared, conversations, SamplingOptions(max_tokens=max_tokens), out=out, console=console)
    scored = _Answers()
    if model is not None:
        scored = asking.model(model, device=device, dtype=dtype)
    elif client is not None:
        scored = asking.assistant(client, Slices(count=slices))
    if others is not None:
        scored = replace(scored, columns={**scored.columns, FILE: others[0]}, by={**scored.by, "file": str(answers)})
        typer.echo(others[1], err=True, nl=bool(others[1]))
    if not scored.columns:
        typer.echo(f"{len(conversations):,} questions to be answered: {out / 'questions.json'}. Give the answers as --answers.", err=True)
        return
    first, *beside = scored.columns
    own = scored.columns[first]
    if not is_theirs:  # it may hold answers to other questions too
        write_json(out / "answers.json", answers_json(conversations, own), indent=1, private=True)
    judged = None if server is None else _judge(server, out / "judge.jsonl", max_tokens=judge_tokens, console=console)
    figures = {name: summarise(column, label=label_texts, judged=judged, resamples=resamples) for name, column in scored.columns.items()}
    differences = {name: compare_answers(own, scored.columns[name], label=label_texts, resamples=resamples) for name in beside}
    variety = template_similarity(
        [answered.answer for answered in own if answered.pair.topic == "report"],
        [entry.report.text("both") for entry in prepared.entries if entry.split == "train"][:200],
    )
    document = chat_json(
        figures,
        differences,
        diversity=variety,
        questions=len(conversations),
        answered_by=scored.by,
        judge="" if server is None else _name(server),
        caution=scored.caution,
    )
    write_json(out / "chat.json", document, indent=1)
    _print(figures, differences, variety, scored.caution)


def _asked(folders: Sequence[Path], llm_url: str | None, *, replaced: Path | None) -> tuple[Path | None, Path]:
    """Tell chat folder and cohort apart; `replaced` is a file of answers that those of whom is asked would be written over."""
    from thoracle.errors import InputError

    *models, cohort = folders
    if len(models) > 1:
        raise InputError(f"expected a chat folder and a cohort at most, got {len(folders)} folders", hint="Ask one model at a time.")
    if models and llm_url is not None:
        hint = "Ask one, and give its answers.json as --answers when the other is asked."
        raise InputError("a chat folder and --llm-url are two that are asked", hint=hint)
    if replaced is not None and (models or llm_url is not None):
        raise InputError("the answers of whom is asked would replace this file", hint="Give another --out.", source=replaced)
    return (models[0] if models else None), cohort


def _name(server: OpenAIClient) -> str:
    return f"{server.model} at {server.connection.base}"


def _judge(server: OpenAIClient, journal: Path, *, max_tokens: int, console: Console) -> Judge:
    from thoracle.cli.progress import track
    from thoracle.evaluation.chat.llm_judge import score_with_llm

    return partial(
        score_with_llm,
        server.generate_whole,
        llm=_name(server),
        max_tokens=max_tokens,
        journal=journal,
        check=server.check,
        close=server.close,
        progress=lambda answers, total: track(answers, description="judged", total=total, console=console, rate="min"),
    )


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """Hold columns of answers by their names, who answered, and the caution of a chat folder."""

    columns: Mapping[str, Sequence[AnsweredQuestion]] = field(default_factory=dict)
    by: Mapping[str, Any] = field(default_factory=dict)
    caution: str = ""


@dataclass(frozen=True)
class _Asking:
    """Ask the drawn questions with the scans and without; answers are on the disk as they come."""

    cohort: Cohort
    conversations: tuple[QuestionSet, ...]
    sampling: SamplingOptions
    out: Path
    console: Console

    def model(self, folder: Path, *, device: str, dtype: Dtype) -> _Answers:
        """Ask a chat folder."""
        from thoracle.cli.progress import track
        from thoracle.evaluation.chat.answers import answer_questions, chat_fingerprint
        from thoracle.evaluation.chat.report import BLIND, SEEING
        from thoracle.inference.chat.session import load_chat

        loaded, fingerprint = load_chat(folder, device=device, dtype=dtype), chat_fingerprint(folder)
        columns = {}
        for name, blind in ((SEEING, False), (BLIND, True)):
            answers = answer_questions(
                loaded, self.cohort, self.conversations, sampling=self.sampling, blind=blind, model=fingerprint, journal=self._journal
            )
            columns[name] = list(track(answers, description=name, total=len(self.conversations), console=self.console))
        return _Answers(columns=columns, by={"model": str(folder)}, caution=loaded.caution)

    def assistant(self, client: OpenAIClient, slices: Slices) -> _Answers:
        """Ask a server's model, which is shown slices of the scans."""
        from thoracle.cli.progress import track
        from thoracle.evaluation.chat.assistant import ask_assistant
        from thoracle.evaluation.chat.report import BLIND, SEEING

        columns = {}
        for name, blind in ((SEEING, False), (BLIND, True)):
            columns[name] = ask_assistant(
                client,
                self.cohort,
                self.conversations,
                slices=slices,
                blind=blind,
                sampling=self.sampling,
                journal=self._journal,
                progress=partial(track, description=name, console=self.console, rate="min"),
            )
        return _Answers(columns=columns, by={"assistant": _name(client), "shown": slices.describe(self.cohort.preprocess)})

    @property
    def _journal(self) -> Path:
        return self.out / "answers.jsonl"


def _print(
    figures: Mapping[str, Mapping[str, Interval]],
    differences: Mapping[str, Mapping[str, Interval]],
    variety: Mapping[str, float],
    caution: str,
) -> None:
    from rich.console import Console
    from rich.table import Table

    from thoracle.evaluation.html.page import shown, with_bounds
    from thoracle.types import RESEARCH_USE

    console = Console(highlight=False)
    first = next(iter(figures))
    for columns in (figures, {f"{first} minus {name}": metrics for name, metrics in differences.items()}):
        table = Table("", *columns, box=None, pad_edge=False, header_style="")
        for name in figures[first]:
            intervals = [metrics.get(name) for metrics in columns.values()]
            table.add_row(name, *("" if bounds is None else with_bounds(bounds.value, bounds.low, bounds.high) for bounds in intervals))
        if columns:
            console.print(table)
    for name, value in variety.items():
        console.print(f"{name}: {shown(value)}")
    console.print(" ".join(filter(None, (caution, RESEARCH_USE))))
