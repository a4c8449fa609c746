"""Make a run of a configuration and reports: a report classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from thoracle.errors import InputError
from thoracle.models.bundle.model_folder import TOKENIZER
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.distributed import World
from thoracle.training.engine.trainer import Trainer
from thoracle.training.labeler.initialization import initialize_text
from thoracle.training.labeler.task import (
    LabelerConfig,
    LabelerEvaluator,
    LabelerTask,
    LabelledReportText,
    ReportCollator,
    ReportDataset,
    prompt_reports,
)


def labeler_run(
    config: LabelerConfig,
    reports: Sequence[LabelledReportText],
    world: World,
    *,
    validation: Sequence[LabelledReportText],
    resume: bool = False,
) -> Trainer:
    """Make a run that teaches a report classifier labels.

    Args:
        config: of the run.
        reports: that are trained on.
        world: as `join` gives it.
        validation: reports that the run is evaluated on each `eval_every` steps.
        resume: as in `contrastive_run`.

    Raises:
        InputError: no report is left to validate on.
        As `Trainer` and `begin`.
    """
    if config.eval_every and not validation:
        raise InputError("no report is left to validate on", hint="Give more reports, or set eval_every to 0.", source="reports")
    training = ReportDataset((*reports, *(config.prompt_repeats * prompt_reports(reports))))
    start = initialize_text(config, lambda: [report.text for report in training.reports])
    pretrained = start.pretrained
    config = replace(config, disclaimer=config.disclaimer or ("" if pretrained is None else pretrained.caution))

    def task(folder: Path) -> LabelerTask:
        tokenizer = Tokenizer.from_folder(folder / TOKENIZER)
        return LabelerTask(start.network(), config, world, sizes=start.sizes, tokenizer=tokenizer, start=pretrained)

    def collate(folder: Path) -> ReportCollator:
        return ReportCollator(Tokenizer.from_folder(folder / TOKENIZER), min(config.max_text_tokens, start.sizes.max_tokens))

    def evaluate(task: LabelerTask) -> LabelerEvaluator:
        return LabelerEvaluator(
            task,
            ReportDataset(tuple(validation)),
            ReportCollator(task.tokenizer, min(config.max_text_tokens, start.sizes.max_tokens)),
            batch=config.batch_size,
        )

    def files() -> dict[str, bytes]:
        return {f"{TOKENIZER}/{name}": content for name, content in start.tokenizer.files.items()}

    notes = () if pretrained is None else (pretrained.summary,)
    return Trainer(config, training, world, task=task, collate=collate, files=files, notes=notes, resume=resume, evaluate=evaluate)
