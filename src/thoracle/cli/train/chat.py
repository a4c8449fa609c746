"""Train a chat model on questions about a cohort's scans, stage by stage: `thoracle train chat`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from thoracle.cli.train.command import Run, TrainTask, add_command, setting

if TYPE_CHECKING:
    from thoracle.training.chat.task import ChatConfig
    from thoracle.training.engine.distributed import World
    from thoracle.training.engine.plan import RunPlan
    from thoracle.training.engine.trainer import Trainer


def _config() -> type[ChatConfig]:
    from thoracle.training.chat.task import ChatConfig

    return ChatConfig


def _prepare(config: ChatConfig) -> Run:
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.vqa.question_file import open_questions, outline
    from thoracle.errors import InputError
    from thoracle.training.chat.run import chat_run, finding_targets, split_questions
    from thoracle.training.chat.scan_features import encode_cohort_scans

    cohort = open_cohort(config.cohort, only=config.only)

    def start(world: World, resume: bool) -> Trainer:
        notes_folder = cohort.folder / "questions"
        if world.rank == 0:
            open_questions(Path(config.vqa_file), cache=notes_folder, workers=os.cpu_count() or 1)
        world.barrier()
        split = split_questions(open_questions(Path(config.vqa_file), cache=notes_folder), cohort, held_out="dev")
        if not len(split.train):
            hint = "Give the cohort's own questions."
            raise InputError("no question is about a scan of the split train", hint=hint, source=config.vqa_file)
        held_out = list(split.held_out[: config.num_eval_conversations]) if config.eval_every else []
        names = outline(split.train).names | outline(held_out).names
        scans = None if config.stage == "base" else encode_cohort_scans(cohort, names, world, encoder=Path(config.encoder))
        return chat_run(
            config,
            split.train,
            world,
            findings=finding_targets(cohort),
            scans=scans,
            held_out=held_out,
            notes=split.notes,
            resume=resume,
        )

    return Run(start=start)


def _plan(config: ChatConfig, ranks: int, local_ranks: int) -> RunPlan:
    from thoracle.cli.train.pairs import cache_size
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.vqa.question_file import open_questions
    from thoracle.errors import CapabilityMissing, InputError
    from thoracle.training.chat.plan import plan_chat
    from thoracle.training.chat.run import split_questions

    if config.stage == "base":
        raise CapabilityMissing("--dry-run plans no stage base, which is for phantoms", hint="Give --stage projector or lora.")
    cohort = open_cohort(config.cohort, only=config.only)
    split = split_questions(open_questions(Path(config.vqa_file), workers=os.cpu_count() or 1), cohort, held_out="dev")
    if not len(split.train):
        raise InputError("no question is about a scan of the split train", hint="Give the cohort's own questions.", source=config.vqa_file)
    return plan_chat(config, split.train, cache=cache_size(cohort), ranks=ranks, local_ranks=local_ranks)


CHAT: Final = TrainTask(
    name="chat",
    help="""Train a chat model: first its projector, then a LoRA adapter too. Ends with DIR/model, which `thoracle chat` takes.

    Stage base makes a small language model of its own, for phantoms. A run that was stopped goes on with --resume.
    """,
    config=_config,
    prepare=_prepare,
    plan=_plan,
    settings={
        "stage": setting("--stage", "base|projector|lora", "Which part is trained", kind=Literal["base", "projector", "lora"]),
        "vqa_file": setting("--questions", "JSON", "What `thoracle vqa` wrote", kind=Path),
        "encoder": setting("--encoder", "DIR", "Model folder whose tokens are read", kind=Path),
        "language_model": setting("--base", "DIR", "Language model's folder", kind=Path),
        "dtype": setting(
            "--dtype", "auto|bf16|float32", "Numbers of the language model where it is not trained", kind=Literal["auto", "bf16", "float32"]
        ),
        "init_from": setting("--start", "DIR", "Chat folder to go on from", kind=Path),
    },
)
add_command(CHAT)
