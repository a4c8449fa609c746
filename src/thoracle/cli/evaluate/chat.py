"""`thoracle evaluate chat`: a chat model's answers about held-out scans, beside those of the same model without the scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.llm_options import LlmModel, Timeout, open_server
from thoracle.cli.options import Device, SplitName

if TYPE_CHECKING:
    from thoracle.metrics.bootstrap import Interval


@evaluate.command()
def chat(
    model: Annotated[Path, typer.Argument(metavar="CHAT", help="Chat folder.")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote.")],
    *,
    questions: Annotated[Path, typer.Option(metavar="JSON", help="What `thoracle vqa` wrote.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="chat.json, answers.json, and what a stopped run goes on from.")],
    limit: Annotated[int, typer.Option(min=1, help="Questions, drawn from those of the split.")] = 500,
    split: Annotated[SplitName, typer.Option(help="Whose scans: dev to choose by, valid to score.")] = "valid",
    reports: Annotated[int, typer.Option(min=0, help="Reports, drawn likewise.")] = 50,
    judge_url: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible server that judges what is not closed.")] = None,
    llm_model: LlmModel = None,
    timeout: Timeout = 120.0,
    judge_tokens: Annotated[int, typer.Option(min=1, help="Of a judge's answer.")] = 256,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer.")] = 256,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    device: Device = "auto",
) -> None:
    """Measure answers about scans that were not trained on, with intervals over patients.

    Every figure stands beside that of the same model without the scan, which can only guess. A run that was stopped goes on.
    """
    from functools import partial

    from rich.console import Console

    from thoracle.cli.progress import track
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.vqa.vqa_file import read_vqa
    from thoracle.errors import InputError
    from thoracle.evaluation.chat.answers import answer_questions, chat_fingerprint, draw_questions, label_texts
    from thoracle.evaluation.chat.llm_judge import score_with_llm as judge_answers
    from thoracle.evaluation.chat.metrics import summarise, template_similarity
    from thoracle.evaluation.chat.report import answers_json, chat_json
    from thoracle.files.json_file import write_json
    from thoracle.inference.chat.session import load_chat
    from thoracle.inference.llm.decoding import SamplingOptions
    from thoracle.training.chat.run import split_questions

    server = None if judge_url is None else open_server(judge_url, model=llm_model, timeout=timeout)
    prepared = open_cohort(cohort)
    _, held_out = split_questions(read_vqa(questions), prepared, held_out=split)
    if not held_out:
        raise InputError(f"no question is about a scan of the split {split}", hint="Give the cohort's own questions.", source=questions)
    loaded, console = load_chat(model, device=device), Console(stderr=True, highlight=False)
    conversations, sampling = draw_questions(held_out, limit=limit, reports=reports), SamplingOptions(max_tokens=max_tokens)
    out.mkdir(parents=True, exist_ok=True)
    answer = partial(answer_questions, loaded, prepared, conversations, sampling=sampling)
    fingerprint, journal = chat_fingerprint(model), out / "answers.jsonl"
    answers = [
        list(
            track(
                answer(blind=blind, model=fingerprint, journal=journal),
                description="without the scan" if blind else "with the scan",
                total=len(conversations),
                console=console,
            )
        )
        for blind in (False, True)
    ]
    write_json(out / "answers.json", answers_json(conversations, answers[0]), indent=1, private=True)
    judged, judge_name = None, ""
    if server is not None:
        judge_name = f"{server.model} at {judge_url}"
        judged = partial(
            judge_answers, server.generate_whole, llm=judge_name, max_tokens=judge_tokens, journal=out / "judge.jsonl", check=server.check,
            close=server.close,
            progress=lambda answers, total: track(answers, description="judged", total=total, console=console, rate="min"),
        )  # fmt: skip
    seeing, blind = (summarise(answered, label=label_texts, judged=judged, resamples=resamples) for answered in answers)
    training = [entry.report.text("both") for entry in prepared.entries if entry.split == "train"][:200]
    variety = template_similarity([answered.answer for answered in answers[0] if answered.pair.topic == "report"], training)
    document = chat_json(seeing, blind, diversity=variety, questions=len(conversations), judge=judge_name, caution=loaded.caution)
    write_json(out / "chat.json", document, indent=1)
    _print(seeing, blind, dict(variety), loaded.caution)


def _print(seeing: dict[str, Interval], without: dict[str, Interval], variety: dict[str, float], caution: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from thoracle.evaluation.html.page import shown, with_bounds
    from thoracle.types import RESEARCH_USE

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("", "with the scan", "without it"):
        table.add_column(column)
    for name, interval in seeing.items():
        blind = without[name]
        table.add_row(name, with_bounds(interval.value, interval.low, interval.high), with_bounds(blind.value, blind.low, blind.high))
    console.print(table)
    for name, value in variety.items():
        console.print(f"{name}: {shown(value)}")
    console.print(" ".join(filter(None, (caution, RESEARCH_USE))))
