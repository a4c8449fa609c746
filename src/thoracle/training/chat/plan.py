"""Plan a chat run: what its projector, adapter and language model keep of a batch of packed rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import cycle, islice
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from thoracle.cohort.vqa.question_file import outline
from thoracle.cohort.vqa.vqa_file import QuestionSet
from thoracle.models.bundle.model_folder import open_model
from thoracle.models.chat.adapters import ADAPTER_CONFIG, add_lora_adapter
from thoracle.models.chat.chat_folder import ADAPTER, PROJECTOR, open_chat
from thoracle.models.chat.chat_template import ChatTemplate
from thoracle.models.chat.components import load_projector
from thoracle.models.chat.language_model import ChatModel, outline_language_model
from thoracle.models.chat.published_prompt import PlainPrompt
from thoracle.models.chat.scan_tokens import ScanTokens
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.training.chat.packing import ChatBatch, PackedCollator, PackedDataset
from thoracle.training.chat.projector_initialization import projector_sizes
from thoracle.training.chat.task import ChatConfig, ChatTask, decoder_blocks
from thoracle.training.engine.distributed import World
from thoracle.training.engine.plan import RunPlan, StepOutline, plan_run, step_cost

#: Conversations that are tokenised; what the rest come to is estimated from how much text they have.
_SAMPLE: Final = 1024
#: Of a conversation, in the notes on a question file.
_NOTE_BYTES: Final = 24


def plan_chat(config: ChatConfig, conversations: Sequence[QuestionSet], *, cache: int, ranks: int, local_ranks: int) -> RunPlan:
    """Plan a run of stage "projector" or "lora" from its configuration and the conversations that are trained on.

    The batch is that of the rows with most words to be learnt, of a sample. Rows are packed: of a family that is trained unpacked a run
    takes less. Encoding the scans, which comes first, is not planned.

    Args:
        config: of the run.
        conversations: that are trained on.
        cache: bytes of the cohort's cache.
        ranks, local_ranks: of the run, and of a node.

    Raises:
        InputError: no conversation is short enough, or sizes of the projector that are not the encoder's or the language model's.
        As `load_language_model`, `open_chat`, `ScanTokens`.
    """
    tokens = ScanTokens(open_model(Path(config.encoder)))
    with torch.device("meta"):
        language = outline_language_model(Path(config.language_model), dtype=config.dtype)
    sizes = _projector_sizes(config, tokens, language.hidden)
    with torch.device("meta"):
        model = ChatModel(_adapted(config, language.model), Projector(sizes))
    prompt = PlainPrompt if config.prompt == "plain" else ChatTemplate
    sample, share = _sample(conversations)
    rows = PackedDataset(sample, prompt(language.tokenizer, rows=sizes.num_tokens), length=config.sequence_length)
    collate = PackedCollator(
        lambda _: torch.empty(tokens.shape, dtype=tokens.dtype), pad=language.tokenizer.pad_token_id or 0, weigh=config.loss_weight
    )
    packed = [rows[number] for number in range(len(rows))]
    packed.sort(key=lambda row: -sum(sum(part.loss_mask) for tree in row.trees for part in tree.continuations))
    batch = collate(list(islice(cycle(packed), config.batch_size)))
    names = outline(conversations).names
    return plan_run(
        config,
        step_cost(
            lambda: _outline(config, model, batch, lambda kept_I: torch.empty(len(kept_I), *tokens.grid, tokens.width)),
            half=config.precision != "float32",
        ),
        chunk=config.batch_size,
        sample_bytes=sum(value.nbytes for value in vars(batch).values() if isinstance(value, Tensor)) // config.batch_size,
        samples=round(len(rows) / share),
        cache=cache + len(names) * tokens.dtype.itemsize * prod(tokens.shape),
        ranks=ranks,
        local_ranks=local_ranks,
        held=_NOTE_BYTES * len(conversations),
    )


def _outline(config: ChatConfig, model: ChatModel, batch: ChatBatch, read: Callable[[Tensor], Tensor]) -> StepOutline:
    _allocate(model)
    alone = World(rank=0, size=1, device=torch.device("cpu"))
    task = ChatTask(model, replace(config, compile=False), alone, read=read, save=lambda *_: None)
    model.train()
    shapes: dict[str, Any] = {
        name: torch.empty(value.shape, dtype=value.dtype) for name, value in vars(batch).items() if isinstance(value, Tensor)
    }
    given = replace(batch, **shapes)
    return StepOutline(module=model, forward=lambda: [task.loss(given)], blocks=decoder_blocks(model), saved=task.checkpoint_modules())


def _allocate(model: nn.Module) -> None:
    """Put weights on the CPU in place of those on `meta`; `to_empty` refuses fake tensors, and so does peft, which moves its own."""
    allocated: dict[Tensor, Tensor] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and tensor not in allocated:
                    new = torch.empty(tensor.shape, dtype=tensor.dtype)
                    is_weight = isinstance(tensor, nn.Parameter)
                    allocated[tensor] = nn.Parameter(new, requires_grad=tensor.requires_grad) if is_weight else new
                if tensor is not None:
                    tensors[name] = allocated[tensor]  # type: ignore[assignment]  # a weight for a weight


def _sample(conversations: Sequence[QuestionSet]) -> tuple[Sequence[QuestionSet], float]:
    """Take all conversations about some scans, for they share rows, and tell which share of all text they are."""
    outlined = outline(conversations)
    about_K = np.array([bool(group) for group in outlined.images])[outlined.group_K]
    step = max(1, int(about_K.sum()) // _SAMPLE)
    chosen_K = about_K & (outlined.group_K % step == outlined.group_K[about_K.argmax()] % step)
    if not about_K.any() or step == 1:
        return conversations, 1.0
    chosen = np.flatnonzero(chosen_K)
    return [conversations[number] for number in chosen.tolist()], float(outlined.size_K[chosen].sum() / outlined.size_K.sum())


def _projector_sizes(config: ChatConfig, tokens: ScanTokens, hidden: int) -> ProjectorConfig:
    if not config.init_from:
        return projector_sizes(config.projector, tokens, hidden=hidden)
    start = open_chat(Path(config.init_from), encoder=Path(config.encoder), base=Path(config.language_model))
    return load_projector(start.path / PROJECTOR).config


def _adapted(config: ChatConfig, language: Any) -> Any:
    """With an adapter of the sizes of that which a run goes on from, or of a new one."""
    if config.stage == "projector":
        return language
    sizes = asdict(config.adapter)
    file = Path(config.init_from) / ADAPTER / ADAPTER_CONFIG
    if config.init_from and file.is_file():
        started = json.loads(file.read_text())
        sizes |= {"rank": started["r"], "targets": started["target_modules"]}
    return add_lora_adapter(language, **sizes)
