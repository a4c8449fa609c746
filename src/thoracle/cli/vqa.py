"""`thoracle vqa`: a cohort's labels, reports and masks become questions with answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoracle.cli.app import app
from thoracle.cli.llm_options import LlmModel, MaxTokens, Timeout, open_server

if TYPE_CHECKING:
    from thoracle.cohort.manifest import CohortEntry
    from thoracle.cohort.vqa.vqa_file import QuestionSet
    from thoracle.inference.llm.openai_client import OpenAIClient


Section = Literal["findings", "impression", "both"]


@app.command()
def vqa(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote.")],
    *,
    out: Annotated[Path, typer.Option(metavar="JSON", help="Questions and answers, in CT-CHAT's published form.")],
    masks: Annotated[Path | None, typer.Option(metavar="DIR", help="Masks of phantoms: sides and numbers are theirs.")] = None,
    section: Annotated[Section, typer.Option(help="Of a report, which is to be written.")] = "both",
    num_pairs: Annotated[
        int | None, typer.Option("--pairs", min=1, metavar="N", help="Of a scan, in turn of topics; no fewer than presence and the report.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of which questions are asked and in which words.")] = 0,
    llm_url: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible server that writes them from reports.")] = None,
    llm_model: LlmModel = None,
    timeout: Timeout = 120.0,
    max_tokens: MaxTokens = 4096,
) -> None:
    """Make questions with answers for training and for measuring a chat model.

    In a word: presence, side, lobe, size, number, severity, which of two. By a choice of four: the same. In sentences: each finding, each
    region, two findings beside each other, all that is there or absent. Then the report, and what changed between two scans of a patient:
    about 105 pairs a scan, no two of which ask for the same fact in the same task. Presence is asked in a word of each abnormality as
    often where it is as where it is not. --pairs makes a smaller file for a short training: presence and the report are always asked, the
    others in turn of their topics. The same cohort and seed give the same file.

    With --llm-url a language model writes them instead, from each report; those whose answers contradict the report are dropped. Reports
    leave this machine then, if the server is another. A run that was stopped goes on; a report that fails is named, and asked about again
    by the next run.

    Exit status: 0 all well, 1 a report failed, 2 the command was wrong.
    """
    from collections import Counter

    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.sources import SPLITS
    from thoracle.cohort.vqa.cases import cases_of
    from thoracle.cohort.vqa.templates import make_questions
    from thoracle.cohort.vqa.vqa_file import write_questions
    from thoracle.types import RESEARCH_USE

    client = None if llm_url is None else open_server(llm_url, model=llm_model, timeout=timeout)
    entries, failed = open_cohort(cohort).entries, 0
    splits = [split for split in SPLITS if any(entry.split == split for entry in entries)]
    conversations: Iterable[QuestionSet]
    if client is not None:
        conversations, failed = _written(entries, client, out, max_tokens=max_tokens)
    else:
        conversations = (
            conversation
            for split in splits
            for conversation in make_questions(cases_of(entries, split=split, section=section, masks=masks), seed=seed, num_pairs=num_pairs)
        )
    topics, tasks, scans = Counter[str](), Counter[str](), set[str]()

    def counted() -> Iterator[QuestionSet]:
        for conversation in conversations:
            topics.update(pair.topic or pair.type for pair in conversation.pairs)
            tasks.update(pair.task for pair in conversation.pairs)
            scans.update(conversation.images)
            yield conversation

    write_questions(out, counted())
    counts = ", ".join(f"{count:,} {topic}" for topic, count in topics.most_common())
    pairs = tasks.total()
    shares = f"{pairs / max(len(scans), 1):.1f} a scan, {tasks['long_answer'] / max(pairs, 1):.1%} with long answers"
    typer.echo(f"{pairs:,} questions, {shares} ({counts}): {out}\n{RESEARCH_USE}", err=True)
    if failed:
        raise typer.Exit(1)


def _written(entries: tuple[CohortEntry, ...], client: OpenAIClient, out: Path, *, max_tokens: int) -> tuple[list[QuestionSet], int]:
    """Of each scan's report, by its first volume; and how many reports failed."""
    from rich.console import Console

    from thoracle.cli.progress import track
    from thoracle.cohort.vqa.vqa_file import QuestionSet
    from thoracle.errors import AnswerFailed
    from thoracle.inference.chat.question_writer import WrittenQuestions
    from thoracle.inference.chat.question_writer_run import write_all_questions

    first: dict[str, CohortEntry] = {}
    for entry in entries:
        first.setdefault(entry.scan, entry)
    reports = {entry.volume: entry.report.text("both") for entry in first.values() if entry.report.text("both")}
    journal = out.with_name(f"{out.name}.written.jsonl")
    console = Console(stderr=True, highlight=False)
    written: dict[str, WrittenQuestions] = {}
    failures = 0
    many = write_all_questions(
        client.generate_whole, reports, llm=client.model, journal=journal, max_tokens=max_tokens, check=client.check, close=client.close
    )
    for volume, answer in track(many, total=len(reports), description="questions", console=console, rate="min"):
        if isinstance(answer, AnswerFailed):
            console.print(f"{volume} has no questions: {answer.detail}", markup=False)
            failures += 1
        else:
            written[volume] = answer
    dropped, empty = sum(answer.dropped for answer in written.values()), sum(bool(answer.why) for answer in written.values())
    failed = f"; {failures:,} reports failed: the same command asks about them again" if failures else ""
    typer.echo(f"{dropped:,} questions contradict their reports and were dropped; {empty:,} reports gave none{failed}.", err=True)
    conversations = [
        QuestionSet(id=f"{volume}:{k}", images=(volume,), pairs=(pair,))
        for volume in reports
        if volume in written
        for k, pair in enumerate(written[volume].pairs)
    ]
    return conversations, failures
