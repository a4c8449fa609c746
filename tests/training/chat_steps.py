"""One step of each stage of a chat model, on however many ranks the environment says: imported by tests, and run by them on two."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.models.chat.adapters import add_lora_adapter
from thoracle.models.chat.chat_template import ChatTemplate
from thoracle.models.chat.language_model import ChatModel
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.training.chat.packing import PackedCollator, PackedSequence, group_by_prefix
from thoracle.training.chat.phantom_lm import build_phantom_lm
from thoracle.training.chat.task import ChatConfig, ChatTask, SmallLanguageConfig
from thoracle.training.engine.distributed import World, clip_gradients, distributed_context, full_state_dict, load_full_state_dict
from thoracle.training.engine.optimizer import build_adamw

SCANS = 4
SMALL = SmallLanguageConfig(vocab_size=400, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
PROJECTOR = ProjectorConfig(num_queries=3, dim=8, dim_context=6, attention_dim=8, heads=2, hidden_size=16, num_positions=4, num_findings=2)
CASES = {
    f"{stage}, {parallel}": ChatConfig(stage=stage, language_model="x", parallelism=parallel, loss_weight=weigh)  # type: ignore[arg-type]
    for stage, weigh in (("projector", "token"), ("lora", "sqrt_length"))
    for parallel in ("ddp", "fsdp")
} | {
    "lora, fsdp, base in bf16": ChatConfig(stage="lora", language_model="x", parallelism="fsdp", dtype="bf16"),
    "projector, ddp, base in bf16": ChatConfig(stage="projector", language_model="x", dtype="bf16"),
}
#: More is answered of some scans than of others, so that ranks weigh unlike.
TALKS = [
    QuestionSet(
        id=f"{scan}:{k}",
        images=(f"v{scan}",),
        pairs=(QuestionAnswer(question="Is it there?", answer="Yes. " * (1 + scan * k), task="short_answer", type="short_answer"),),
    )
    for scan in range(SCANS)
    for k in range(1 + scan)
]


def task(config: ChatConfig, world: World) -> tuple[ChatTask, ChatTemplate]:
    """With weights that are always the same."""
    torch.manual_seed(0)
    language = build_phantom_lm(SMALL, [pair.question + pair.answer for one in TALKS for pair in one.pairs])
    language.model.requires_grad_(False)
    if config.dtype == "bf16":
        language.model.to(torch.bfloat16)
    projector = Projector(PROJECTOR)
    assert projector.findings is not None
    for parameter in projector.findings.parameters():
        torch.nn.init.normal_(parameter)
    adapted = language.model
    if config.stage == "lora":
        adapted = add_lora_adapter(language.model, rank=2, alpha=4, targets=("q_proj", "v_proj"))
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
    made = ChatTask(ChatModel(adapted, projector).to(world.device), config, world, read=lambda kept: kept, save=lambda *_: None)
    return made, ChatTemplate(language.tokenizer, rows=PROJECTOR.num_tokens)


def step(config: ChatConfig, world: World, scans: range, *, batches: int = 1) -> dict[str, Any]:
    """One step on fresh weights, of the questions about these scans: the loss, the gradients by name, the weights after it."""
    chat, prompter = task(config, world)
    generator = torch.Generator().manual_seed(1)
    tokens = {f"v{k}": torch.randn(1, 2, 2, 6, generator=generator) for k in range(SCANS)}
    collate = PackedCollator(tokens.__getitem__, pad=0, weigh=config.loss_weight)
    rows = [PackedSequence(trees=(tree,)) for tree in group_by_prefix(TALKS, prompter, length=400) if int(tree.images[0][1:]) in scans]
    share = len(rows) // batches
    optimizer = build_adamw(chat.trainable_parameters(), config.optimizer)
    loss = chat.accumulate_gradients([collate(rows[at : at + share]) for at in range(0, len(rows), share)])
    named = {name: one.grad for name, one in chat.checkpoint_modules().named_parameters() if one.grad is not None}
    gradients = {name: grad.full_tensor() if hasattr(grad, "full_tensor") else grad.clone() for name, grad in named.items()}
    norm = clip_gradients(chat.trainable_parameters(), world, limit=0.5)
    optimizer.step()
    weights, moments = full_state_dict(chat.checkpoint_modules(), optimizer)
    load_full_state_dict(chat.checkpoint_modules(), optimizer, weights=weights, moments=moments)
    return {"loss": loss, "norm": norm, "gradients": gradients, "weights": weights}


def main(out: Path) -> None:
    """Each case on this rank's share of the scans, written to a file of its own."""
    with distributed_context() as world:
        share = SCANS // world.size
        own = range(world.rank * share, (world.rank + 1) * share)
        torch.save({name: step(replace(config), world, own) for name, config in CASES.items()}, out / f"{world.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
