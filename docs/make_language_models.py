"""Write docs/reference/language-models.md from what each family comes to: `PYTHONPATH=src:. python docs/make_language_models.py`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import transformers

from tests.language_families import FAMILIES, FamilyReport, report_family
from thoracle.inference.demo.assets import write_model
from thoracle.inference.model import load

PAGE: Final = Path(__file__).parent / "reference" / "language-models.md"
_INTRO: Final = """# Language models

<!-- Written by `python docs/make_language_models.py`; do not edit. -->

Tiny models of {count} kinds with random weights, opened from folders and compared with transformers {version} itself on a CPU in float32;
windows are of 8 ids, shorter than every conversation. Weights that were published have not been run.

- Answers: words and logits of three turns about a scan, each reusing what was read before, beside a forward pass of the whole conversation
  without a cache; and words without a scan beside `generate`. The figure is the largest difference of the largest logit.
- Training: the loss of conversations of one turn and of two, beside the family's own loss of each conversation alone; the figure is their
  relative difference. "packed": rows hold several conversations. "unpacked": rows hold one each, because layers are recurrent or attention
  has positions of its own; each run finds this out when it starts.
- LoRA: the linear maps that are adapted where `targets` names none; the adapter changes nothing at first, is read again as it was, and
  merged it gives the same logits.

| family | answers | training | LoRA |
| --- | --- | --- | --- |
{rows}
"""


def main() -> None:
    """Try every family, and write the page."""
    with tempfile.TemporaryDirectory() as work:
        encoder = load(write_model(Path(work) / "encoder").path, device="cpu")
        reports = [report_family(name, Path(work) / str(number), encoder=encoder) for number, name in enumerate(FAMILIES)]
    rows = "\n".join(map(_row, reports))
    PAGE.write_text(_INTRO.format(count=len(reports), version=transformers.__version__, rows=rows))


def _row(report: FamilyReport) -> str:
    answers = f"{report.answers}, {report.logits:.0e}"
    return f"| {report.name} | {answers} | {report.training}, {report.loss:.0e} | {_short(report.adapter)} |"


def _short(adapter: str) -> str:
    refused = adapter.startswith("refused: ")
    return "refused by name: peft does not adapt its maps" if refused else adapter.removeprefix("LoRA adapts ").partition(";")[0]


if __name__ == "__main__":
    main()
