"""Draw docs/pictures/: `make pictures`. `--cohort demo/cohort` counts the data set again first, as `thoracle demo` leaves it."""

from __future__ import annotations

import argparse
import base64
import json
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thoracle.cohort.manifest import open_cohort
from thoracle.phantom.case import PhantomScan, make_patient, plan_cohort
from thoracle.phantom.presets import PRESETS
from thoracle.types import ABNORMALITIES, RESEARCH_USE

FOLDER: Final = Path(__file__).parent / "pictures"
COUNTS: Final = FOLDER / "demo-cohort.json"
#: Of Okabe and Ito (2008), which most people tell apart.
BLUE, ORANGE, GREEN, PINK, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#57606a"
SHOWN: Final = ("Pleural effusion", "Lung nodule")


class Drawing:
    """Collect the parts of an SVG."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._size, self._title, self._parts = (width, height), title, list[str]()

    def text(
        self,
        x: float,
        y: float,
        lines: str | Sequence[str],
        *,
        size: int = 13,
        anchor: str = "start",
        fill: str = "#1b1f24",
        family: str = "",
    ) -> None:
        """Write lines, the first of them on the baseline `y`; a first character of `*` makes a line bold."""
        for number, line in enumerate([lines] if isinstance(lines, str) else lines):
            weight = ' font-weight="600"' if line.startswith("*") else ""
            mono = f' font-family="{family}"' if family else ""
            attributes = f'x="{x:g}" y="{y + 1.3 * size * number:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"{weight}{mono}'
            self._parts.append(f"<text {attributes}>{escape(line.removeprefix('*'))}</text>")

    def box(self, x: float, y: float, width: float, height: float, lines: Sequence[str], *, colour: str = GREY, size: int = 13) -> None:
        """Draw a box with lines in its middle."""
        shape = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"'
        self._parts.append(f'<rect {shape} fill="{colour}" fill-opacity="0.1" stroke="{colour}" stroke-width="1.5"/>')
        self.text(x + width / 2, y + height / 2 - 1.3 * size * (len(lines) - 1) / 2 + size / 3, lines, size=size, anchor="middle")

    def arrow(self, x: float, y: float, to_x: float, to_y: float, *, colour: str = GREY) -> None:
        """Draw an arrow."""
        ends = f'x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}"'
        self._parts.append(f'<line {ends} stroke="{colour}" stroke-width="1.5" marker-end="url(#head)"/>')

    def rectangle(self, x: float, y: float, width: float, height: float, *, fill: str, opacity: float = 1.0) -> None:
        """Fill a rectangle."""
        self._parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" fill-opacity="{opacity:g}"/>')

    def circle(self, x: float, y: float, radius: float, *, fill: str, stroke: str = "none") -> None:
        """Draw a circle."""
        self._parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}" stroke="{stroke}"/>')

    def image(self, x: float, y: float, width: float, height: float, pixels_YX: NDArray[np.uint8]) -> None:
        """Place a picture of grey values."""
        data = base64.b64encode(grey_png(pixels_YX)).decode()
        place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" preserveAspectRatio="none"'
        self._parts.append(f'<image {place} href="data:image/png;base64,{data}"/>')

    def bars(
        self, x: float, y: float, title: str, counts: Sequence[tuple[str, int]], *, label: int, width: int, colour: str = BLUE
    ) -> None:
        """Draw a bar a row, as long as its share of the longest, with its count."""
        self.text(x, y, f"*{title}", size=14)
        longest = max(count for _, count in counts)
        for row, (name, count) in enumerate(counts):
            top = y + 12 + 17 * row
            self.text(x + label - 6, top + 11, name, size=11, anchor="end")
            self.rectangle(x + label, top, width * count / longest, 13, fill=colour, opacity=0.8)
            self.text(x + label + width * count / longest + 4, top + 11, f"{count:,}", size=10, fill=GREY)

    def svg(self) -> str:
        """Return the file's text."""
        width, height = self._size
        head = (
            '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/>'
        )
        self.text(width - 12, height - 10, f"Phantoms. {RESEARCH_USE}", size=11, anchor="end", fill=GREY)
        frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" role="img"'
        parts = [
            f"<title>{escape(self._title)}</title>",
            f"<defs>{head}</marker></defs>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
        ]
        return "\n".join([f"<svg {frame}>", *parts, *self._parts, "</svg>\n"])


def grey_png(pixels_YX: NDArray[np.uint8]) -> bytes:
    """Write a PNG without compression, whose bytes are the same with every zlib."""
    height, width = pixels_YX.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels_YX)
    blocks = [rows[start : start + 65535] for start in range(0, len(rows), 65535)]
    stored = b"".join(
        struct.pack("<BHH", number == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block for number, block in enumerate(blocks)
    )
    data = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(rows))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content)) for name, content in chunks
    )


@cache
def example() -> PhantomScan:
    """Make the first phantom of seed 0 that has what is shown."""
    scans = (scan for plan in plan_cohort(200, seed=0) for scan in make_patient(plan, seed=0, preset=PRESETS["tiny"]))
    return next(scan for scan in scans if {*SHOWN} <= {finding.abnormality for finding in scan.findings})


def slices(scan: PhantomScan) -> list[tuple[str, float, NDArray[np.uint8]]]:
    """Cut a scan in the middle, seen as radiologists see it: name, height over width, grey values of -1000 to 400 HU."""
    volume = scan.volumes[0].stored
    hu_XYZ, (sx, sy, sz) = volume.hu, volume.spacing
    x, y, z = (size // 2 for size in hu_XYZ.shape)
    grey_XYZ = np.clip((hu_XYZ.astype(np.float64) + 1000) / 1400 * 255, 0, 255).astype(np.uint8)
    cuts = {
        "axial": (grey_XYZ[:, :, z].T, sy / sx),
        "coronal": (grey_XYZ[:, y].T[::-1], sz / sx),
        "sagittal": (grey_XYZ[x].T[::-1], sz / sy),
    }
    return [(name, ratio * cut.shape[0] / cut.shape[1], np.ascontiguousarray(cut)) for name, (cut, ratio) in cuts.items()]


def method_picture() -> str:
    """Draw how scans and reports come into one space, and what is done there."""
    drawing = Drawing(1120, 640, "CT-CLIP's way, as Thoracle goes it: one space of scans and reports, and five uses of it")
    scan = example()
    _, ratio, axial = slices(scan)[0]
    drawing.text(20, 32, "*Pretraining: thoracle train contrastive", size=17)
    drawing.image(24, 60, 130, 130 * ratio, axial)
    drawing.text(24, 60 + 130 * ratio + 16, "a scan, in Hounsfield units", size=12)
    drawing.box(24, 232, 130, 84, ["*its report", *wrapped(scan.report.impression, 22)[:3], "…"], size=10)
    drawing.box(186, 76, 118, 82, ["*preprocess", "spacing, size,", "window, turned", "to one order"], size=12)
    parts = ["*image encoder", "patches", "attention in plane", "attention along slices", "codebook", "mean, flattened, projected"]
    drawing.box(336, 62, 190, 122, parts, colour=BLUE, size=12)
    drawing.box(336, 232, 190, 84, ["*text encoder", "words, BERT", "[CLS], projected"], colour=ORANGE, size=12)
    for start, end in (((156, 117), (184, 117)), ((306, 117), (334, 117)), ((156, 274), (334, 274))):
        drawing.arrow(*start, *end)
    drawing.arrow(528, 123, 580, 160, colour=BLUE)
    drawing.arrow(528, 274, 580, 240, colour=ORANGE)
    sphere(drawing, 662, 198, 86)
    drawing.text(662, 312, "unit hypersphere, 512 dimensions", size=12, anchor="middle")
    drawing.arrow(756, 198, 800, 198)
    matrix(drawing, 812, 92, 33)
    drawing.text(812, 76, "similarity = exp(temperature) × cosine", size=12)
    drawing.text(
        1022, 120, ["*InfoNCE", "each report", "finds its scan", "among all of", "the batch, and", "each scan its", "report"], size=12
    )
    drawing.text(20, 366, "*Use", size=17)
    prompts = "“Emphysema is present.”|“Emphysema is not present.”"
    uses = (
        ("Zero-shot", "detect", GREEN, f"{prompts}|softmax of both similarities|= a probability,|for any words"),
        ("VocabFine", "train vocabfine", PINK, "both encoders go on learning|by the pairs of prompts|of 18 labels;|words still ask"),
        ("ClassFine (LiPro)", "train classifier", PINK, "the image latent, frozen|ReLU, dropout,|one linear map|= 18 probabilities"),
        ("Retrieval", "index, search", GREEN, "words, a report or a scan|its latent|the nearest latents|= scans, or reports"),
        ("Chat", "train chat, chat", ORANGE, "tokens of the scan|a projector into|a language model|= answers to questions"),
    )  # fmt: skip
    for number, (name, command, colour, lines) in enumerate(uses):
        left = 20 + 218 * number
        drawing.box(left, 382, 206, 168, [f"*{name}", *lines.split("|")], colour=colour, size=13)
        drawing.text(left + 103, 572, f"thoracle {command}", size=12, anchor="middle", family="monospace", fill=GREY)
    drawing.text(
        20,
        606,
        "Green: nothing learns. Pink: labels of 18 abnormalities teach. Orange: a projector learns by questions and answers.",
        size=12,
        fill=GREY,
    )
    return drawing.svg()


def sphere(drawing: Drawing, x: float, y: float, radius: float) -> None:
    """Draw pairs of a scan, a dot, and its report, a square, on a circle."""
    drawing.circle(x, y, radius, fill="#f6f8fa", stroke=GREY)
    for angle in np.deg2rad([15, 70, 118, 190, 245, 310]):
        ends = [(x + radius * np.cos(angle + turn), y - radius * np.sin(angle + turn)) for turn in (-0.1, 0.1)]
        drawing.circle(*ends[0], 6, fill=BLUE)
        drawing.rectangle(ends[1][0] - 5.5, ends[1][1] - 5.5, 11, 11, fill=ORANGE)
    drawing.circle(x - 40, y - 8, 6, fill=BLUE)
    drawing.text(x - 28, y - 4, "a scan", size=12)
    drawing.rectangle(x - 45.5, y + 14.5, 11, 11, fill=ORANGE)
    drawing.text(x - 28, y + 24, "its report", size=12)


def matrix(drawing: Drawing, x: float, y: float, cell: float) -> None:
    """Draw similarities of six reports and six scans; pairs stand on the diagonal."""
    for row in range(6):
        for column in range(6):
            drawing.rectangle(x + cell * column, y + cell * row, cell - 2, cell - 2, fill=BLUE, opacity=0.85 if row == column else 0.12)
    drawing.text(x + 3 * cell, y + 6 * cell + 16, "scans", size=12, anchor="middle")
    drawing.text(x - 6, y + cell / 2 + 4, "reports", size=11, anchor="end")


def data_picture(counts: Mapping[str, Any]) -> str:
    """Draw what the demo's phantoms are: a scan with its report, and counts."""
    drawing = Drawing(1120, 700, "The phantoms of thoracle demo: a scan, its report and labels, and how many there are")
    scan, left = example(), 20.0
    drawing.text(20, 32, "*The phantoms of thoracle demo", size=17)
    totals = ", ".join(f"{counts[name]:,} {name}" for name in ("patients", "scans", "volumes"))
    drawing.text(20, 54, f"{totals}; held out: {counts['held_out']['patients']:,} patients, {counts['held_out']['scans']:,} scans", size=13)
    for name, ratio, cut in slices(scan):
        drawing.image(left, 72, 170, 170 * ratio, cut)
        drawing.text(left, 72 + 170 * ratio + 15, name, size=11, fill=GREY)
        left += 182
    drawing.text(20, 280, "*Impression", size=13)
    drawing.text(20, 298, wrapped(scan.report.impression, 92)[:4], size=12)
    present = ", ".join(finding.abnormality for finding in scan.findings)
    drawing.text(20, 376, "*Labels", size=13)
    drawing.text(20, 394, wrapped(present, 92)[:3], size=12)
    drawing.bars(590, 40, "Scans with a finding", sorted(counts["findings"].items(), key=lambda pair: -pair[1]), label=210, width=240)
    drawing.bars(590, 384, "Scans by number of findings", list(counts["number"].items()), label=60, width=300, colour=GREEN)
    drawing.bars(20, 464, "Patients by age", list(counts["age"].items()), label=70, width=150, colour=ORANGE)
    drawing.bars(290, 464, "Patients by sex", list(counts["sex"].items()), label=40, width=150, colour=PINK)
    drawing.bars(290, 540, "Scans by maker, as headers say", list(counts["maker"].items()), label=70, width=120, colour=GREY)
    return drawing.svg()


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of at most so many characters."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def count(cohort: Path) -> dict[str, Any]:
    """Count a prepared cohort: patients by their first scan, scans by their first volume."""
    opened = open_cohort(cohort)
    scans = {entry.scan: entry for entry in reversed(opened.entries)}
    patients = {entry.patient: entry for entry in reversed(list(scans.values()))}
    number = Counter(sum(label == 1 for label in entry.labels) for entry in scans.values())
    decades = Counter(entry.facts.age // 10 * 10 for entry in patients.values() if entry.facts.age is not None)
    held_out = [entry for entry in scans.values() if entry.split == "valid"]
    return {
        "patients": len(patients),
        "scans": len(scans),
        "volumes": len(opened.entries),
        "held_out": {"patients": len({entry.patient for entry in held_out}), "scans": len(held_out)},
        "findings": {name: sum(entry.labels[k] == 1 for entry in scans.values()) for k, name in enumerate(ABNORMALITIES)},
        "number": {str(n): number[n] for n in range(max(number) + 1)},
        "age": {f"{decade} to {decade + 9}": decades[decade] for decade in sorted(decades)},
        "sex": by_count(entry.facts.sex for entry in patients.values()),
        "maker": by_count(entry.facts.scanner.split()[0] for entry in scans.values()),
    }


def by_count(names: Iterable[str]) -> dict[str, int]:
    """Count names, the commonest first."""
    return dict(sorted(Counter(names).items(), key=lambda pair: (-pair[1], pair[0])))


def pictures() -> dict[str, str]:
    """Draw all, by file name."""
    return {"method.svg": method_picture(), "data-set.svg": data_picture(json.loads(COUNTS.read_text()))}


def main() -> None:
    """Count, if asked, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohort", type=Path, help="counted into demo-cohort.json")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    if options.cohort:
        COUNTS.write_text(json.dumps(count(options.cohort), indent=1) + "\n")
    for name, content in pictures().items():
        (FOLDER / name).write_text(content)


if __name__ == "__main__":
    main()
