"""`thoracle demo`: the main job from end to end, on a machine that has neither data nor weights; each stage is a command of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.app import app
from thoracle.cli.demo.commands import evaluation, training

if TYPE_CHECKING:
    from thoracle.cli.demo.beside import Beside
    from thoracle.cohort.manifest import CohortEntry
    from thoracle.evaluation.demo.page import Figures
    from thoracle.evaluation.demo.search import HitPicture, SearchQuality
    from thoracle.training.chat.task import ChatConfig
    from thoracle.training.engine.config import RunConfig

#: So many that each abnormality is there more than 20 times among the held-out sixth and among the fifth of the others that is split dev,
#: at seeds 0 to 2, and 2,000 scans are left to train on.
CASES = 3000
_DEV_SHARE = 0.2
#: With --quick: phantoms, and each training's batch and steps.
_QUICK_CASES = 320
_QUICK_BATCH = 16
_QUICK_STEPS = 90
#: What is looked for in its index.
ASKED = "pleural effusion"
_HITS = 5


@app.command()
def demo(
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where all goes; a run that was stopped there goes on. By default demo, or demo-quick."),
    ] = None,
    num_scans: Annotated[int | None, typer.Option(min=72, help="How many phantoms. By default 3,000, or 320.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of phantoms and of training.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer phantoms and steps, no chat: minutes, and a worse model.")] = False,
) -> None:
    """Make chest phantoms, train on them; measure on held-out ones, search these, ask one: some 25 minutes on two idle cores.

    Ends with DIR/report.html, and with a model that `thoracle detect` and `thoracle serve` use where no other is named. It knows phantoms
    only.
    """
    from thoracle.training.chat.task import ChatConfig
    from thoracle.training.contrastive.ctclip import ContrastiveConfig
    from thoracle.training.engine.config import load_config
    from thoracle.training.finetuning.config import ClassifierConfig
    from thoracle.training.finetuning.vocabfine import VocabFineConfig
    from thoracle.training.labeler.task import LabelerConfig

    out = out or Path("demo-quick" if quick else "demo")
    cohort, words, first, second = (out / name for name in ("cohort", "labeler", "contrastive", "vocabfine"))
    labeler = load_config(Path("phantom-tiny-labeler"), LabelerConfig)
    contrastive = load_config(Path("phantom-tiny"), ContrastiveConfig)
    vocabfine = load_config(Path("phantom-tiny-vocabfine"), VocabFineConfig)
    lipro, supervised = (load_config(Path(f"phantom-tiny-{name}"), ClassifierConfig) for name in ("classifier", "supervised"))
    if quick:
        labeler = replace(labeler, steps=_QUICK_STEPS, batch_size=_QUICK_BATCH)
        contrastive = replace(contrastive, steps=_QUICK_STEPS, batch_size=_QUICK_BATCH)
        vocabfine = replace(vocabfine, steps=_QUICK_STEPS, batch_size=_QUICK_BATCH)
    runs: dict[str, RunConfig] = {
        "contrastive": replace(contrastive, cohort=str(cohort), init_text_encoder=str(words / "model"), out=str(first), seed=seed),
        "vocabfine": replace(vocabfine, cohort=str(cohort), init_from=str(first / "model"), out=str(second), seed=seed),
    }
    if not quick:
        runs["lipro"] = replace(lipro, cohort=str(cohort), init_from=str(first / "model"), out=str(out / "lipro"), seed=seed)
        runs["supervised"] = replace(supervised, cohort=str(cohort), out=str(out / "supervised"), seed=seed)
    run(
        out,
        cases=num_scans or (_QUICK_CASES if quick else CASES),
        seed=seed,
        labeler=replace(labeler, cohort=str(cohort), out=str(words), seed=seed),
        runs=runs,
        chat=None if quick else replace(load_config(Path("phantom-chat"), ChatConfig), seed=seed),
    )


def run(out: Path, *, cases: int, seed: int, labeler: RunConfig, runs: Mapping[str, RunConfig], chat: ChatConfig | None) -> Figures:
    """Run every stage in `out`, skipping finished ones, and return the measured figures.

    Args:
        out: the demo's folder.
        cases: phantoms.
        seed: of phantoms.
        labeler: whose text encoder the contrastive run begins with.
        runs: contrastive and vocabfine; lipro and supervised, which stand beside them, or neither.
        chat: of all its stages; None for no chat.
    """
    from thoracle.cli.demo.beside import commands_beside
    from thoracle.cli.demo.chat import DemoChat
    from thoracle.cli.demo.opponents import OPPONENTS, DemoOpponents
    from thoracle.cli.demo.regions import DemoRegions
    from thoracle.cli.demo.time_left import planned_seconds
    from thoracle.cohort.manifest import open_cohort
    from thoracle.evaluation.demo.held_out import examples, held_out, histogram_scores, phantom_file, positive_labels
    from thoracle.evaluation.demo.page import AVERAGED, BY_REGION, HISTOGRAM, TUNED, WHOLE_DEMO, figures_of, write_page
    from thoracle.evaluation.demo.regions import averaged
    from thoracle.evaluation.demo.regions import sentences as region_sentences
    from thoracle.evaluation.demo.search import section as search_section
    from thoracle.evaluation.demo.search import sentences as search_sentences
    from thoracle.evaluation.detection.results_json import read_run
    from thoracle.files.atomic import write_atomic
    from thoracle.inference.demo.locations import demo_chat, demo_model, keep_demo_model
    from thoracle.training.engine.metric_logger import read_curves
    from thoracle.types import RESEARCH_USE

    stages, opponents = _Stages(), DemoOpponents(configs=runs, out=out)
    tuned, cohort_folder = Path(runs["vocabfine"].out) / "model", out / "cohort"
    by_region = DemoRegions(encoder=tuned, out=out)
    talk = DemoChat(config=chat, cohort=cohort_folder, encoder=tuned, out=out, stage=stages) if chat else None
    in_turn = {"labeler": labeler, **{name: config for name, config in runs.items() if name not in OPPONENTS}}
    stages.planned = planned_seconds(scans=cases, runs=in_turn, chat=talk.samples if talk else {})
    stages.make_cohort(out, cases=cases, seed=seed, config=runs["contrastive"])
    with commands_beside(out) as beside:
        opponents.train("supervised", beside)
        stages.train_and_evaluate(in_turn, out, beside)
        opponents.train("lipro", beside)  # on what was just trained
        by_region.measure(beside)
        search_quality = stages.index_and_find(Path(runs["contrastive"].out) / "model", out)
        shown = max(held_out(open_cohort(cohort_folder)).values(), key=lambda entry: len(positive_labels(entry)))
        answers = talk.answers(out / "phantoms" / phantom_file(shown), present=positive_labels(shown)) if talk else None
        with stages("what runs meanwhile"):
            beside.wait()
    keep_demo_model(tuned)
    stages.detect(shown, out)
    with stages("report"):
        cohort = open_cohort(cohort_folder)
        after, regions = opponents.scores[TUNED], read_run(out / "evaluation-regions" / "results.json").scores
        others = {BY_REGION: regions, AVERAGED: averaged(after, regions), HISTOGRAM: histogram_scores(cohort, after)}
        figures = figures_of({**opponents.scores, **others})
        region_quality = by_region.quality(prompts=after, regions=regions)
        shown_scans = examples(cohort, out / "phantoms", after)
        content = write_page(
            figures,
            facts=[
                f"{len(held_out(cohort)):,} of {cases:,} scans are held out, with all scans of their patients. Seed {seed}.",
                *([] if answers else [WHOLE_DEMO]),
            ],
            losses={name: read_curves(Path(config.out))["train/loss"] for name, config in runs.items()},
            examples=shown_scans,
            more=[
                *opponents.section,
                *by_region.section(region_quality, shown_scans),
                *search_section(search_quality, query_text=ASKED, hits=_hits(out)),
                *(answers.parts if answers else []),
            ],
            seconds=stages.seconds,
        )
        write_atomic(out / "report.html", content)
    models = f"{demo_model()} and {demo_chat()}" if talk else str(demo_model())
    sentences = [
        "",
        *opponents.sentences,
        *region_sentences(region_quality),
        *search_sentences(search_quality),
        *(answers.sentences if answers else [WHOLE_DEMO]),
        f"\n{sum(stages.seconds.values()):.0f} seconds. Look at {out / 'report.html'}",
        f"The models are in {models}: commands use them where no --model is given. They know only phantoms.",
        "`thoracle serve` gives a page on which they read, search and answer.",
        RESEARCH_USE,
    ]
    _say(figures)
    typer.echo("\n".join(sentences))
    return figures


@dataclass(kw_only=True)
class _Stages:
    """Each stage is said with its command and with what is left of all before it is done, and timed."""

    planned: Mapping[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str, command: str = "") -> Iterator[None]:
        from thoracle.cli.demo.time_left import seconds_left

        minutes = seconds_left(self.planned, self.seconds) / 60
        typer.echo("\n" + typer.style(name, bold=True) + (f" ({minutes:.0f} minutes left of all)" if minutes >= 1 else ""))
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
        """Train the model `name`."""
        from thoracle.cli.train.contrastive import CONTRASTIVE
        from thoracle.cli.train.labeler import LABELER
        from thoracle.cli.train.vocabfine import VOCABFINE

        tasks: dict[str, Callable[..., None]] = {task.name: task.run for task in (LABELER, CONTRASTIVE, VOCABFINE)}
        arguments = training(name, config, out)
        with self(f"train {name}", " ".join(arguments)):
            tasks[config.TASK](config=out / f"{name}.yaml", resume="--resume" in arguments)

    def train_and_evaluate(self, runs: Mapping[str, RunConfig], out: Path, beside: Beside) -> None:
        """Train each model that reads reports, and evaluate it meanwhile; of the labeler only the text encoder is used."""
        for name, config in runs.items():
            self.train(name, config, out)
            if name != "labeler":
                beside.run(f"evaluate {name}", evaluation(name, Path(config.out) / "model", out))

    def index_and_find(self, model: Path, out: Path) -> SearchQuality:
        """Index the held-out phantoms, measure how well they are found, and search for one text.

        The model is the contrastive one: tuning to prompts makes it forget whole reports (docs/experiments.md).
        """
        from thoracle.cli.evaluate.retrieval import retrieval
        from thoracle.cli.index.add import add
        from thoracle.cli.search import search
        from thoracle.evaluation.demo.search import read_found
        from thoracle.inference.demo.locations import keep_demo_search

        cohort, index, where, hits = out / "cohort", str(out / "index"), out / "evaluation-search", out / "hits.json"
        with self("index", f"index add {cohort} --model {model} --split valid --out {index}"):
            add(cohort, model=model, split=["valid"], out=index)
        with self("evaluate search", f"evaluate retrieval {index} --section impression --out {where}"):
            retrieval(index, section="impression", out=where)  # what it learned to read
        keep_demo_search(index=out / "index", model=model, scans=out / "phantoms")
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
