"""All stages of a phantom-sized chat model, one after the other: what a demonstration runs; knows no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from thoracle.cohort.listing import SPLITS
from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.questions.cases import cases_of
from thoracle.cohort.questions.file import write_questions
from thoracle.cohort.questions.templates import make_questions
from thoracle.training.chat import STAGES, ChatConfig, Stage
from thoracle.training.chat_data import with_scans
from thoracle.training.chat_run import chat_run, split_questions, words_of
from thoracle.training.chat_scans import cohort_scans
from thoracle.training.distributed import join
from thoracle.training.folder import MODEL
from thoracle.training.trainer import Progress


def phantom_chat(config: ChatConfig, *, cohort: Path, encoder: Path, out: Path) -> Iterator[tuple[Stage, Progress]]:
    """Make questions of a cohort and train every stage on them; `out`/lora/model is the chat folder, `out`/vqa.json the questions.

    Args:
        config: as configs/phantom-chat.yaml; its folders are replaced.
        cohort: prepared for the encoder.
        encoder: a CT-CLIP model folder.
        out: of the runs; a run that is there goes on where it stopped.

    Raises:
        As `chat_run` and `cohort_scans`.
    """
    prepared = open_cohort(cohort)
    made = [one for split in SPLITS for one in make_questions(cases_of(prepared.entries, split=split), seed=config.seed)]
    write_questions(out / "vqa.json", made)
    asked, _ = split_questions(made, prepared)
    base = out / "base" / MODEL
    with join() as world:
        scans = cohort_scans(prepared, {name for one in asked for name in one.images}, world, encoder=encoder)
        for stage in STAGES:
            told = replace(
                config,
                stage=stage,
                out=str(out / stage),
                cohort=str(cohort),
                questions=str(out / "vqa.json"),
                encoder=str(encoder),
                base=str(base),
                start=str(out / "projector" / MODEL) if stage == "lora" else "",
            )
            words = stage == "base"
            run = chat_run(
                told,
                asked,
                world,
                scans=None if words else scans,
                turns=words_of(prepared) if words else with_scans,
                resume=True,
            )
            for progress in run.run():
                yield stage, progress
