"""How well and how fast reports are labelled: real reports, negated sentences, phantoms, reports a minute.

    python bench/label.py [--model DIR] [--resamples 1000] [--phantoms 2000]

Real reports and sentences are read from THORACLE_DATA (default ../shared/data), see its README; nothing of them is printed. The rules were
written on the rows whose number does not leave remainder 0 by 4, nor have a text that one of those has. With --model, a report classifier
that was trained on the same rows, `classifier` and `auto` are measured as well.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from thoracle.evaluation.labeler.evaluate import Labelled, label_all
from thoracle.inference.labeler.backends import open_labeller
from thoracle.inference.labeler.negation_scope import AssertionScope
from thoracle.inference.labeler.report_table import ReportTable
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.inference.labeler.runner import label_table
from thoracle.phantom.case import plan_cohort, report_patient
from thoracle.phantom.presets import PRESETS
from thoracle.types import ABNORMALITIES

REPORTS = Path(os.environ.get("THORACLE_DATA", "../shared/data")) / "reports"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the report labeller.")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--phantoms", type=int, default=2000, help="reports of phantoms")
    options = parser.parse_args()
    print(f"{speed_of_real():,.0f} real reports a minute of processor time")
    names = ["rules", *(["classifier", "auto"] if options.model else [])]
    labelled = label_all(
        ReportTable(path=REPORTS / "ctclip_train.csv", also=ABNORMALITIES),
        {name: open_labeller(name, model=options.model) for name in names},
    )
    quarter = [index for index, row in enumerate(labelled.rows) if int(row.id.rpartition("_")[2]) % 4 == 0]
    texts = {labelled.rows[index].text for index in quarter}
    rest = [index for index, row in enumerate(labelled.rows) if row.text not in texts]
    for title, indices in (("unseen quarter", quarter), ("the others", rest), ("all", range(len(labelled.rows)))):
        for name in names:
            show(f"{name}, {title}", select_rows(labelled, list(indices)), name, options.resamples)
    accuracy, recall = negations()
    print(f"\nnegated sentences: accuracy {accuracy:.4f}, recall of the negated {recall:.4f}")
    with tempfile.TemporaryDirectory() as folder:
        table = write_phantoms(Path(folder) / "phantoms.csv", options.phantoms)
        show("rules, phantoms", label_all(table, {"rules": RuleLabeller()}), "rules", 20)
        speed_of_files(table, Path(folder))


def select_rows(labelled: Labelled, indices: Sequence[int]) -> Labelled:
    """Some of the rows."""
    assert labelled.reference is not None
    return replace(
        labelled,
        rows=tuple(labelled.rows[index] for index in indices),
        reference=tuple(labelled.reference[index] for index in indices),
        by_backend={name: tuple(labels[index] for index in indices) for name, labels in labelled.by_backend.items()},
    )


def show(title: str, labelled: Labelled, backend: str, resamples: int) -> None:
    """F1 of each label and of all, with intervals over reports."""
    summary, count = labelled.summary(backend, resamples=resamples)
    print(f"\n{title}: {count} of {len(labelled.rows)} reports")
    for name, estimate in {**{name: figures["f1"] for name, figures in summary.by_label.items()}, **summary.average}.items():
        if name in ABNORMALITIES or name in ("macro_f1", "f1_micro", "f1_weighted"):
            print(f"  {name:36} {estimate.value:.4f} ({estimate.low:.3f} to {estimate.high:.3f})")


def negations() -> tuple[float, float]:
    """Accuracy, and recall of the negated, over the sentences; a concept that is not in its sentence counts as affirmed."""
    with (REPORTS / "negex_sentences.txt").open(encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    correct, hits, negated = 0, 0, 0
    for row in rows:
        match = re.search(r"\s+".join(map(re.escape, row["Concept"].split())), row["Sentence"], re.IGNORECASE)
        predicted = match is not None and AssertionScope(row["Sentence"]).classify(*match.span()).assertion == "negated"
        expected = row["Negation"] == "Negated"
        correct, hits, negated = correct + (predicted == expected), hits + (predicted and expected), negated + expected
    return correct / len(rows), hits / negated


def write_phantoms(path: Path, count: int) -> ReportTable:
    """Reports of phantoms with their truth."""
    pairs = [pair for plan in plan_cohort(count, seed=5) for pair in report_patient(plan, seed=5, preset=PRESETS["tiny"])]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("AccessionNo", "report_text", *ABNORMALITIES))
        writer.writerows((number, f"{report.findings} {report.impression}", *labels) for number, (report, labels) in enumerate(pairs))
    return ReportTable(path=path, also=ABNORMALITIES)


def speed_of_real() -> float:
    """Reports a minute of processor time, no sentence seen before."""
    texts = [row.text for row in ReportTable(path=REPORTS / "ctclip_train.csv").rows()]
    RuleLabeller().label(["The heart is normal."])  # reads the rules
    began = time.process_time()
    RuleLabeller().label(texts)
    return 60 * len(texts) / (time.process_time() - began)


def speed_of_files(table: ReportTable, folder: Path) -> None:
    """Phantom reports, which are more alike than real ones, from file to file with evidence."""
    for workers in sorted({1, os.cpu_count() or 1}):
        began = time.perf_counter()
        for step in label_table(
            table, RuleLabeller(), out=folder / f"{workers}.csv", evidence=folder / f"{workers}.jsonl", workers=workers
        ):
            count = step.completed
        print(f"{60 * count / (time.perf_counter() - began):,.0f} phantom reports a minute from file to file, processes: {workers}")


if __name__ == "__main__":
    main()
