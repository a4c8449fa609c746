"""Draw counts as bars on a page that loads nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

STYLE: Final = ".bar{background:#4a78a8;height:1em;min-width:1px}td.bars{width:24em}"
_MOST_BARS: Final = 30
_LONGEST_LABEL: Final = 60


def bar_chart(title: str, counts: Sequence[tuple[str, int]]) -> str:
    """Draw one bar for each count, as long as its share of the largest; the thirty first, and a line on the others.

    Args:
        title: heading.
        counts: labels and counts in the order to show.
    """
    if not counts:
        return f"<h2>{escape(title)}</h2><p>Nothing is known.</p>"
    longest = max(count for _, count in counts) or 1
    rows = "".join(
        f"<tr><td>{escape(label[:_LONGEST_LABEL])}<td class=bars>"
        + (f'<div class=bar style="width:{100 * count / longest:.1f}%"></div>' if count else "")
        + f"<td>{count:,}"
        for label, count in counts[:_MOST_BARS]
    )
    others = counts[_MOST_BARS:]
    more = f"<p>And {len(others):,} more with {sum(count for _, count in others):,} together.</p>" if others else ""
    return f"<h2>{escape(title)}</h2><table>{rows}</table>{more}"


def by_frequency(labels: Iterable[str]) -> list[tuple[str, int]]:
    """Count labels, the commonest first, empty ones as "unknown" at the end."""
    counts: Mapping[str, int] = Counter(labels)
    known = sorted(((label, count) for label, count in counts.items() if label), key=lambda pair: (-pair[1], pair[0]))
    return [*known, ("unknown", counts[""])] if counts.get("") else known


def histogram(numbers: Iterable[float | None], *, step: float) -> list[tuple[str, int]]:
    """Count numbers by intervals of a width that begin at multiples of it, empty ones between them too; None as "unknown" at the end."""
    bins = Counter(None if number is None else math.floor(number / step + 1e-9) for number in numbers)
    unknown = bins.pop(None, 0)
    known = [number for number in bins if number is not None]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    counts = (
        [(f"{n * step:.{digits}f} to {(n + 1) * step:.{digits}f}", bins[n]) for n in range(min(known), max(known) + 1)] if known else []
    )
    return [*counts, ("unknown", unknown)] if unknown else counts
