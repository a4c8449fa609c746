"""`thoracle train chat`: questions about a cohort's scans become a chat model, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from thoracle.cli.train import train
from thoracle.cli.train.options import Cohort, Config, Out, Resume


@train.command()
def chat(
    *,
    config: Config,
    stage: Annotated[Literal["base", "projector", "lora"] | None, typer.Option(help="In place of the setting.")] = None,
    questions: Annotated[Path | None, typer.Option(metavar="JSON", help="Of `thoracle questions`; in place of the setting.")] = None,
    encoder: Annotated[Path | None, typer.Option(metavar="DIR", help="CT-CLIP model folder; in place of the setting.")] = None,
    base: Annotated[Path | None, typer.Option(metavar="DIR", help="Language model's folder; in place of the setting.")] = None,
    start: Annotated[Path | None, typer.Option(metavar="DIR", help="Chat folder to go on from; in place of the setting.")] = None,
    cohort: Cohort = None,
    out: Out = None,
    resume: Resume = False,
) -> None:
    """Train a chat model: first its projector, then a LoRA adapter too. Ends with DIR/model, which `thoracle chat` takes.

    Stage base makes a small language model of its own, for phantoms. A run that was stopped goes on with --resume.
    """
    from thoracle.cli.train.progress import follow
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.questions.file import read_questions
    from thoracle.training.chat import ChatConfig
    from thoracle.training.chat_run import chat_run, findings_of, split_questions
    from thoracle.training.chat_scans import cohort_scans
    from thoracle.training.config import read_config
    from thoracle.training.distributed import join

    told = read_config(config, ChatConfig)
    given = {"cohort": cohort, "questions": questions, "encoder": encoder, "base": base, "start": start, "out": out, "stage": stage}
    told = ChatConfig.from_dict(told.as_dict() | {name: str(value) for name, value in given.items() if value is not None})
    prepared = open_cohort(told.cohort)
    asked, held_out = split_questions(read_questions(Path(told.questions)), prepared)
    held_out = held_out[: told.held_out] if told.evaluate_every else ()
    with join() as world:
        seen = {name for one in (*asked, *held_out) for name in one.images}
        scans = None if told.stage == "base" else cohort_scans(prepared, seen, world, encoder=Path(told.encoder))
        trainer = chat_run(told, asked, world, findings=findings_of(prepared), scans=scans, held_out=held_out, resume=resume)
        follow(trainer, quiet=world.rank > 0)
