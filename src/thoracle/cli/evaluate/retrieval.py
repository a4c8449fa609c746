"""`thoracle evaluate retrieval`: how well an index is searched, as the papers measure it and without their flaws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.index import Place
from thoracle.cli.options import Device

if TYPE_CHECKING:
    from rich.console import Console

    from thoracle.evaluation.retrieval_tasks import Volumes
    from thoracle.inference.model import Model
    from thoracle.metrics.retrieval import RetrievalResult
    from thoracle.search.backend import Backend

SCHEMA = "thoracle.retrieval/1"
Protocol = Literal["ct-clip", "bimcv-r"]
SplitName = Literal["train", "valid", "test"]
Section = Literal["findings", "impression", "both"]
_SHOWN = ("R@1", "R@5", "R@10", "R@50", "R@100", "MdR", "MnR", "MAP@10", "precision@10", "nDCG@10", "overlap@10")


@evaluate.command()
def retrieval(
    place: Place,
    *,
    protocol: Annotated[Protocol, typer.Option(help="Which tasks, at which K.")] = "ct-clip",
    out: Annotated[Path, typer.Option(metavar="DIR", help="report.html, results.json.")],
    section: Annotated[Section, typer.Option(help="Which of a report is encoded: what the model learned to read.")] = "both",
    split: Annotated[SplitName | None, typer.Option(help="Only these cases are gallery and queries.", show_default=False)] = None,
    gallery: Annotated[int, typer.Option(min=0, help="So many scans, drawn by the seed; 0 takes all.")] = 0,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    model: Annotated[Path | None, typer.Option(metavar="DIR", help="The index's model, where this machine has not seen it.")] = None,
    device: Device = "auto",
) -> None:
    """Report to volume, volume to report, volume to volume, words to volume and keyword over what an index holds, with chance beside.

    Words and keywords are the names of the abnormalities: words are looked for in scans, keywords in reports. The query's own patient and
    duplicates are left out of volume to volume; the published figures, which do not, stand beside in ct-clip.
    """
    from thoracle.cli.search import model_of
    from thoracle.evaluation.retrieval_tasks import run_tasks
    from thoracle.inference.query import query_latents
    from thoracle.search.engine import require_same
    from thoracle.search.places import opened
    from thoracle.types import ABNORMALITIES

    with opened(place) as index:
        network = model_of(index, model, device)
        require_same(index, network)
        numbers, volumes, spoken = _volumes(index, section, split, gallery, seed)
        keyword = _keyword(index, numbers)
    texts = _latents(network, spoken) if any(volumes.texts) else None
    words = query_latents(network, ABNORMALITIES).cpu().numpy().astype("float64")
    found, published = run_tasks(
        volumes, protocol=protocol, texts_NL=texts, words_CL=words, keyword_CN=keyword, resamples=resamples, seed=seed
    )
    sizes = {"volumes": len(volumes.scans), "scans": len(set(volumes.scans)), "patients": len(set(volumes.patients))}
    prevalence = {name: float((volumes.labels_NC[:, n] == 1).mean()) for n, name in enumerate(ABNORMALITIES)}
    settings = {**network.settings(), "section": section}
    _write(out, protocol, found, published, prevalence=prevalence, sizes=sizes, settings=settings, trained=network.folder.trained)


def _volumes(index: Backend, section: Section, split: str | None, gallery: int, seed: int) -> tuple[list[int], Volumes, list[str]]:
    """Their numbers, what is known of them, and what is encoded of their reports; what belongs together whole reports decide."""
    import numpy as np

    from thoracle.evaluation.retrieval_tasks import Volumes

    records = {n: one for n, one in index.records(index.everything()).items() if split in (None, one.split)}
    if gallery:
        scans = sorted({one.scan for one in records.values()})
        chosen = set(np.random.default_rng(seed).permutation(scans)[:gallery].tolist())
        records = {n: one for n, one in records.items() if one.scan in chosen}
    numbers = sorted(records)
    held = [records[n] for n in numbers]
    spoken = [one.report.text(section) for one in held]
    volumes = Volumes(
        latents_NL=index.latents(numbers).astype(np.float64),
        labels_NC=np.array([[-1 if label is None else label for label in one.labels] for one in held], np.int_).reshape(len(held), -1),
        scans=tuple(one.scan for one in held),
        patients=tuple(one.patient for one in held),
        texts=tuple(one.report.text("both") if text else "" for one, text in zip(held, spoken, strict=True)),
        voxels=tuple(one.voxels_sha256 for one in held),
    )
    return numbers, volumes, spoken


def _keyword(index: Backend, numbers: list[int]) -> Any:
    """(C, n): what each abnormality's name scores as a keyword query; minus infinity where it does not find. None where none is found."""
    import numpy as np

    from thoracle.search.record import Filters
    from thoracle.search.words import parse
    from thoracle.types import ABNORMALITIES

    scores = np.full((len(ABNORMALITIES), len(numbers)), -np.inf)
    places = {number: place for place, number in enumerate(numbers)}
    for row, name in enumerate(ABNORMALITIES):
        for number, score in index.search(parse(name), k=len(index), filters=Filters()):
            if number in places:
                scores[row, places[number]] = score
    return scores if (scores > -np.inf).any() else None


def _latents(model: Model, texts: list[str]) -> Any:
    """(n, L); each text is encoded once."""
    import numpy as np

    distinct = list(dict.fromkeys(texts))
    places = {text: n for n, text in enumerate(distinct)}
    latents = model.encode_text(distinct).cpu().numpy().astype(np.float64)
    return latents[[places[text] for text in texts]]


def _shown_task(task: str, one: RetrievalResult, published: dict[str, float], console: Console) -> list[str]:
    """Parts of the page, and the same on the terminal."""
    from thoracle.evaluation.page import heading, paragraph, shown, table, with_bounds

    rows = [
        (name, with_bounds(*(getattr(one.metrics[name], part) for part in ("value", "low", "high"))), one.random[name])
        for name in _SHOWN
        if name in one.metrics
    ]
    note = f"{one.queries:,} queries; {one.queries_without_relevant:,} more to which nothing belongs."
    asides = [f"{name} as published: {shown(value)}" for name, value in published.items()]
    console.print(f"\n{task}: {note}")
    for name, text, random in rows:
        console.print(f"  {name:14}{text:30}random {shown(random)}")
    for aside in asides:
        console.print(f"  {aside}", style="dim")
    return [heading(task), paragraph(note), table(("", "value (95%)", "random"), rows), *map(paragraph, asides)]


def _write(
    out: Path,
    protocol: Protocol,
    found: dict[str, RetrievalResult],
    published: dict[str, dict[str, float]],
    *,
    prevalence: dict[str, float],
    sizes: dict[str, int],
    settings: dict[str, Any],
    trained: bool,
) -> None:
    import json
    from dataclasses import asdict

    from rich.console import Console

    from thoracle.cli.console import UNTRAINED
    from thoracle.evaluation.page import page, paragraph
    from thoracle.evaluation.retrieval_tasks import PROTOCOLS, RULES
    from thoracle.files import write_atomic
    from thoracle.types import RESEARCH_USE

    console = Console(highlight=False)
    caution = [] if trained else [UNTRAINED.replace("probabilities mean", "what is found means")]
    counted = ", ".join(f"{count:,} {name}" for name, count in sizes.items())
    held = f"Gallery: {counted}. Of a report: {settings['section']}."
    parts = [paragraph(text) for text in (*caution, PROTOCOLS[protocol][1], RULES, held)]
    for task, one in found.items():
        parts += _shown_task(task, one, published.get(task, {}), console)
    by_label = _by_label(found, prevalence)
    parts += _shown_by_label(by_label, prevalence)
    content = {
        "schema": SCHEMA,
        "notice": RESEARCH_USE,
        "protocol": protocol,
        "rules": RULES,
        "model": settings,
        "trained": trained,
        "gallery": sizes,
        "tasks": {
            task: {
                "random": one.random,
                "queries": one.queries,
                "without": one.queries_without_relevant,
                "figures": {name: asdict(interval) for name, interval in one.metrics.items()},
            }
            for task, one in found.items()
        },
        "published": published,
        "prevalence": prevalence,
        "precision@10": by_label,
    }
    write_atomic(out / "results.json", (json.dumps(content, default=dict) + "\n").encode())
    write_atomic(out / "report.html", page("Retrieval", parts))
    for text in caution:
        console.print(f"[bold red]{text}[/]")
    console.print(RESEARCH_USE)


def _by_label(found: dict[str, RetrievalResult], prevalence: dict[str, float]) -> dict[str, dict[str, float | None]]:
    """Precision@10 of each abnormality's words and keywords; None where no volume has it."""
    tasks = {task: found[task].per_query["precision@10"] for task in ("words to volume", "keyword") if task in found}
    return {
        task: {name: float(value) if prevalence[name] else None for name, value in zip(prevalence, values, strict=True)}
        for task, values in tasks.items()
    }


def _shown_by_label(by_label: dict[str, dict[str, float | None]], prevalence: dict[str, float]) -> list[str]:
    from thoracle.evaluation.page import heading, paragraph, table

    if not by_label:
        return []
    return [
        heading("By abnormality"),
        paragraph("Prevalence is the share of volumes that are labelled with it, which is what chance finds."),
        table(("precision@10", "prevalence", *by_label), [(name, prevalence[name], *_row(by_label, name)) for name in prevalence]),
    ]


def _row(by_label: dict[str, dict[str, float | None]], name: str) -> list[float]:
    return [float("nan") if (value := one[name]) is None else value for one in by_label.values()]
