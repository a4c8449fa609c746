"""`thoracle evaluate prompts`: AUROC of a zero-shot model by the wording of its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.evaluate.space import embedded
from thoracle.cli.options import Device, Dtype, Encoding, FindingLabels, FindingNames, FindingsFile, Only, SplitName

if TYPE_CHECKING:
    from thoracle.evaluation.detection.prompt_study import PromptStudy


@evaluate.command()
def prompts(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote.")],
    *,
    templates: Annotated[Path, typer.Option(metavar="YAML", help="Templates and ensembles, as in configs/prompts.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="prompts.html, prompts.json, latents.")],
    split: Annotated[SplitName, typer.Option(help="Whose volumes.")] = "valid",
    only: Only = None,
    finding: FindingNames = None,
    findings: FindingsFile = None,
    labels: FindingLabels = None,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    encoding: Encoding = "utf-8",
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Score each wording on the same scans, and say how far AUROC moves with it.

    The wording that scores best here was chosen by these labels: confirm it on other patients before you report it.
    """
    import numpy as np
    from rich.console import Console

    from thoracle.cohort.manifest import open_cohort
    from thoracle.errors import InputError
    from thoracle.evaluation.detection.cases import cases_of_cohort
    from thoracle.evaluation.detection.prompt_report import prompts_json, write_page
    from thoracle.evaluation.detection.prompt_study import compare_templates, read_wordings
    from thoracle.evaluation.html.page import terms
    from thoracle.evaluation.predict import require_same_input
    from thoracle.files.atomic import write_atomic
    from thoracle.files.json_file import write_json
    from thoracle.inference.model import load
    from thoracle.inference.requested_findings import findings_settings, requested_findings, uncalibrated_note

    if not templates.is_file():
        raise InputError("no such file", hint="Give for example configs/prompts/chest-ct.yaml.", source=templates)
    wordings, console, prepared = read_wordings(templates), Console(stderr=True, highlight=False), open_cohort(cohort, only=only)
    if prepared.selection:
        console.print(prepared.selection, markup=False)
    loaded = load(model, device=device, dtype=dtype)
    require_same_input(loaded, prepared)
    requested = loaded.resolve_abnormalities(requested_findings(finding or (), findings, encoding=encoding))
    cases = cases_of_cohort(prepared) if labels is None else cases_of_cohort(prepared).with_labels(labels, encoding=encoding)
    cases = cases.require_labels([finding.name for finding in requested])
    cases = cases.select(cases.labelled & (np.array(cases.splits) == split))
    if not cases.names:
        raise InputError(f"no volume with labels in split {split}", hint="Give another --split.", source=cohort)
    entries = [entry for entry in prepared.entries if entry.volume in {*cases.names}]
    loaded.encode_text(["words are read before scans are"])
    pairs = [finding.texts(loaded.folder.prompts) for finding in requested]
    study = compare_templates(
        wordings,
        image_NL=embedded(loaded, prepared, entries, out=out, console=console),
        truth_NK=cases.truth_NK,
        patients=cases.patients,
        labels=cases.labels,
        encode=lambda texts: loaded.encode_text(texts).cpu().numpy().astype(np.float64),
        pairs=pairs if any(finding.prompts for finding in requested) else (),
        resamples=resamples,
        seed=seed,
    )
    notes = [f"{len(entries):,} volumes of split {split}, 95% intervals over patients."]
    notes += [] if loaded.folder.trained else ["UNTRAINED WEIGHTS: no figure here means anything."]
    notes += [loaded.folder.disclaimer] if loaded.folder.disclaimer else []
    notes += filter(None, [uncalibrated_note(requested, labels=loaded.folder.labels)])
    label_settings = findings_settings(requested, labels=loaded.folder.labels, templates=loaded.folder.prompts)
    document = prompts_json(study, wordings=wordings, model={**loaded.settings(), **label_settings})
    write_json(out / "prompts.json", document, indent=1)
    write_atomic(out / "prompts.html", write_page(study, notes=[*notes, *terms(loaded.settings())]))
    _print(study, notes)
    console.print(str(out / "prompts.html"), markup=False)


def _print(study: PromptStudy, notes: Sequence[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from thoracle.evaluation.html.page import shown, with_bounds
    from thoracle.types import RESEARCH_USE

    printer = Console(highlight=False)
    for note in notes:
        printer.print(note, markup=False)
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("wording", "macro AUROC"):
        table.add_column(column)
    for name, interval in study.macro.items():
        table.add_row(escape(name), with_bounds(interval.value, interval.low, interval.high))
    printer.print(table)
    printer.print("AUROC moves with the wording of single templates by, of each label:")
    for label, value in sorted(study.spread.items(), key=lambda pair: -pair[1] if pair[1] == pair[1] else 1):
        printer.print(f"{label:40}{shown(value)}", markup=False)
    printer.print(RESEARCH_USE)
