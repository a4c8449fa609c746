"""Hits as one page without a network: slices, score, labels and sentence of each, and nobody's name."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from thoracle.search.engine import Hit
from thoracle.text_safety import terminal_safe
from thoracle.types import RESEARCH_USE

_STYLE: Final = (
    "body{font:15px/1.4 system-ui,sans-serif;margin:2rem;background:#111;color:#ddd}"
    "main{display:grid;margin-top:1.5rem;grid-template-columns:repeat(auto-fill,minmax(26rem,1fr));gap:1.5rem}"
    "article{background:#1c1c1c;padding:1rem;border-radius:6px}img{width:100%;image-rendering:auto}"
    "h2{font-size:1rem;margin:0 0 .5rem}p{margin:.5rem 0 0}.labels{color:#9cf}.none{padding:2rem 0;color:#888}"
)


def contact_sheet(hits: Sequence[Hit], thumbnails: Mapping[int, bytes], *, query_text: str, notes: Sequence[str] = ()) -> str:
    """Write HTML.

    Args:
        hits: best first; they are numbered as in the table, which has their accessions.
        thumbnails: PNGs by `Hit.number`.
        query_text: the query, in words.
        notes: sentences under the hits.
    """
    articles = "".join(_article(rank, hit, thumbnails.get(hit.number)) for rank, hit in enumerate(hits, 1))
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return terminal_safe(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Thoracle search</title><style>{_STYLE}</style>'
        f"<h1>{escape(query_text)}</h1><p>{RESEARCH_USE}</p><main>{articles}</main>{below}</html>\n"
    )


def _article(rank: int, hit: Hit, image: bytes | None) -> str:
    picture = f'<img alt="Slices of hit {rank}" src="data:image/png;base64,{b64encode(image).decode()}">' if image else _NO_PICTURE
    labels = escape(", ".join(hit.record.findings) or "no label")
    return f'<article><h2>{rank}. {hit.score:.4f}</h2>{picture}<p class="labels">{labels}</p><p>{escape(hit.sentence)}</p></article>'


_NO_PICTURE: Final = '<div class="none">no slices kept</div>'
