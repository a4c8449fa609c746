"""`thoracle evaluate retrieval`: how well an index is searched, as the papers measure it and without their flaws."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.index import IndexLocation
from thoracle.cli.options import Device, Only, SplitName

if TYPE_CHECKING:
    from thoracle.evaluation.retrieval.report import RetrievalReport
    from thoracle.evaluation.retrieval.tasks import Gallery
    from thoracle.inference.model import Model
    from thoracle.search.backend import IndexBackend
    from thoracle.search.record import Record

Protocol = Literal["ct-clip", "bimcv-r"]
Section = Literal["findings", "impression", "both"]


@evaluate.command()
def retrieval(
    index_location: IndexLocation,
    *,
    protocol: Annotated[Protocol, typer.Option(help="Which tasks, at which K.")] = "ct-clip",
    out: Annotated[Path, typer.Option(metavar="DIR", help="report.html, results.json.")],
    section: Annotated[Section, typer.Option(help="Which of a report is encoded: what the model learned to read.")] = "both",
    split: Annotated[SplitName | None, typer.Option(help="Only these cases are gallery and queries.", show_default=False)] = None,
    only: Only = None,
    gallery_size: Annotated[int, typer.Option(min=0, help="So many scans, drawn by the seed; 0 takes all.")] = 0,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    model: Annotated[Path | None, typer.Option(metavar="DIR", help="The index's model, where this machine has not seen it.")] = None,
    device: Device = "auto",
) -> None:
    """Report to volume, volume to report, volume to volume, words to volume and keyword over what an index holds, with chance beside.

    Words and keywords are the names of the abnormalities: words are looked for in scans, keywords in reports. The query's own patient and
    duplicates are left out of volume to volume; the published figures, which do not, stand beside in ct-clip.
    """
    from thoracle.cli.findings_table import notify
    from thoracle.evaluation.retrieval.report import RetrievalReport, write_page
    from thoracle.evaluation.retrieval.tasks import run_tasks
    from thoracle.files.atomic import write_atomic
    from thoracle.inference.text.text_query import text_query_latents
    from thoracle.search.model_lookup import check_same_model, model_of
    from thoracle.search.open_index import open_index
    from thoracle.types import ABNORMALITIES

    with open_index(index_location) as index:
        network = model_of(index, folder=model, device=device, notify=notify)
        check_same_model(index, network)
        numbers, volumes, report_texts = _volumes(index, section, split, gallery_size, seed, only=only)
        keyword = _keyword(index, numbers)
    texts = _latents(network, report_texts) if any(volumes.texts) else None
    words = text_query_latents(network, ABNORMALITIES).cpu().numpy().astype("float64")
    tasks, published = run_tasks(
        volumes, protocol=protocol, texts_NL=texts, words_CL=words, keyword_CN=keyword, resamples=resamples, seed=seed
    )
    sizes = {"volumes": len(volumes.scans), "scans": len(set(volumes.scans)), "patients": len(set(volumes.patients))}
    prevalence = {name: float((volumes.labels_NC[:, n] == 1).mean()) for n, name in enumerate(ABNORMALITIES)}
    report = RetrievalReport(
        protocol=protocol,
        tasks=tasks,
        published=published,
        prevalence=prevalence,
        gallery=sizes,
        model={**network.settings(), "section": section},
        trained=network.folder.trained,
    )
    write_atomic(out / "results.json", (json.dumps(report.as_dict()) + "\n").encode())
    write_atomic(out / "report.html", write_page(report))
    _print(report)


def _listed(records: Mapping[int, Record], only: Path) -> dict[int, Record]:
    """Those of a list, which says how many it has."""
    from rich.console import Console

    from thoracle.files.volume_list import VolumeIdentity, read_volume_list

    listed = read_volume_list(only)
    pairs, absent = listed.select(
        list(records.items()), identity=lambda pair: VolumeIdentity(names=(pair[1].volume,), source_sha256=pair[1].source_sha256)
    )
    Console(stderr=True, highlight=False).print(listed.summary(len(pairs), absent), markup=False)
    return dict(pairs)


def _volumes(
    index: IndexBackend, section: Section, split: str | None, gallery_size: int, seed: int, *, only: Path | None
) -> tuple[list[int], Gallery, list[str]]:
    """Their numbers, what is known of them, and what is encoded of their reports; what belongs together whole reports decide."""
    import numpy as np

    from thoracle.errors import InputError
    from thoracle.evaluation.retrieval.tasks import Gallery

    records = {n: record for n, record in index.records(index.ids()).items() if split in (None, record.split)}
    if not records:
        detail = "no volume in the index" if split is None else f"no volume of split {split!r} in the index"
        raise InputError(detail, hint="Add some with `thoracle index`, or choose another split.")
    if only is not None:
        records = _listed(records, only)
    if gallery_size:
        scans = sorted({record.scan for record in records.values()})
        chosen = set(np.random.default_rng(seed).permutation(scans)[:gallery_size].tolist())
        records = {n: record for n, record in records.items() if record.scan in chosen}
    numbers = sorted(records)
    selected = [records[n] for n in numbers]
    texts = [record.report.text(section) for record in selected]
    volumes = Gallery(
        latents_NL=index.latents(numbers).astype(np.float64),
        labels_NC=np.array([[-1 if label is None else label for label in record.labels] for record in selected], np.int_).reshape(
            len(selected), -1
        ),
        scans=tuple(record.scan for record in selected),
        patients=tuple(record.patient for record in selected),
        texts=tuple(record.report_sha256 if text else "" for record, text in zip(selected, texts, strict=True)),
        voxels=tuple(record.voxels_sha256 for record in selected),
    )
    return numbers, volumes, texts


def _keyword(index: IndexBackend, numbers: list[int]) -> Any:
    """(C, n): what each abnormality's name scores as a keyword query; minus infinity where it does not find. None where none is found."""
    import numpy as np

    from thoracle.search.keywords import parse
    from thoracle.search.record import Filters
    from thoracle.types import ABNORMALITIES

    scores = np.full((len(ABNORMALITIES), len(numbers)), -np.inf)
    positions = {number: position for position, number in enumerate(numbers)}
    for row, name in enumerate(ABNORMALITIES):
        for number, score in index.keyword_search(parse(name), k=len(index), filters=Filters()):
            if number in positions:
                scores[row, positions[number]] = score
    return scores if (scores > -np.inf).any() else None


def _latents(model: Model, texts: list[str]) -> Any:
    """(n, L); each text is encoded once."""
    import numpy as np

    distinct = list(dict.fromkeys(texts))
    positions = {text: n for n, text in enumerate(distinct)}
    latents = model.encode_text(distinct).cpu().numpy().astype(np.float64)
    return latents[[positions[text] for text in texts]]


def _print(report: RetrievalReport) -> None:
    from rich.console import Console

    from thoracle.evaluation.html.page import shown
    from thoracle.types import RESEARCH_USE

    console = Console(highlight=False)
    for task in report.tasks:
        console.print(f"\n{task}: {report.summary(task)}")
        for name, text, random in report.rows(task):
            console.print(f"  {name:14}{text:30}random {shown(random)}")
        for line in report.published_lines(task):
            console.print(f"  {line}", style="dim")
    for warning in report.warnings:
        console.print(f"[bold red]{warning}[/]")
    console.print(RESEARCH_USE)
