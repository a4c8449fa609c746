"""What is zero-shot detection worth for findings that training never named? Beside a model that had them, on the same phantoms.

    python bench/held_out_findings.py demo/cohort --phantoms demo/phantoms --out DIR    # as `thoracle demo` leaves them; 20 minutes

The demo's recipe (labeler, then contrastive) is trained twice: on the cohort, and on a copy in which no report has a sentence on the
findings, stated or denied (truth/ says which sentences these are), and no volume a label of them, so that the labeler's lesson of prompts
leaves them out. Both models are scored on the whole cohort by `thoracle evaluate detection --finding`, by protocol phantom. What was done
is not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from thoracle.cohort.manifest import open_cohort, write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.sources import COHORT_SETTINGS
from thoracle.evaluation.detection.compare import compare
from thoracle.evaluation.detection.results_json import read_run
from thoracle.types import ABNORMALITIES

CONFIGS = Path(__file__).parent.parent / "configs"
#: One shares a word with a finding that stays (pleural effusion), one fills the lungs, one lies beneath them.
FINDINGS = ("Pericardial effusion", "Emphysema", "Hiatal hernia")
SECTIONS = {"Findings_EN": "findings", "Impressions_EN": "impression"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path, help="as `thoracle demo` prepares it")
    parser.add_argument("--phantoms", type=Path, required=True, help="the archive it was prepared from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--findings", nargs="*", choices=ABNORMALITIES, default=list(FINDINGS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="of both stages, of 8 samples each: a rehearsal; the recipe's by default")
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    silent = options.out / "silent-cohort"
    if not silent.exists():
        withhold(options.cohort, options.phantoms, options.findings, silent)
    requested = [part for finding in options.findings for part in ("--finding", finding)]
    for name, cohort in (("silent", silent), ("named", options.cohort)):
        model, out = trained(cohort, options.out / name, options), options.out / f"scores-{name}"
        scoring = ("--protocol", "phantom", "--resamples", options.resamples)
        thoracle("evaluate", "detection", model, options.cohort, *scoring, *requested, "--out", out)
    report(options.out, resamples=options.resamples)


def withhold(cohort: Path, phantoms: Path, findings: list[str], out: Path) -> None:
    """Write a cohort of the same voxels, without the sentences and labels of findings."""
    sentences = {
        scan["scan"]: [sentence for sentence in scan["sentences"] if {*findings}.intersection(sentence["abnormalities"])]
        for path in sorted((phantoms / "truth").glob("*.json"))
        for scan in json.loads(path.read_text())["scans"]
    }
    columns, entries = [ABNORMALITIES.index(finding) for finding in findings], []
    for entry in open_cohort(cohort).entries:
        texts = {"findings": entry.report.findings, "impression": entry.report.impression}
        for sentence in sentences[entry.scan]:
            section = SECTIONS[sentence["section"]]
            if sentence["text"] not in texts[section]:
                raise SystemExit(f"{entry.scan}: its report does not hold {sentence['text']!r}, which its truth has")
            texts[section] = " ".join(texts[section].replace(sentence["text"], " ", 1).split())
        labels = tuple(None if column in columns else label for column, label in enumerate(entry.labels))
        entries.append(replace(entry, report=Report(**texts), labels=labels))
    out.mkdir(parents=True)
    for path in cohort.resolve().iterdir():
        if path.is_dir():
            (out / path.name).symlink_to(path)
    settings = json.loads((cohort / COHORT_SETTINGS).read_text())
    (out / COHORT_SETTINGS).write_text(json.dumps(settings))
    write_manifest(out, entries)
    print(f"{sum(map(len, sentences.values())):,} sentences of {len(sentences):,} scans were taken out", flush=True)


def trained(cohort: Path, out: Path, options: argparse.Namespace) -> Path:
    """Train the demo's recipe on a cohort, both stages, and return the model's folder."""
    stages = {"labeler": "phantom-tiny-labeler", "contrastive": "phantom-tiny"}
    for stage, config in stages.items():
        if (out / stage / "model").exists():
            continue
        short = {} if options.steps is None else {"steps": options.steps, "save_every": options.steps, "batch_size": 8}
        settings: dict[str, object] = {"seed": options.seed, **short}
        if stage == "contrastive":
            settings["init_text_encoder"] = out / "labeler" / "model"
        changes = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        thoracle("train", stage, "--config", CONFIGS / f"{config}.yaml", "--cohort", cohort, "--out", out / stage, *changes)
    return out / "contrastive" / "model"


def report(out: Path, *, resamples: int) -> None:
    """Print AUROC of each finding by both models, and their paired difference."""
    files = [out / f"scores-{name}" / "results.json" for name in ("silent", "named")]
    differences = compare(*map(read_run, files), resamples=resamples)
    labels = [json.loads(file.read_text())["labels"] for file in files]
    print(f"{differences.scans:,} volumes of {differences.patients:,} patients; AUROC with 95% over patients")
    print(f"{'':28}{'never named':26}{'named':26}difference")
    for label, metrics in differences.by_label.items():
        aurocs = [text(**model[label]["own"]["auroc"]) for model in labels]
        difference = metrics["auroc"]
        print(f"{label:28}{aurocs[0]:26}{aurocs[1]:26}{text(difference.value, difference.low, difference.high)}")


def text(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return "one answer only"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def thoracle(*arguments: object) -> None:
    """Run the command; ends with what it said where it fails."""
    ended = subprocess.run([sys.executable, "-m", "thoracle", *map(str, arguments)], capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(ended.stderr)


if __name__ == "__main__":
    main()
