"""`thoracle vqa`: a cohort's labels, reports and masks become questions with answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoracle.cli.app import app

if TYPE_CHECKING:
    from thoracle.cohort.manifest import CohortEntry
    from thoracle.cohort.vqa.vqa_file import QuestionSet


Section = Literal["findings", "impression", "both"]


@app.command()
def vqa(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote.")],
    *,
    out: Annotated[Path, typer.Option(metavar="JSON", help="Questions and answers, in CT-CHAT's published form.")],
    masks: Annotated[Path | None, typer.Option(metavar="DIR", help="Masks of phantoms: sides and numbers are theirs.")] = None,
    section: Annotated[Section, typer.Option(help="Of a report, which is to be written.")] = "both",
    seed: Annotated[int, typer.Option(min=0, help="Of which questions are asked and in which words.")] = 0,
    llm_url: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible server that writes them from reports.")] = None,
    llm_model: Annotated[str, typer.Option(metavar="NAME", help="The server's model.")] = "default",
) -> None:
    """Make questions with answers for training and for measuring a chat model.

    Presence, side, lobe, size and number, a choice of four, what changed between two scans of a patient, and the report. Presence is
    asked of each abnormality as often where it is as where it is not. The same cohort and seed give the same file.

    With --llm-url a language model writes them instead, from each report; those whose answers contradict the report are dropped. Reports
    leave this machine then, if the server is another. A run that was stopped goes on.
    """
    from collections import Counter

    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.sources import SPLITS
    from thoracle.cohort.vqa.cases import cases_of
    from thoracle.cohort.vqa.templates import make_questions
    from thoracle.cohort.vqa.vqa_file import write_questions
    from thoracle.types import RESEARCH_USE

    entries = open_cohort(cohort).entries
    splits = [split for split in SPLITS if any(entry.split == split for entry in entries)]
    if llm_url is not None:
        conversations = _written(entries, llm_url, llm_model, out)
    else:
        conversations = [
            conversation
            for split in splits
            for conversation in make_questions(cases_of(entries, split=split, section=section, masks=masks), seed=seed)
        ]
    write_questions(out, conversations)
    topics = Counter(pair.topic or pair.type for conversation in conversations for pair in conversation.pairs)
    counts = ", ".join(f"{count:,} {topic}" for topic, count in topics.most_common())
    typer.echo(f"{len(conversations):,} questions ({counts}): {out}\n{RESEARCH_USE}", err=True)


def _written(entries: tuple[CohortEntry, ...], llm_url: str, llm_model: str, out: Path) -> list[QuestionSet]:
    """Of each scan's report, by its first volume."""
    from rich.console import Console

    from thoracle.cli.progress import track
    from thoracle.cohort.vqa.vqa_file import QuestionSet
    from thoracle.inference.chat.question_writer_run import write_all_questions
    from thoracle.inference.llm.openai_client import OpenAIClient

    first: dict[str, CohortEntry] = {}
    for entry in entries:
        first.setdefault(entry.scan, entry)
    reports = {entry.volume: entry.report.text("both") for entry in first.values() if entry.report.text("both")}
    journal = out.with_name(f"{out.name}.written.jsonl")
    console = Console(stderr=True, highlight=False)
    conversations: list[QuestionSet] = []
    dropped, empty = 0, 0
    many = write_all_questions(OpenAIClient(llm_url, model=llm_model).generate_whole, reports, llm=llm_model, journal=journal)
    for volume, written in track(many, total=len(reports), description="questions", console=console, rate="min"):
        conversations += [QuestionSet(id=f"{volume}:{k}", images=(volume,), pairs=(pair,)) for k, pair in enumerate(written.pairs)]
        dropped, empty = dropped + written.dropped, empty + bool(written.why)
    typer.echo(f"{dropped:,} questions contradict their reports and were dropped; {empty:,} reports gave none.", err=True)
    return conversations
