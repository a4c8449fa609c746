"""Two steps of a run in a process of its own, and the memory that they took: `python plan_steps.py NAME`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.training.cohorts import write_cohort
from thoracle.cohort.samples.dataset import CohortDataset, Sample
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.config import CTCLIPConfig, CTViTConfig
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.medfinder.config import MedFinderConfig, ResNetConfig
from thoracle.models.medfinder.model import MedFinder
from thoracle.models.text.config import TextConfig
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.chat.phantom_lm import build_phantom_lm, save_phantom_lm
from thoracle.training.chat.plan import plan_chat
from thoracle.training.chat.run import chat_run, finding_targets
from thoracle.training.chat.scan_features import encode_cohort_scans
from thoracle.training.chat.task import AdapterConfig, ChatConfig, NewProjectorConfig, SmallLanguageConfig
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.contrastive.medfinder import MedFinderRunConfig
from thoracle.training.contrastive.pair_plan import plan_pairs
from thoracle.training.contrastive.run import contrastive_run, medfinder_run
from thoracle.training.engine.distributed import World
from thoracle.training.engine.plan import RunPlan
from thoracle.training.engine.trainer import Trainer
from thoracle.training.finetuning.classifier_run import classifier_run
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.plan import plan_classifier, plan_vocabfine
from thoracle.training.finetuning.vocabfine import VocabFineConfig
from thoracle.training.finetuning.vocabfine_run import vocabfine_run
from thoracle.training.labeler.plan import plan_labeler
from thoracle.training.labeler.run import labeler_run
from thoracle.training.labeler.task import LabelerConfig, LabelledReportText
from thoracle.types import ABNORMALITIES

#: What is planned, and what makes the run.
Planned = tuple[RunPlan, Callable[[], Trainer]]
CPU = torch.profiler.ProfilerActivity.CPU
ALONE = World(rank=0, size=1, device=torch.device("cpu"))
RANKS = {"ranks": 1, "local_ranks": 1}
TEXT = TextConfig(vocab_size=512, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)
SIZE = (64, 80, 80)
PREPROCESS = PreprocessConfig(spacing=(4.0, 4.0, 4.0), size=SIZE)
SHORT: dict[str, Any] = {"steps": 2, "num_workers": 0, "save_every": 5}
PAIRS = {**SHORT, "preprocess": PREPROCESS, "max_text_tokens": 64}
CLIP = CTCLIPConfig(
    ctvit=CTViTConfig(
        dim=128,
        codebook_size=256,
        image_size=80,
        patch_size=10,
        temporal_patch_size=8,
        spatial_depth=2,
        temporal_depth=2,
        dim_head=32,
        heads=4,
    ),
    bert=TEXT,
    dim_latent=64,
    n_frames=64,
)
RESNET = ResNetConfig(blocks=(1, 1, 1, 1), widths=(16, 32, 64, 128), bottleneck=False)
FINDER = MedFinderConfig(size=SIZE, resnet=RESNET, bert=TEXT, dim_latent=64, heads=4)


class Noise:
    """A volume of noise, which takes no memory before it is asked for, as one in a cache."""

    size = SIZE

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def read_into(self, hu_ZHW: Tensor) -> None: ...

    def write_input(self, hu_ZHW: Tensor, input_ZHW: Tensor) -> None:
        input_ZHW.normal_(generator=self._generator).clamp_(-1, 1)


class Pairs:
    """Pairs of noise whose reports fill the text encoder."""

    def __len__(self) -> int:
        return 128

    def stored_volume(self, index: int, epoch: int) -> Noise:
        return Noise(index)

    def __getitem__(self, index: int) -> Sample:
        stored = self.stored_volume(index, 0)
        return Sample(stored=stored, report="a b c d " * 20, labels=torch.zeros(18), volume=str(index), scan=str(index), patient="p")

    def set_epoch(self, epoch: int) -> None: ...


def contrastive(folder: Path, **changes: Any) -> Planned:
    config = ContrastiveConfig(model=CLIP, out=f"{folder}/run", **PAIRS, **changes)
    plan = plan_pairs(config, lambda: CTCLIP(CLIP), samples=len(Pairs()), cache=0, **RANKS)
    return plan, lambda: contrastive_run(config, Pairs(), ALONE, words=lambda: ["a b c d"])


def medfinder(folder: Path) -> Planned:
    config = MedFinderRunConfig(model=FINDER, out=f"{folder}/run", freeze_text_encoder=False, batch_size=4, **PAIRS)
    plan = plan_pairs(config, lambda: MedFinder(FINDER), views=2, samples=len(Pairs()), cache=0, **RANKS)
    return plan, lambda: medfinder_run(config, Pairs(), ALONE, words=lambda: ["a b c d"])


def vocabfine(folder: Path) -> Planned:
    config = VocabFineConfig(init_from=write_model(folder), out=f"{folder}/run", batch_size=8, **SHORT)
    plan = plan_vocabfine(config, PREPROCESS, samples=len(Pairs()), cache=0, **RANKS)
    return plan, lambda: vocabfine_run(config, Pairs(), ALONE, preprocess=PREPROCESS)


def classifier(folder: Path, **changes: Any) -> Planned:
    config = ClassifierConfig(init_from=write_model(folder), out=f"{folder}/run", batch_size=8, **SHORT, **changes)
    train = CohortDataset(write_cohort(folder / "cohort", PREPROCESS, volumes=18), split="train", needs=["labels"])
    plan = plan_classifier(config, PREPROCESS, samples=len(train), evaluated=0, cache=0, **RANKS)
    return plan, lambda: classifier_run(config, train, None, ALONE)


def labeler(folder: Path) -> Planned:
    sizes = replace(TEXT, hidden_size=128, num_hidden_layers=4, intermediate_size=512)
    config = LabelerConfig(model=sizes, out=f"{folder}/run", max_text_tokens=256, batch_size=32, **SHORT)
    reports = [LabelledReportText(name=str(k), text=f"{k} " + "a b c d " * 70, labels=(1,) * 18) for k in range(96)]
    return plan_labeler(config, reports=len(reports), **RANKS), lambda: labeler_run(config, reports, ALONE, validation=())


def chat(folder: Path, **changes: Any) -> Planned:
    """Four layers and 4,000 words, asked of 16 scans in long answers."""
    encoder, base = write_model(folder), folder / "base"
    sizes = SmallLanguageConfig(
        vocab_size=4000, hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=8, max_position_embeddings=512
    )
    language = build_phantom_lm(sizes, ["Which is it? a b c d"])
    language.model.resize_token_embeddings(sizes.vocab_size)
    save_phantom_lm(base, language, {name: tensor.clone() for name, tensor in language.model.named_parameters()})
    config = ChatConfig(
        encoder=encoder, language_model=str(base), out=f"{folder}/run", batch_size=4, sequence_length=512,
        projector=NewProjectorConfig(num_queries=32, dim=64, attention_dim=64), adapter=AdapterConfig(rank=8, alpha=16), **SHORT, **changes,
    )  # fmt: skip
    cohort = write_cohort(folder / "cohort", PREPROCESS, volumes=18)
    names = [entry.volume for entry in cohort.entries if entry.split == "train"]
    pair = QuestionAnswer(question="Which is it?", answer="a b c d " * 20, task="short_answer", type="short_answer")
    asked = [QuestionSet(id=f"{name}-{k}", images=(name,), pairs=(pair,)) for name in names for k in range(4)]

    def make() -> Trainer:
        scans = encode_cohort_scans(cohort, names, ALONE, encoder=Path(encoder))
        return chat_run(config, asked, ALONE, findings=finding_targets(cohort), scans=scans)

    return plan_chat(config, asked, cache=0, **RANKS), make


CASES: dict[str, Callable[[Path], Planned]] = {
    "whole batch": partial(contrastive, batch_size=8),
    "chunks": partial(contrastive, batch_size=16, gradient_cache_chunk=8),
    "checkpointing": partial(contrastive, batch_size=32, activation_checkpointing=True),
    "two views": medfinder,
    "vocabfine": vocabfine,
    "classifier on latents": partial(classifier, encode_batch_size=8),
    "classifier on tokens": partial(classifier, encode_batch_size=1, head="label-attention"),
    "classifier with LoRA": partial(classifier, encoder="lora"),
    "classifier, all of it": partial(classifier, encoder="full", activation_checkpointing=True),
    "labeler": labeler,
    "chat, projector": partial(chat, stage="projector", activation_checkpointing=True),
    "chat, adapter": partial(chat, stage="lora"),
}


def write_model(folder: Path) -> str:
    """Write a random CT-CLIP whose words are the prompts'."""
    facts: dict[str, Any] = {"labels": ABNORMALITIES, "licence": "", "trained": False, "caution": ""}
    words, tensors = Tokenizer.from_words(format_prompts()), CTCLIP(CLIP).state_dict()
    save_model(folder / "model", kind="ct-clip", config=CLIP, preprocess=PREPROCESS, tensors=tensors, tokenizer=words, **facts)
    return str(folder / "model")


def peak(profile: torch.profiler.profile) -> int:
    """The most bytes that torch's allocator had given out at once, by its own events."""
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def main(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plan, make = CASES[name](Path(folder))
        with torch.profiler.profile(profile_memory=True, activities=[CPU]) as profile:
            steps = make().run()
            next(steps), next(steps)
    print(json.dumps({"planned": plan.device_total, "measured": peak(profile), **plan.device}))


if __name__ == "__main__":
    main(sys.argv[1])
