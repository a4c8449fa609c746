"""`thoracle evaluate chat`: a chat model's answers about held-out scans, beside those of the same model without the scan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.options import Device

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from thoracle.cohort.manifest import Cohort
    from thoracle.cohort.questions.file import Conversation
    from thoracle.evaluation.chat import Answered
    from thoracle.inference.chat.chat import Chat
    from thoracle.inference.chat.sampling import Sampling
    from thoracle.metrics.bootstrap import Interval
    from thoracle.types import FloatArray


@evaluate.command()
def chat(
    model: Annotated[Path, typer.Argument(metavar="CHAT", help="Chat folder.")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote.")],
    *,
    questions: Annotated[Path, typer.Option(metavar="JSON", help="What `thoracle questions` wrote.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="chat.json, answers.json.")],
    limit: Annotated[int, typer.Option(min=1, help="Questions, drawn from those of the split valid.")] = 500,
    reports: Annotated[int, typer.Option(min=0, help="Reports, drawn likewise.")] = 50,
    judge: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible server that judges what is not closed.")] = None,
    llm: Annotated[str, typer.Option(metavar="NAME", help="The judge's model.")] = "default",
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer.")] = 256,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    device: Device = "auto",
) -> None:
    """Measure answers about scans that were not trained on, with intervals over patients.

    Every figure stands beside that of the same model without the scan, which can only guess.
    """
    from dataclasses import asdict
    from functools import partial

    from rich.console import Console

    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.questions.file import read_questions
    from thoracle.errors import InputError
    from thoracle.evaluation.chat import diversity, summarise
    from thoracle.evaluation.chat_judge import judge as judge_answers
    from thoracle.files import write_atomic
    from thoracle.inference.chat.chat import load_chat
    from thoracle.inference.chat.endpoint import Endpoint
    from thoracle.inference.chat.sampling import Sampling
    from thoracle.inference.label.rules import RuleLabeller
    from thoracle.training.chat_run import split_questions
    from thoracle.types import RESEARCH_USE

    prepared = open_cohort(cohort)
    _, held_out = split_questions(read_questions(questions), prepared)
    if not held_out:
        raise InputError("no question is about a scan of the split valid", cure="Give the cohort's own questions.", source=questions)
    loaded, console = load_chat(model, device=device), Console(stderr=True, highlight=False)
    asked, sampling = _drawn(held_out, limit=limit, reports=reports), Sampling(max_tokens=max_tokens)
    seeing = _answers(loaded, prepared, asked, sampling, blind=False, console=console)
    blind = _answers(loaded, prepared, asked, sampling, blind=True, console=console)
    judged = None if judge is None else partial(judge_answers, Endpoint(judge, model=llm).generate)
    found, without = (summarise(said, label=_labels, judged=judged, resamples=resamples) for said in (seeing, blind))
    training = [entry.report.text("both") for entry in prepared.entries if entry.split == "train"][:200]
    variety = diversity([one.answer for one in seeing if one.pair.topic == "report"], training)
    values = {
        "notice": RESEARCH_USE,
        "caution": loaded.caution,
        "questions": len(asked),
        "judge": "" if judge is None else f"{llm} at {judge}",
        "labelled by": RuleLabeller().settings(),
        "with the scan": {name: asdict(one) for name, one in found.items()},
        "without the scan": {name: asdict(one) for name, one in without.items()},
        "diversity": variety,
    }
    said = [
        {"id": one.id, "question": answered.pair.question, "reference": answered.pair.answer, "answer": answered.answer}
        for one, answered in zip(asked, seeing, strict=True)
    ]
    plain = json.loads(json.dumps(values), parse_constant=lambda _: None)  # NaN is null
    write_atomic(out / "chat.json", (json.dumps(plain, indent=1) + "\n").encode())
    write_atomic(out / "answers.json", (json.dumps(said, indent=1) + "\n").encode())
    _print(found, without, dict(variety), loaded.caution)


def _drawn(held_out: Sequence[Conversation], *, limit: int, reports: int) -> tuple[Conversation, ...]:
    """The first of each, scan by scan: what was read of a scan is not read again for its next question."""
    written = [one for one in held_out if one.pairs[-1].topic == "report"][:reports]
    others = [one for one in held_out if one.pairs[-1].topic != "report"][:limit]
    return tuple(sorted([*others, *written], key=lambda one: one.images))


def _labels(texts: Sequence[str]) -> FloatArray:
    """By the rules of `thoracle label`; a text that they cannot read states nothing."""
    import numpy as np

    from thoracle.inference.label.rules import RuleLabeller

    return np.array([[float(value or 0) for value in labels.values] for labels in RuleLabeller().label(texts)])


def _answers(
    loaded: Chat, prepared: Cohort, asked: tuple[Conversation, ...], sampling: Sampling, *, blind: bool, console: Console
) -> list[Answered]:
    """The last answer of each conversation, with the turns before it as they should have been."""
    from functools import lru_cache

    from rich.progress import track

    from thoracle.cohort.cache import read_volume
    from thoracle.evaluation.chat import Answered
    from thoracle.inference.chat.conversation import Conversation as Talk
    from thoracle.inference.chat.conversation import Turn
    from thoracle.inference.chat.scans import scan_tokens
    from thoracle.inference.prepare import Prepared

    entries = {entry.volume: entry for entry in prepared.entries}

    @lru_cache(maxsize=2)  # what is asked of a scan stands together
    def tokens(name: str) -> Tensor:
        volume = read_volume(prepared.folder / entries[name].cache)
        return scan_tokens(loaded.encoder, Prepared(array=volume, provenance=None, warnings=()))

    found = []
    for one in track(asked, description="without the scan" if blind else "with the scan", console=console):
        scans = () if blind else tuple(map(tokens, one.images))
        before = [Turn(question=pair.question, task=pair.task, answer=pair.answer) for pair in one.pairs[:-1]]  # type: ignore[arg-type]
        last = one.pairs[-1]
        turns = Talk(scans=scans, turns=before).messages(last.question, last.task)  # type: ignore[arg-type]
        answer = "".join(loaded.generate(turns, scans, sampling=sampling)).strip()
        found.append(Answered(patient=entries[one.images[0]].patient, pair=last, answer=answer))
    return found


def _print(found: dict[str, Interval], without: dict[str, Interval], variety: dict[str, float], caution: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from thoracle.evaluation.page import shown, with_bounds
    from thoracle.types import RESEARCH_USE

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("", "with the scan", "without it"):
        table.add_column(column)
    for name, one in found.items():
        other = without[name]
        table.add_row(name, with_bounds(one.value, one.low, one.high), with_bounds(other.value, other.low, other.high))
    console.print(table)
    for name, value in variety.items():
        console.print(f"{name}: {shown(value)}")
    console.print(" ".join(filter(None, (caution, RESEARCH_USE))))
