"""Train a chat model on questions about a cohort's scans, stage by stage: `thoracle train chat`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from thoracle.cli.train.command import Run, TrainTask, add_command, setting

if TYPE_CHECKING:
    from thoracle.training.chat.task import ChatConfig
    from thoracle.training.engine.distributed import World
    from thoracle.training.engine.trainer import Trainer


def _config() -> type[ChatConfig]:
    from thoracle.training.chat.task import ChatConfig

    return ChatConfig


def _prepare(config: ChatConfig) -> Run:
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.vqa.vqa_file import read_vqa
    from thoracle.training.chat.run import chat_run, finding_targets, split_questions
    from thoracle.training.chat.scan_features import encode_cohort_scans

    cohort = open_cohort(config.cohort, only=config.only)
    conversations, held_out = split_questions(read_vqa(Path(config.vqa_file)), cohort, held_out="dev")
    held_out = held_out[: config.num_eval_conversations] if config.eval_every else ()

    def start(world: World, resume: bool) -> Trainer:
        names = {name for conversation in (*conversations, *held_out) for name in conversation.images}
        scans = None if config.stage == "base" else encode_cohort_scans(cohort, names, world, encoder=Path(config.encoder))
        return chat_run(config, conversations, world, findings=finding_targets(cohort), scans=scans, held_out=held_out, resume=resume)

    return Run(start=start)


CHAT: Final = TrainTask(
    name="chat",
    help="""Train a chat model: first its projector, then a LoRA adapter too. Ends with DIR/model, which `thoracle chat` takes.

    Stage base makes a small language model of its own, for phantoms. A run that was stopped goes on with --resume.
    """,
    config=_config,
    prepare=_prepare,
    settings={
        "stage": setting("--stage", "base|projector|lora", "Which part is trained", kind=Literal["base", "projector", "lora"]),
        "vqa_file": setting("--questions", "JSON", "What `thoracle vqa` wrote", kind=Path),
        "encoder": setting("--encoder", "DIR", "CT-CLIP model folder", kind=Path),
        "language_model": setting("--base", "DIR", "Language model's folder", kind=Path),
        "init_from": setting("--start", "DIR", "Chat folder to go on from", kind=Path),
    },
)
add_command(CHAT)
