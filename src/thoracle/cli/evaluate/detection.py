"""`thoracle evaluate detection`: a model, or a table of its probabilities, against the labels of a cohort, by a named protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.options import Device, Dtype, Encoding, FindingLabels, FindingNames, FindingsFile, Only

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from rich.console import Console

    from thoracle.cohort.manifest import Cohort
    from thoracle.evaluation.detection.cases import LabelledCases, LabelTable
    from thoracle.evaluation.detection.evaluate import Evaluation
    from thoracle.inference.model import Model
    from thoracle.inference.requested_findings import Finding

Level = Literal["volume", "scan"]
Method = Literal["platt", "temperature", "joint"]
Tuning = Literal["folds", "train", "dev", "valid", "test"]


@evaluate.command("classifier", help="The same as detection, which takes classifiers as well.")
@evaluate.command("detection")
def detection(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, or a CSV as `thoracle detect --out` writes it.")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote, or a CSV of labels.")],
    *,
    protocol: Annotated[str, typer.Option(help="ct-rate, ct-clip-legacy, rad-chestct, phantom or holdout.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="report.html, results.json, predictions.csv.")],
    only: Only = None,
    finding: FindingNames = None,
    findings: FindingsFile = None,
    labels: FindingLabels = None,
    level: Annotated[Level, typer.Option(help="One row a volume, or the mean over a scan's volumes.")] = "volume",
    thresholds_from: Annotated[
        Tuning | None, typer.Option(help="Where thresholds and calibration come from, in place of the protocol's choice.")
    ] = None,
    mapping: Annotated[Path | None, typer.Option(metavar="CSV", help="rad-chestct: label, abnormality.")] = None,
    calibration: Annotated[
        Method, typer.Option(help="Slope and offset of the logit, the slope alone, or slopes of all labels' logits.")
    ] = "platt",
    coverage: Annotated[float, typer.Option(help="Of verdicts: how often the right answer is not ruled out.")] = 0.9,
    save_calibration: Annotated[bool, typer.Option("--save-calibration", help="Into the model's folder, for `thoracle detect`.")] = False,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    encoding: Encoding = "utf-8",
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Score the detection of abnormalities, with intervals over patients.

    Thresholds and calibration never come from the labels they are scored on, but in ct-clip-legacy, which exists to compare with papers.
    A run that was stopped goes on where it was when the same command is given again.
    """
    from rich.console import Console

    from thoracle.cohort.manifest import open_cohort
    from thoracle.errors import InputError
    from thoracle.evaluation.detection.cases import cases_of_cohort, cases_of_table, read_table
    from thoracle.evaluation.detection.evaluate import EvaluationOptions
    from thoracle.evaluation.detection.evaluate import evaluate as run
    from thoracle.evaluation.detection.label_mapping import mapped, read_mapping
    from thoracle.evaluation.detection.protocols import protocol as named
    from thoracle.evaluation.predict import select_readable
    from thoracle.inference.model import load
    from thoracle.inference.requested_findings import requested_findings

    way, console = named(protocol), Console(stderr=True, highlight=False)
    if way.mapped != (mapping is not None):
        hint = "Give --mapping CSV with label, abnormality." if way.mapped else "Leave --mapping out."
        raise InputError(f"protocol {protocol} takes {'a' if way.mapped else 'no'} mapping", hint=hint)
    _check_paths(model, cohort, needs_scans={"--only": only, "--labels": labels, "--save-calibration": save_calibration or None})
    requested = requested_findings(finding or (), findings, encoding=encoding)
    prepared = open_cohort(cohort, only=only) if cohort.is_dir() else None
    if prepared is not None and prepared.selection:
        console.print(prepared.selection, markup=False)
    loaded = load(model, device=device, dtype=dtype) if model.is_dir() else None
    if save_calibration and (loaded is None or way.mapped or way.tuning is None or requested is not None):
        raise InputError("there is no calibration to keep", hint="Give a model folder, and a protocol of the model's own labels.")
    notes: tuple[str, ...] = ()
    if loaded is not None and prepared is not None:
        prepared, notes = select_readable(loaded, prepared)
    cases = cases_of_table(cohort, encoding=encoding) if prepared is None else cases_of_cohort(prepared)
    if labels is not None:
        cases = cases.with_labels(labels, encoding=encoding)
    cases, unknown = (cases, ()) if way.mapped else _known(cases, loaded, requested)
    if loaded is None or prepared is None:
        predictions = read_table(model, encoding=encoding)
    else:
        splits = {way.scored, thresholds_from or way.tuning}  # "folds" and None are no split
        predictions = _predicted(loaded, prepared, cases, requested=requested, splits=splits, out=out, console=console)
    if mapping is not None:
        cases, predictions = mapped(cases, predictions, read_mapping(mapping, encoding=encoding))
    plan = EvaluationOptions(
        level=level, threshold_source=thresholds_from, method=calibration, coverage=coverage, resamples=resamples, seed=seed
    )
    evaluation = run(cases, predictions, protocol=way, plan=plan)
    evaluation = replace(evaluation, notes=(*notes, *unknown, *evaluation.notes))
    _write(evaluation, out, console, model=_facts(model, loaded, requested), cohort=prepared)
    if save_calibration and loaded is not None and evaluation.calibration is not None:
        from thoracle.inference.calibration import save_calibration as write_calibration

        folder = loaded.folder
        write_calibration(folder.path, replace(evaluation.calibration, weights_sha256=folder.weights_sha256, prompts=folder.prompts))
        console.print(f"Calibration kept in {model}; thoracle detect uses it from now on.", markup=False)


def _check_paths(model: Path, cohort: Path, *, needs_scans: Mapping[str, object]) -> None:
    """Refuse what is not there, and a table of labels for what needs scans: a model, and options that are given."""
    from thoracle.errors import InputError
    from thoracle.files.table import TABLE_SUFFIXES

    is_table = cohort.suffix.lower() in TABLE_SUFFIXES
    if is_table and model.is_dir():
        raise InputError("a table of labels has no scans", hint="Give a prepared cohort, or a CSV of probabilities.")
    for path in (model, cohort):
        if not path.exists():
            raise InputError("no such file or folder", hint="Check the path.", source=path)
    if options := [name for name, value in needs_scans.items() if is_table and value is not None]:
        raise InputError(f"{options[0]} takes volumes of a prepared cohort", hint="Give a cohort, or one table of the labels to score.")


def _known(cases: LabelledCases, model: Model | None, requested: Sequence[Finding] | None) -> tuple[LabelledCases, tuple[str, ...]]:
    """Cases with the labels that are requested, or that a model knows, and a sentence on the others or on what those are."""
    from thoracle.errors import InputError
    from thoracle.files.listed_names import column_key
    from thoracle.inference.requested_findings import uncalibrated_note

    if requested is not None:
        note = uncalibrated_note(requested, labels=() if model is None else model.folder.labels)
        return cases.require_labels([finding.name for finding in requested]), tuple(filter(None, [note]))
    labels = [] if model is None else [column_key(name) for name in model.folder.labels]
    unknown = [] if model is None else [name for name in cases.labels if column_key(name) not in labels]
    if model is None or not unknown:
        return cases, ()
    if len(unknown) == len(cases.labels):
        hint = "A model with text and a temperature is asked for them by --finding."
        raise InputError(f"the model knows none of the labels {', '.join(unknown[:10])}", hint=hint)
    return cases.of_labels(model.folder.labels), (f"Not scored, since the model does not know them: {', '.join(unknown)}.",)


def _predicted(
    model: Model,
    cohort: Cohort,
    cases: LabelledCases,
    *,
    requested: Sequence[Finding] | None,
    splits: Container[str | None],
    out: Path,
    console: Console,
) -> LabelTable:
    """Probabilities of all that is scored or tuned on, made or gone on with in DIR/predictions.csv."""
    from itertools import compress

    from thoracle.cli.progress import follow
    from thoracle.evaluation.detection.cases import read_table
    from thoracle.evaluation.predict import pending_entries, require_same_input, score
    from thoracle.inference.batch.result_table import ResultTable
    from thoracle.inference.requested_findings import findings_settings

    require_same_input(model, cohort)
    labelled = {*compress(cases.names, cases.labelled)}
    entries = [entry for entry in cohort.entries if entry.split in splits and entry.volume in labelled]
    findings = model.resolve_abnormalities(requested)
    model.warm_up(findings)
    label_settings = findings_settings(findings, labels=model.folder.labels, templates=model.folder.prompts)
    settings = {**model.settings(), **label_settings, "calibrated": False}
    with ResultTable(out / "predictions.csv", columns=[finding.name for finding in findings], settings=settings) as table:
        total = len(pending_entries(entries, table))
        follow(score(model, cohort, entries, table, findings=findings), total=total, console=console)
    return read_table(table.path)


def _facts(path: Path, model: Model | None, requested: Sequence[Finding] | None) -> dict[str, Any]:
    from thoracle.inference.requested_findings import findings_settings

    if model is None:
        return {"table": path.name}
    findings = model.resolve_abnormalities(requested)
    return {**model.settings(), **findings_settings(findings, labels=model.folder.labels, templates=model.folder.prompts)}


def _write(evaluation: Evaluation, out: Path, console: Console, *, model: dict[str, Any], cohort: Cohort | None) -> None:
    from rich.console import Console as Printer
    from rich.markup import escape
    from rich.table import Table as Shown

    from thoracle.cli.findings_table import UNTRAINED
    from thoracle.evaluation.detection.report import cooccurrence_sentences, rows_of_average, write_report
    from thoracle.evaluation.detection.results_json import as_dict
    from thoracle.evaluation.predict import volume_loader
    from thoracle.files.atomic import write_atomic
    from thoracle.files.json_file import write_json
    from thoracle.types import RESEARCH_USE

    values = as_dict(evaluation, model=model)
    write_json(out / "results.json", values)
    write_atomic(out / "report.html", write_report(evaluation, model=model, look=None if cohort is None else volume_loader(cohort)))
    console.print(
        f"{evaluation.volumes:,} volumes of {evaluation.scans:,} scans of {evaluation.patients:,} patients;"
        f" one row a {evaluation.plan.level}."
    )
    console.print(f"Thresholds and calibration come from {evaluation.tuned_on}.")
    for note in evaluation.notes:
        console.print(escape(note))
    shown = Shown(box=None, pad_edge=False, header_style="")
    for column in ("", "model's own", *(["calibrated"] if evaluation.calibrated else [])):
        shown.add_column(column)
    calibrated = dict(rows_of_average(evaluation.calibrated.average)) if evaluation.calibrated else {}
    for name, text in rows_of_average(evaluation.summary.average):
        shown.add_row(name, text, *([calibrated.get(name, "")] if evaluation.calibrated else []))
    for name, value in values["published"]["mean"].items():
        if name != "threshold" and value is not None:
            shown.add_row(f"as published, {name.replace('_', ' ').replace('f1', 'F1')}", f"{value:.3f}, no interval")
    Printer(highlight=False).print(shown)
    for sentence in cooccurrence_sentences(evaluation):
        console.print(sentence, markup=False)
    if not model.get("trained", True):
        console.print(f"[bold red]{UNTRAINED}[/]")
    if model.get("caution"):
        console.print(escape(model["caution"]))
    console.print(RESEARCH_USE)
    console.print(f"{escape(str(out / 'report.html'))}, results.json")
