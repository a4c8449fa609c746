"""Build an HTML page in one file, without a network: headings, tables, pictures, and the notice."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from thoracle.text_safety import terminal_safe
from thoracle.types import RESEARCH_USE

_STYLE: Final = (
    ":root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;color:#1b1f24;max-width:76em;margin:2em auto;padding:0 1em}"
    "h1{margin-bottom:.2em}.notice{background:#fff3cd;border-left:4px solid #d39e00;padding:.4em .8em}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}th{font-weight:600}td,th{padding:.2em 1em .2em 0;text-align:right;"
    "vertical-align:top;border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums;white-space:nowrap}td:first-child,th:first-child"
    "{text-align:left}figure{margin:1em 0}figure svg,figure img{max-width:100%;height:auto}figcaption{color:#57606a}"
    ".row{display:flex;flex-wrap:wrap;gap:1.5em}"
)


def page(title: str, parts: Sequence[str], *, script: str = "") -> bytes:
    """Build a whole page of parts from `heading`, `paragraph`, `table` and `figure`; the notice stands under the title."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    top = f'<h1>{escape(title)}</h1><p class="notice">{escape(RESEARCH_USE)}</p>'
    end = f"<script>{script}</script>" if script else ""
    return terminal_safe("\n".join((head, top, *parts, f"{end}</html>\n"))).encode("utf-8", "replace")


def heading(text: str) -> str:
    """Build a section's heading."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """Format plain words."""
    return f"<p>{escape(text)}</p>"


def terms(model: Mapping[str, Any]) -> list[str]:
    """List in sentences what `Model.settings` says of licence and papers; nothing where a table has no model."""
    papers = "; ".join(model.get("citations", ()))
    lines = {"Licence of the model's weights": model.get("licence", ""), "To be cited": papers}
    return [f"{name}: {text}." for name, text in lines.items() if text]


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format a table: numbers to three places, NaN as a dash."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(shown(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def figure(picture: str | bytes, *, caption: str = "", width: int | None = None) -> str:
    """Embed an SVG given as text, or a PNG given as bytes; `width` in pixels."""
    if isinstance(picture, bytes):
        size = f' width="{width}"' if width else ""
        picture = f'<img alt="{escape(caption)}"{size} src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def side_by_side(parts: Sequence[str]) -> str:
    """Put parts into a row that wraps."""
    return f'<div class="row">{"".join(parts)}</div>'


def shown(cell: object) -> str:
    """Format a cell of a table."""
    if isinstance(cell, float):
        return "–" if math.isnan(cell) else f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)


def with_bounds(value: float, low: float, high: float) -> str:
    """Format a value with bounds: 0.731 (0.702 to 0.760)."""
    return shown(value) if math.isnan(low) else f"{value:.3f} ({low:.3f} to {high:.3f})"
