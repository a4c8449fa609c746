"""`thoracle questions`: a cohort's labels, reports and masks become questions with answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.app import app


@app.command()
def questions(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote.")],
    *,
    out: Annotated[Path, typer.Option(metavar="JSON", help="Questions and answers, in CT-CHAT's published form.")],
    masks: Annotated[Path | None, typer.Option(metavar="DIR", help="Masks of phantoms: sides and numbers are theirs.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of which questions are asked and in which words.")] = 0,
) -> None:
    """Make questions with answers for training and for measuring a chat model.

    Presence, side, lobe, size and number, a choice of four, what changed between two scans of a patient, and the report. Presence is
    asked of each abnormality as often where it is as where it is not. The same cohort and seed give the same file.
    """
    from collections import Counter

    from thoracle.cohort.listing import SPLITS
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.questions.cases import cases_of
    from thoracle.cohort.questions.file import write_questions
    from thoracle.cohort.questions.templates import make_questions
    from thoracle.types import RESEARCH_USE

    entries = open_cohort(cohort).entries
    splits = [split for split in SPLITS if any(entry.split == split for entry in entries)]
    made = [one for split in splits for one in make_questions(cases_of(entries, split=split, masks=masks), seed=seed)]
    write_questions(out, made)
    topics = Counter(pair.topic for one in made for pair in one.pairs)
    told = ", ".join(f"{count:,} {topic}" for topic, count in topics.most_common())
    typer.echo(f"{len(made):,} questions ({told}): {out}\n{RESEARCH_USE}", err=True)
