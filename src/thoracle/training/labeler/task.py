"""The labeler task: a transformer learns which abnormalities a report states.

Shapes: B reports, N tokens, K abnormalities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.cohort.reports import Section
from thoracle.config_reader import NonNegativeInt, PositiveInt, Range
from thoracle.metrics.classification import f1_score
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.bundle.pretrained_text import PretrainedText
from thoracle.models.citations import derived_licence
from thoracle.models.common.prompts import format_prompts
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.config import TextConfig
from thoracle.models.text.encoder import TransformerLayer
from thoracle.models.text.spec import TEXT_CLASSIFIER
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.config import OptimizerConfig, RunConfig
from thoracle.training.engine.distributed import World, parallelize
from thoracle.training.engine.single_loss import WeightsOnlyTask, accumulate_losses
from thoracle.training.engine.task import Collate, PinnedBatch, autocast
from thoracle.types import ABNORMALITIES

_PREFIX: Final = "labeler."
_VALID_EVERY: Final = 5


@dataclass(frozen=True, kw_only=True)
class LabelerConfig(RunConfig):
    """Configure a labeler run. Length, batch and learning rate are the published labeler's (Hamamci et al., arXiv:2403.17834).

    Attributes:
        reports: table of labelled reports; a fifth of its texts, by their hash, selects the best checkpoint and the thresholds instead of
            training.
        cohort: in place of the table, the folder that `thoracle prepare` wrote, whose training scans' reports are read; "" for the table.
        section: section of a cohort's report that is read.
        prompt_repeats: copies of each zero-shot prompt of a labelled abnormality among the training texts, as a short report each. A text
            encoder that a CT-CLIP begins with then knows the words that it will be asked by.
        init_from: pretrained encoder, whose sizes and words then hold: a report classifier's model folder, or `config.json`, weights and
            tokenizer as the hub has them; "" for random weights.
        model: sizes of a random encoder.
        max_text_tokens: tokens of a report; longer ones are cut.
    """

    TASK: ClassVar[str] = "labeler"
    RESUME_MAY_CHANGE: ClassVar[frozenset[str]] = RunConfig.RESUME_MAY_CHANGE | {"reports", "cohort", "init_from"}
    MONITORS: ClassVar[tuple[str, ...]] = ("macro_f1", *ABNORMALITIES)

    reports: str = "reports.csv"
    cohort: str = ""
    section: Section = "both"
    prompt_repeats: NonNegativeInt = 0
    init_from: str = ""
    model: TextConfig = field(default_factory=TextConfig)
    max_text_tokens: Annotated[int, Range(min=2)] = 512
    batch_size: PositiveInt = 32
    monitor: str = "macro_f1"
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=2e-5, max_grad_norm=1.0))


@dataclass(frozen=True, kw_only=True)
class LabelledReportText:
    """Hold a report, and 1, 0, or None where unknown, for each abnormality."""

    name: str
    text: str
    labels: tuple[int | None, ...]


def prompt_reports(reports: Sequence[LabelledReportText]) -> list[LabelledReportText]:
    """List each zero-shot prompt as a report that states its abnormality, or nothing.

    An abnormality that no report has a label of gets no prompt, and no label in the others' prompts: training is not to name it.
    """
    labelled = [any(report.labels[k] is not None for report in reports) for k in range(len(ABNORMALITIES))]
    prompts = []
    for row, text in enumerate(format_prompts()):
        if labelled[row // 2]:
            labels = tuple(int(row == 2 * k) if labelled[k] else None for k in range(len(ABNORMALITIES)))
            prompts.append(LabelledReportText(name=text, text=text, labels=labels))
    return prompts


@dataclass(frozen=True)
class ReportDataset:
    """Serve labelled reports as the trainer takes them."""

    reports: tuple[LabelledReportText, ...]

    def __len__(self) -> int:
        return len(self.reports)

    def __getitem__(self, index: int) -> LabelledReportText:
        return self.reports[index]

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: nothing changes from epoch to epoch."""

    @classmethod
    def split(cls, reports: Sequence[LabelledReportText]) -> tuple[ReportDataset, ReportDataset]:
        """Split reports of a table for training and validation; equal texts are on one side, whatever their order and number."""
        apart = [
            int(hashlib.sha256(report.text.strip().encode("utf-8", "replace")).hexdigest(), 16) % _VALID_EVERY == 0 for report in reports
        ]
        sides = (tuple(report for report, valid in zip(reports, apart, strict=True) if valid is side) for side in (False, True))
        training, validation = map(cls, sides)
        return training, validation


@dataclass(frozen=True, kw_only=True, eq=False)
class TextBatch(PinnedBatch):
    """Hold ids and mask (B, N), labels (B, K) with NaN where nobody says, and the reports' names."""

    input_ids_BN: Tensor
    attention_mask_BN: Tensor
    labels_BK: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True)
class ReportCollator:
    """Collate reports, of `length` tokens at most."""

    tokenizer: Tokenizer
    length: int

    def __call__(self, samples: Sequence[LabelledReportText]) -> TextBatch:
        """Texts are padded to the longest."""
        text = self.tokenizer.encode([sample.text for sample in samples], max_length=self.length)
        labels = [[float("nan") if label is None else float(label) for label in sample.labels] for sample in samples]
        return TextBatch(
            input_ids_BN=text.input_ids_BN,
            attention_mask_BN=text.attention_mask_BN,
            labels_BK=torch.tensor(labels),
            names=tuple(sample.name for sample in samples),
        )


class LabelerTask(WeightsOnlyTask):
    """Train a report classifier on labels."""

    def __init__(
        self,
        network: TextClassifier,
        config: LabelerConfig,
        world: World,
        *,
        sizes: TextConfig,
        tokenizer: Tokenizer,
        start: PretrainedText | None = None,
    ) -> None:
        """`start` is what the weights come from, whose licence and citations go along; None for random weights."""
        self.network, self.world, self.tokenizer = network.to(world.device), world, tokenizer
        self._config, self._sizes, self._start = config, sizes, start
        blocks = [module for module in network.modules() if isinstance(module, TransformerLayer)]
        self._spread = parallelize(network, world, shard=config.parallelism == "fsdp", blocks=blocks)

    def checkpoint_modules(self) -> nn.ModuleDict:
        """Return the model; names are those of its weights, under `labeler.`."""
        return nn.ModuleDict({"labeler": self.network})

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters."""
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    def text_parameters(self) -> list[nn.Parameter]:
        """Return none: all that learns is one text encoder."""
        return []

    def logits(self, batch: TextBatch) -> Tensor:
        """Compute logits (B, K), in the run's precision."""
        device = self.world.device
        with autocast(self._config.precision, device):
            logits: Tensor = self._spread(batch.input_ids_BN.to(device), batch.attention_mask_BN.to(device))
        return logits.float()

    def accumulate_gradients(self, batches: Sequence[TextBatch], *, loss_scale: float = 1.0) -> Tensor:
        """Add a step's gradients."""
        self.network.train()

        def loss_of(batch: TextBatch) -> Tensor:
            return labels_loss(self.logits(batch), batch.labels_BK.to(self.world.device)) / len(batches)

        return accumulate_losses(self._spread, self.world, batches, loss_of, loss_scale=loss_scale)

    def save_model(self, out: Path, weights: Mapping[str, Tensor], *, step: int) -> None:
        """Write the model folder."""
        save_model(
            out,
            kind=TEXT_CLASSIFIER.kind,
            config=self._sizes,
            preprocess=None,
            labels=ABNORMALITIES,
            tensors={name.removeprefix(_PREFIX): tensor for name, tensor in weights.items()},
            tokenizer=self.tokenizer,
            licence=derived_licence(*([] if self._start is None else [self._start.licence]), data="the reports it was trained on"),
            citations=() if self._start is None else self._start.citations,
            trained=True,
            caution=self._config.disclaimer,
            assumptions=(f"Trained for {step} steps.",),
        )


class LabelerEvaluator:
    """Evaluate F1 of each abnormality at one half, and `macro_f1`, the mean over those that are stated at all."""

    def __init__(self, task: LabelerTask, reports: ReportDataset, collate: Collate[LabelledReportText, TextBatch], *, batch: int) -> None:
        self._task, self._reports, self._collate, self._batch = task, reports.reports, collate, batch

    def __call__(self) -> Mapping[str, float]:
        """Every rank reads all of them, and returns the same numbers."""
        predictions, labels = [], []
        for start in range(0, len(self._reports), self._batch):
            batch = self._collate(self._reports[start : start + self._batch])
            predictions.append(self._task.logits(batch).cpu() >= 0)
            labels.append(batch.labels_BK)
        predicted_NK, truth_NK = torch.cat(predictions), torch.cat(labels)
        positive_NK, negative_NK = truth_NK == 1, truth_NK == 0
        hits_K, wrong_K, missed_K = (
            counts.sum(dim=0).numpy() for counts in (predicted_NK & positive_NK, predicted_NK & negative_NK, ~predicted_NK & positive_NK)
        )
        f1_K = f1_score(hits_K, wrong_K, missed_K).astype(np.float32).tolist()  # single precision, as in the logs of earlier runs
        scores = {name: f1 for name, f1, positives in zip(ABNORMALITIES, f1_K, hits_K + missed_K, strict=True) if positives}
        return {**scores, "macro_f1": sum(scores.values()) / max(len(scores), 1)}


def labels_loss(logits_BK: Tensor, labels_BK: Tensor) -> Tensor:
    """Compute binary cross-entropy over the labels that are known; 0 where none is."""
    known_BK = ~labels_BK.isnan()
    loss_BK = F.binary_cross_entropy_with_logits(logits_BK, labels_BK.nan_to_num(), reduction="none")
    return (loss_BK * known_BK).sum() / known_BK.sum().clamp(min=1)
