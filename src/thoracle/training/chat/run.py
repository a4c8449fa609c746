"""A chat run of any stage, made of a configuration, questions and scans: what the command line calls."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thoracle.cohort.manifest import Cohort
from thoracle.cohort.sources import Split
from thoracle.cohort.vqa.cases import finding_attributes
from thoracle.cohort.vqa.vqa_file import QuestionSet
from thoracle.errors import InputError
from thoracle.models.bundle.model_folder import open_model
from thoracle.models.chat.chat_folder import ADAPTER, PROJECTOR, open_chat, save_chat
from thoracle.models.chat.chat_template import ChatTemplate
from thoracle.models.chat.components import load_projector
from thoracle.models.chat.language_model import (
    ChatModel,
    GroundTruthFindingTokens,
    LanguageModel,
    add_lora_adapter,
    describe_adapter,
    load_language_model,
    load_lora_adapter,
)
from thoracle.models.ctchat.projector import Projector
from thoracle.training.chat.packing import PackedCollator, PackedDataset, group_by_prefix, to_messages
from thoracle.training.chat.packing_check import trains_packed
from thoracle.training.chat.phantom_lm import build_phantom_lm, checklist_conversations, save_phantom_lm
from thoracle.training.chat.projector_initialization import new_projector
from thoracle.training.chat.scan_features import ScanFeatures
from thoracle.training.chat.task import ChatConfig, ChatTask
from thoracle.training.engine.distributed import World
from thoracle.training.engine.trainer import Evaluator, Trainer
from thoracle.types import ABNORMALITIES

_log = logging.getLogger(__name__)
_LANGUAGE, _PROJECTOR_PREFIX = "language.", "projector."


def chat_run(
    config: ChatConfig,
    conversations: Sequence[QuestionSet],
    world: World,
    *,
    findings: Callable[[str], Tensor],
    scans: ScanFeatures | None = None,
    held_out: Sequence[QuestionSet] = (),
    resume: bool = False,
) -> Trainer:
    """Make a run of one stage.

    Args:
        config: of the run.
        conversations: what is trained on.
        world: as `join` gives it.
        findings: as `finding_targets`: stage "base" reads them in place of scans, and rows of findings are fitted to them.
        scans: that they are about; none for stage "base".
        held_out: what is never trained on: its loss each `eval_every` steps says which checkpoint is best.
        resume: go on in a folder that exists.

    Raises:
        InputError: settings that contradict each other, or no conversation that is short enough.
        CapabilityMissing: the language model is of a family that is not trained here, or its chat template loses turns.
        ModelError: encoder, language model or start is damaged or does not fit.
        As `Trainer`.
    """
    torch.manual_seed(config.seed)
    if config.stage == "base":
        names = sorted({name for conversation in conversations for name in conversation.images})
        conversations = [*conversations, *checklist_conversations(names, findings)]
        texts = [message.content for conversation in conversations for message in to_messages(conversation)]
        language = build_phantom_lm(config.phantom_lm, texts, whole_words=[name.lower() for name in ABNORMALITIES])
        tokens = GroundTruthFindingTokens(language, ABNORMALITIES)
        model, rows_of_scan = ChatModel(language.model, tokens), len(ABNORMALITIES)
    else:
        language = load_language_model(Path(config.language_model))
        assert scans is not None, "of these stages"
        projector = _projector(config, conversations, findings, scans, language)
        model, rows_of_scan = ChatModel(_adapted(config, language), projector), projector.config.num_tokens
        config = replace(config, disclaimer=config.disclaimer or open_model(Path(config.encoder)).disclaimer)
    prompter = ChatTemplate(language.tokenizer, rows=rows_of_scan)
    pad = language.tokenizer.pad_token_id or 0
    collate = PackedCollator(findings if scans is None else scans.compressed, pad=pad, weigh=config.loss_weight)
    read = torch.clone if scans is None else scans.tokens.expand
    length, trees = config.sequence_length, group_by_prefix(conversations, prompter, length=config.sequence_length)
    rows = PackedDataset(trees, length=length)
    model.to(world.device)
    packed = all(world.all_gather_object(trains_packed(model, rows, collate, read=read)))
    if not packed:
        rows = PackedDataset(trees, length=length, packed=False)
    dev = PackedDataset(group_by_prefix(held_out, prompter, length=length), length=length, packed=packed) if held_out else None

    def save(out: Path, weights: Mapping[str, Tensor], step: int) -> None:
        if config.stage == "base":
            save_phantom_lm(out, language, {name.removeprefix(_LANGUAGE): tensor for name, tensor in weights.items()})
        else:
            _save(config, model, out, weights, step)

    def task(_: Path) -> ChatTask:
        return ChatTask(model, config, world, read=read, save=save, packed=packed)

    def evaluate(task: ChatTask) -> Evaluator:
        return _HeldOut(task, dev, collate) if dev is not None else dict

    return Trainer(config, rows, world, task=task, collate=lambda _: collate, resume=resume, evaluate=evaluate if held_out else None)


def split_questions(
    conversations: Sequence[QuestionSet], cohort: Cohort, *, held_out: Split
) -> tuple[tuple[QuestionSet, ...], tuple[QuestionSet, ...]]:
    """Split questions into those about scans of the split train, and those of a held-out split, shuffled so that a few are of all kinds.

    Raises:
        InputError: none is of the split train.
    """
    splits = {entry.volume: entry.split for entry in cohort.entries}
    of = {
        split: [conversation for conversation in conversations if {splits.get(name) for name in conversation.images} == {split}]
        for split in ("train", held_out)
    }
    if not of["train"]:
        raise InputError("no question is about a scan of the split train", hint="Give the cohort's own questions.", source=cohort.folder)
    return tuple(of["train"]), tuple(sorted(of[held_out], key=lambda conversation: sha256(conversation.id.encode()).digest()))


def finding_targets(cohort: Cohort) -> Callable[[str], Tensor]:
    """Make a function that gives what labels and reports tell of a volume's findings, (K, A) of `FINDING_ATTRIBUTES`, by its name."""
    entries = {entry.volume: entry for entry in cohort.entries}
    return lambda name: torch.from_numpy(finding_attributes(entries[name]))


class _HeldOut:
    """The loss of conversations that are not trained on; as `score`, its negative. Every rank computes all of it."""

    def __init__(self, task: ChatTask, rows: PackedDataset, collate: PackedCollator) -> None:
        self._task, self._rows, self._collate = task, rows, collate

    def __call__(self) -> Mapping[str, float]:
        size = self._task.config.batch_size
        starts = range(0, len(self._rows), size)
        losses = [
            self._task.loss(self._collate([self._rows[k] for k in range(at, min(at + size, len(self._rows)))])).item() for at in starts
        ]
        mean = sum(losses) / len(losses)
        return {"minus_loss": -mean, "held_out_loss": mean}


def _projector(
    config: ChatConfig,
    conversations: Sequence[QuestionSet],
    findings: Callable[[str], Tensor],
    scans: ScanFeatures,
    language: LanguageModel,
) -> Projector:
    """As `init_from` left it, or a new one."""
    if config.init_from:
        return load_projector(
            open_chat(Path(config.init_from), encoder=Path(config.encoder), base=Path(config.language_model)).path / PROJECTOR
        )
    names = sorted({name for conversation in conversations for name in conversation.images})
    return new_projector(config.projector, scans, language, fitted_to={name: findings(name) for name in names})


def _adapted(config: ChatConfig, language: LanguageModel) -> Any:
    if config.stage == "projector":
        return language.model
    adapter = config.adapter
    started = Path(config.init_from) / ADAPTER if config.init_from else None
    if started is not None and started.is_dir():
        model = load_lora_adapter(language.model, started)
        _log.info(describe_adapter(model))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in name)
        return model
    model = add_lora_adapter(language.model, rank=adapter.rank, alpha=adapter.alpha, targets=adapter.targets)
    _log.info(describe_adapter(model))
    return model


def _save(config: ChatConfig, model: ChatModel, out: Path, weights: Mapping[str, Tensor], step: int) -> None:
    assert isinstance(model.projector, Projector), "of these stages"
    adapter = None
    if config.stage == "lora":
        adapter = json.loads(json.dumps(model.language.peft_config["default"].to_dict(), default=_listed))
        adapter["base_model_name_or_path"] = ""  # a path of this machine
    save_chat(
        out,
        encoder=Path(config.encoder),
        base=Path(config.language_model),
        projector=model.projector.config,
        projector_tensors={n.removeprefix(_PROJECTOR_PREFIX): t for n, t in weights.items() if n.startswith(_PROJECTOR_PREFIX)},
        adapter=adapter,
        # peft names an adapter's weights without the adapter's own name
        adapter_tensors={n.removeprefix(_LANGUAGE).replace(".default.", "."): t for n, t in weights.items() if n.startswith(_LANGUAGE)},
        caution=config.disclaimer,
        notes=(
            f"Trained for {step} steps of stage {config.stage}.",
            *((f"{describe_adapter(model.language)}.",) if adapter is not None else ()),
            json.dumps(asdict(config.optimizer)),
        ),
    )


def _listed(value: Any) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
