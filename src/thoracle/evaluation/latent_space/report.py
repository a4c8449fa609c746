"""Write the latent space as a page with a map that can be pointed at, and as PNGs.

Shapes: N scans, each an image and a text; L latent width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from importlib.resources import files
from typing import Any, Final

import numpy as np

from thoracle.evaluation.html.page import figure, heading, page, paragraph, shown, table, with_bounds
from thoracle.evaluation.html.plain_json import plain_json
from thoracle.evaluation.html.plots import PointGroup, histogram, scatter
from thoracle.evaluation.latent_space.evaluate import SpaceEvaluation
from thoracle.evaluation.latent_space.measures import PROJECTIONS, Projection, findings_count, project
from thoracle.metrics.bootstrap import Interval
from thoracle.types import RESEARCH_USE, FloatArray

#: Numbers of abnormalities that share a colour, as in the published plots.
GROUPS: Final = (("0", 0, 0), ("1 to 3", 1, 3), ("4 to 6", 4, 6), ("7 to 9", 7, 9), ("10 to 12", 10, 12), ("13 or more", 13, 18))
_ROWS: Final = (
    ("uniformity", "lower is more evenly spread"),
    ("effective_rank", "directions in use"),
    ("mean_length", "0 is all around the sphere, 1 is one point"),
)


def space_json(measured: SpaceEvaluation, *, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Build the document of space.json, with null for NaN; `facts` name the model and the scans."""
    values = {**asdict(measured.geometry), "order": asdict(measured.order), "hierarchy": asdict(measured.hierarchy)}
    document: dict[str, Any] = plain_json({"notice": RESEARCH_USE, **facts, **values})
    return document


def report_files(
    measured: SpaceEvaluation,
    image_NL: FloatArray,
    text_NL: FloatArray,
    *,
    names: Sequence[str],
    truth_NK: FloatArray,
    labels: Sequence[str],
    notes: Sequence[str],
) -> dict[str, bytes]:
    """Project the latents, and draw them as space.html and PNGs, by file name.

    Args:
        measured: what there is to say of it.
        image_NL, text_NL: latents of the scans and of their reports.
        names: of the scans.
        truth_NK: labels of 1, 0 or NaN.
        labels: names of the K columns.
        notes: sentences above the page.
    """
    points = {method: project(np.concatenate([image_NL, text_NL]), method) for method in PROJECTIONS}
    drawings = pictures(points, truth_NK=truth_NK, labels=labels)
    cosines = text_NL @ image_NL.T
    content = write_page(
        measured,
        points=points,
        names=names,
        truth_NK=truth_NK,
        labels=labels,
        cosines={"of one scan": cosines.diagonal(), "of two scans": cosines[~np.eye(len(cosines), dtype=bool)]},
        drawn=drawings,
        notes=notes,
    )
    return {**drawings, "space.html": content}


def pictures(points: Mapping[Projection, FloatArray], *, truth_NK: FloatArray, labels: Sequence[str]) -> dict[str, bytes]:
    """Draw PNGs, by file name: by the number of abnormalities and by each label. `points` are (2 N, 2): images, then texts."""
    drawings, note = {}, f"Dots are images, squares are texts. {RESEARCH_USE}"
    count = findings_count(truth_NK)
    for method, coordinates in points.items():
        halves = np.split(coordinates, 2)
        name = method.lower().replace("-", "")
        groups = [PointGroup(label=label, keep=(count >= low) & (count <= high)) for label, low, high in GROUPS]
        drawings[f"{name}-number.png"] = scatter(halves, [groups], titles=["Number of abnormalities"], size=7, note=note)
        by_label = [[PointGroup(label="absent", keep=column == 0), PointGroup(label="present", keep=column == 1)] for column in truth_NK.T]
        drawings[f"{name}-labels.png"] = scatter(halves, by_label, titles=list(labels), size=2.6, note=note)
    return drawings


def write_page(
    measured: SpaceEvaluation,
    *,
    points: Mapping[Projection, FloatArray],
    names: Sequence[str],
    truth_NK: FloatArray,
    labels: Sequence[str],
    cosines: Mapping[str, FloatArray],
    drawn: Mapping[str, bytes],
    notes: Sequence[str],
) -> bytes:
    """Write the page. `cosines` are shown as histograms; `drawn` holds what `pictures` made."""
    space = measured.geometry
    rows = [
        [name.replace("_", " "), *(bounded(getattr(measure, name)) for measure in (space.image, space.text, space.even)), words]
        for name, words in _ROWS
    ]
    together: list[list[object]] = [
        ["alignment", bounded(space.alignment), "mean squared distance of pairs"],
        ["modality gap", bounded(space.modality_gap), "distance of the mean image and the mean text"],
        ["cosine of pairs", bounded(space.paired_cosine), "image and text of one scan"],
        ["cosine of others", bounded(space.unpaired_cosine), "image and text of two scans"],
        ["hubness of images", space.hubness_of_images, "above 1, few images are near to many texts"],
        ["hubness of texts", space.hubness_of_texts, "above 1, few texts are near to many images"],
    ]
    parts = [
        *(paragraph(note) for note in notes),
        heading("Map"),
        _map(points, names=names, truth_NK=truth_NK, labels=labels),
        heading("Each modality"),
        table(["", "image", "text", "evenly drawn", ""], rows),
        heading("Both"),
        table(["", "", ""], together),
        figure(histogram(cosines, x="cosine of image and text")),
        heading("Are scans with a label apart?"),
        paragraph("Silhouette of image latents by cosine: 1 is far apart, 0 is not apart."),
        table(["", "silhouette"], [[label, value] for label, value in space.silhouette.items()]),
        *_order_parts(measured),
        heading("Pictures"),
        *(figure(content, caption=name) for name, content in drawn.items()),
    ]
    return page("Latent space", parts, script=files("thoracle.evaluation.html").joinpath("map.js").read_text("utf-8"))


def order_rows(measured: SpaceEvaluation) -> list[list[str]]:
    """List name, value with bounds and meaning of what order and hierarchy come to."""
    order, tree = measured.order, measured.hierarchy
    rows = [
        ["number of findings, axis", bounded(order.axis), "Spearman with the first principal component of image latents"],
        ["number of findings, neighbours", bounded(order.neighbours), "Spearman with the mean of ten nearest scans of other patients"],
    ]
    if order.severity is not None:
        areas = [[f"AUROC, {name}", bounded(area), "of the margin against scans without it"] for name, area in order.severity.auroc.items()]
        rows += [["severity of a finding", bounded(order.severity.mean), "Spearman with the margin of its prompts, mean"], *areas]
    for count in tree.number:
        rows.append([f"{count} clusters, number", bounded(tree.number[count]), "share of its variance between clusters; chance is 0"])
        rows.append([f"{count} clusters, findings", bounded(tree.findings[count]), "share of each finding's variance, mean"])
    return rows


def bounded(value: Interval | float) -> str:
    """Format a value, with its bounds where it has any."""
    return with_bounds(value.value, value.low, value.high) if isinstance(value, Interval) else shown(value)


def _order_parts(measured: SpaceEvaluation) -> list[str]:
    severity = measured.order.severity
    parts = [heading("Order and hierarchy"), table(["", "", ""], order_rows(measured))]
    if severity is not None:
        rows = [[label, bounded(value)] for label, value in severity.by_finding.items()]
        parts += [paragraph("Is a more severe finding nearer to the words that state it?"), table(["", "Spearman"], rows)]
    return parts


def _map(points: Mapping[Projection, FloatArray], *, names: Sequence[str], truth_NK: FloatArray, labels: Sequence[str]) -> str:
    rows = [
        {
            "name": name,
            "labels": [label for label, value in zip(labels, row, strict=True) if value == 1],
            "unknown": [label for label, value in zip(labels, row, strict=True) if np.isnan(value)],
        }
        for name, row in zip(names, truth_NK, strict=True)
    ]
    data = {"rows": rows, "places": {method: _halves(coordinates) for method, coordinates in points.items()}}
    text = json.dumps(data).replace("<", "\\u003c")  # no name ends the script
    options = [_select("projection", list(points)), _select("modality", ["both", "image", "text"]), _select("colour", ["number", *labels])]
    return (
        f'<p>{" ".join(options)} Dots are images, squares are texts.</p><canvas id="map" width="1000" height="700"'
        ' style="max-width:100%;border:1px solid #ddd"></canvas><p id="legend"></p><p id="tip">Point at a dot.</p>'
        f'<script id="points" type="application/json">{text}</script>'
    )


def _halves(coordinates: FloatArray) -> dict[str, Any]:
    """From 0 to 1, both axes by one scale."""
    low, reach = coordinates.min(axis=0), max(float(np.ptp(coordinates, axis=0).max()), 1e-12)
    image, text = np.split(np.round((coordinates - low) / reach, 4), 2)
    return {"image": image.tolist(), "text": text.tolist()}


def _select(name: str, options: Sequence[str]) -> str:
    items = "".join(f"<option>{escape(option)}</option>" for option in options)
    return f'<label>{name} <select id="{name}">{items}</select></label>'
