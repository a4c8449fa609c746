"""`thoracle demo`: the main job from end to end, on a machine that has neither data nor weights; each stage is a command of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.app import app

if TYPE_CHECKING:
    from thoracle.cohort.manifest import CohortEntry
    from thoracle.evaluation.demo.page import Figures
    from thoracle.evaluation.demo.search import HitPicture, SearchQuality
    from thoracle.training.chat.task import ChatConfig
    from thoracle.training.engine.config import RunConfig

#: So many that each abnormality is there more than 20 times among the held-out sixth and among the fifth of the others that is split dev,
#: at seeds 0 to 2, and 2,000 scans are left to train on.
CASES = 3000
_DEV_SHARE = 0.2
#: What is looked for in its index.
ASKED = "pleural effusion"
_HITS = 5


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where all goes; a run that was stopped there goes on.")] = Path("demo"),
    num_scans: Annotated[int, typer.Option(min=72, help="How many phantoms.")] = CASES,
    seed: Annotated[int, typer.Option(min=0, help="Of phantoms and of training.")] = 0,
) -> None:
    """Make chest phantoms, train on them; measure on held-out ones, search these, ask one: three quarters of an hour on two cores.

    Ends with DIR/report.html, and with a model that `thoracle detect` uses where no other is named. It knows phantoms only.
    """
    from thoracle.training.chat.task import ChatConfig
    from thoracle.training.contrastive.ctclip import ContrastiveConfig
    from thoracle.training.engine.config import load_config
    from thoracle.training.finetuning.vocabfine import VocabFineConfig
    from thoracle.training.labeler.task import LabelerConfig

    cohort, words, first, second = (out / name for name in ("cohort", "labeler", "contrastive", "vocabfine"))
    labeler = load_config(Path("phantom-tiny-labeler"), LabelerConfig)
    contrastive = load_config(Path("phantom-tiny"), ContrastiveConfig)
    vocabfine = load_config(Path("phantom-tiny-vocabfine"), VocabFineConfig)
    run(
        out,
        cases=num_scans,
        seed=seed,
        labeler=replace(labeler, cohort=str(cohort), out=str(words), seed=seed),
        contrastive=replace(contrastive, cohort=str(cohort), init_text_encoder=str(words / "model"), out=str(first), seed=seed),
        vocabfine=replace(vocabfine, cohort=str(cohort), init_from=str(first / "model"), out=str(second), seed=seed),
        chat=replace(load_config(Path("phantom-chat"), ChatConfig), seed=seed),
    )


def run(out: Path, *, cases: int, seed: int, labeler: RunConfig, contrastive: RunConfig, vocabfine: RunConfig, chat: ChatConfig) -> Figures:
    """Run every stage in `out`, skipping finished ones, and return the measured figures."""
    from thoracle.cli.demo.chat import DemoChat
    from thoracle.cli.demo.regions import DemoRegions
    from thoracle.cohort.manifest import open_cohort
    from thoracle.evaluation.demo.chat import figures_of as figures_of_chat
    from thoracle.evaluation.demo.chat import section as chat_section
    from thoracle.evaluation.demo.chat import sentences as chat_sentences
    from thoracle.evaluation.demo.held_out import examples, held_out, histogram_scores, phantom_file, positive_labels
    from thoracle.evaluation.demo.page import AVERAGED, BY_REGION, CONTRASTIVE, HISTOGRAM, TUNED, figures_of, write_page
    from thoracle.evaluation.demo.regions import averaged
    from thoracle.evaluation.demo.regions import sentences as region_sentences
    from thoracle.evaluation.demo.search import section as search_section
    from thoracle.evaluation.demo.search import sentences as search_sentences
    from thoracle.evaluation.detection.results_json import read_run
    from thoracle.files.atomic import write_atomic
    from thoracle.inference.demo.locations import demo_chat, demo_model, keep_demo_model, keep_demo_search
    from thoracle.training.engine.metric_logger import read_curves
    from thoracle.types import RESEARCH_USE

    stages, runs = _Stages(), {"contrastive": contrastive, "vocabfine": vocabfine}
    stages.make_cohort(out, cases=cases, seed=seed, config=contrastive)
    stages.train("labeler", labeler, out)
    for name, config in runs.items():
        stages.train(name, config, out)
        stages.evaluate(name, Path(config.out) / "model", out)
    by_region = DemoRegions(encoder=Path(vocabfine.out) / "model", out=out, stage=stages)
    by_region.fit()
    stages.evaluate("regions", by_region.model, out)
    by_region.evaluate_maps()
    search_quality = stages.index_and_find(Path(contrastive.out) / "model", out)
    keep_demo_model(Path(vocabfine.out) / "model")
    keep_demo_search(index=out / "index", model=Path(contrastive.out) / "model", scans=out / "phantoms")
    shown = max(held_out(open_cohort(out / "cohort")).values(), key=lambda entry: len(positive_labels(entry)))
    stages.detect(shown, out)
    talk = DemoChat(config=chat, cohort=out / "cohort", encoder=Path(vocabfine.out) / "model", out=out, stage=stages)
    chat_metrics = figures_of_chat(talk.measure(talk.train()))
    answers = talk.ask(out / "phantoms" / phantom_file(shown), present=positive_labels(shown))
    with stages("report"):
        cohort = open_cohort(out / "cohort")
        before, after, regions = (read_run(out / f"evaluation-{name}" / "results.json").scores for name in (*runs, "regions"))
        rows = {CONTRASTIVE: before, TUNED: after, BY_REGION: regions, AVERAGED: averaged(after, regions)}
        figures = figures_of({**rows, HISTOGRAM: histogram_scores(cohort, after)})
        region_quality = by_region.quality(prompts=after, regions=regions)
        shown_scans = examples(cohort, out / "phantoms", after)
        content = write_page(
            figures,
            facts=[f"{len(held_out(cohort)):,} of {cases:,} scans are held out, with all scans of their patients. Seed {seed}."],
            losses={name: read_curves(Path(config.out))["train/loss"] for name, config in runs.items()},
            examples=shown_scans,
            more=[
                *by_region.section(region_quality, shown_scans),
                *search_section(search_quality, query_text=ASKED, hits=_hits(out)),
                *chat_section(chat_metrics, answers),
            ],
            seconds=stages.seconds,
        )
        write_atomic(out / "report.html", content)
    _say(figures)
    typer.echo("\n" + "\n".join([*region_sentences(region_quality), *search_sentences(search_quality), *chat_sentences(chat_metrics)]))
    typer.echo(f"\n{sum(stages.seconds.values()):.0f} seconds. Look at {out / 'report.html'}")
    typer.echo(f"The models are in {demo_model()} and {demo_chat()}: commands use them where no --model is given. They know only phantoms.")
    typer.echo(f"`thoracle serve` gives a page on which they read, search and answer.\n{RESEARCH_USE}")
    return figures


@dataclass(kw_only=True)
class _Stages:
    """Each stage is said with its command before it is done, and timed."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str, command: str = "") -> Iterator[None]:
        typer.secho(f"\n{name}", bold=True)
        if command:
            typer.echo(f"$ thoracle {command}")
        since = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - since

    def make_cohort(self, out: Path, *, cases: int, seed: int, config: RunConfig) -> None:
        """Make phantoms in CT-RATE's layout, and prepare them for the model."""
        from thoracle.cli.phantom import phantom
        from thoracle.cli.prepare import prepare
        from thoracle.training.engine.config import write_config

        phantoms, cohort, settings = out / "phantoms", out / "cohort", out / "contrastive.yaml"
        with self("phantoms", f"phantom --out {phantoms} --num-scans {cases} --seed {seed}"):
            phantom(out=phantoms, num_scans=cases, seed=seed)
        write_config(config, settings)
        with self("cohort", f"prepare {phantoms} --layout ct-rate --preprocess {settings} --dev-share {_DEV_SHARE} --out {cohort}"):
            prepare(phantoms, layout="ct-rate", preprocess=settings, dev_share=_DEV_SHARE, out=cohort)

    def train(self, name: str, config: RunConfig, out: Path) -> None:
        """Train the task `name`."""
        from thoracle.cli.train.contrastive import CONTRASTIVE
        from thoracle.cli.train.labeler import LABELER
        from thoracle.cli.train.vocabfine import VOCABFINE
        from thoracle.training.engine.config import write_config

        tasks: dict[str, Callable[..., None]] = {task.name: task.run for task in (LABELER, CONTRASTIVE, VOCABFINE)}
        settings, resume = out / f"{name}.yaml", Path(config.out).exists()
        write_config(config, settings)
        with self(f"train {name}", f"train {name} --config {settings}" + (" --resume" if resume else "")):
            tasks[name](config=settings, resume=resume)

    def evaluate(self, name: str, model: Path, out: Path) -> None:
        """Evaluate on split valid; thresholds and calibration come from split dev."""
        from thoracle.cli.evaluate.detection import detection

        cohort, where = out / "cohort", out / f"evaluation-{name}"
        with self(
            f"evaluate {name}", f"evaluate detection {model} {cohort} --protocol phantom --level scan --save-calibration --out {where}"
        ):
            detection(model, cohort, protocol="phantom", level="scan", save_calibration=True, out=where)

    def index_and_find(self, model: Path, out: Path) -> SearchQuality:
        """Index the held-out phantoms, measure how well they are found, and search for one text.

        The model is the contrastive one: tuning to prompts makes it forget whole reports (docs/experiments.md).
        """
        from thoracle.cli.evaluate.retrieval import retrieval
        from thoracle.cli.index.add import add
        from thoracle.cli.search import search
        from thoracle.evaluation.demo.search import read_found

        cohort, index, where, hits = out / "cohort", str(out / "index"), out / "evaluation-search", out / "hits.json"
        with self("index", f"index add {cohort} --model {model} --split valid --out {index}"):
            add(cohort, model=model, split=["valid"], out=index)
        with self("evaluate search", f"evaluate retrieval {index} --section impression --out {where}"):
            retrieval(index, section="impression", out=where)  # what it learned to read
        with self("search", f'search {index} --text "{ASKED}" --top {_HITS} --json {hits}'):
            search(index, text=ASKED, top=_HITS, json_file=hits)
        return read_found(where / "results.json")

    def detect(self, entry: CohortEntry, out: Path) -> None:
        """Detect in one held-out phantom with the default model."""
        from thoracle.cli.detect import detect
        from thoracle.evaluation.demo.held_out import phantom_file, positive_labels

        scan, findings = out / "phantoms" / phantom_file(entry), out / "findings.json"
        with self("detect", f"detect {scan} --json {findings}"):
            detect([scan], json_file=findings)
        typer.echo(f"Painted into it: {', '.join(positive_labels(entry))}.")


def _hits(out: Path) -> list[HitPicture]:
    """What the search stage found, with its slices."""
    from thoracle.evaluation.demo.search import HitPicture
    from thoracle.search.open_index import open_index

    with open_index(str(out / "index")) as index:
        numbers = [(index.ids_where(volume=hit["volume"])[0], hit["labels"]) for hit in json.loads((out / "hits.json").read_text())["hits"]]
        slices = index.thumbnails([number for number, _ in numbers])
    return [HitPicture(slices=slices[number], labels=labels) for number, labels in numbers]


def _say(figures: Figures) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("AUROC on held-out phantoms", "present", "absent", *figures.macro, box=None)
    for label, present in figures.positives.items():
        values = (f"{of[label].value:.2f} ({of[label].low:.2f} to {of[label].high:.2f})" for of in figures.labels.values())
        table.add_row(label, str(present), str(figures.negatives[label]), *values)
    macro = (f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})" for interval in figures.macro.values())
    table.add_row("macro average", "", "", *macro, style="bold")
    Console(highlight=False).print(table)
