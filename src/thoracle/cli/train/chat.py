"""`thoracle train chat`: questions about a cohort's scans become a chat model, stage by stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from thoracle.cli.train import train
from thoracle.cli.train.options import Cohort, Config, Out, Overrides, Resume


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
    overrides: Overrides = None,
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
    from thoracle.training.config import load_config
    from thoracle.training.distributed import join

    settings = load_config(config, ChatConfig, overrides=overrides or ())
    paths = {"cohort": cohort, "vqa_file": questions, "encoder": encoder, "language_model": base, "init_from": start, "out": out}
    named: dict[str, Any] = {name: str(path) for name, path in paths.items() if path is not None}
    settings = replace(settings, **named, stage=stage or settings.stage)
    prepared = open_cohort(settings.cohort)
    asked, held_out = split_questions(read_questions(Path(settings.vqa_file)), prepared)
    held_out = held_out[: settings.num_eval_conversations] if settings.eval_every else ()
    with join() as world:
        seen = {name for one in (*asked, *held_out) for name in one.images}
        scans = None if settings.stage == "base" else cohort_scans(prepared, seen, world, encoder=Path(settings.encoder))
        trainer = chat_run(settings, asked, world, findings=findings_of(prepared), scans=scans, held_out=held_out, resume=resume)
        follow(trainer, quiet=world.rank > 0)
