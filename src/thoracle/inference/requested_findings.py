"""Ask a zero-shot model for findings in any words: by a name, or by a pair of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from thoracle.config_reader import parse_yaml
from thoracle.errors import InputError
from thoracle.files.listed_names import column_key
from thoracle.files.table import TABLE_SUFFIXES, UTF_8, TextTable
from thoracle.models.common.prompts import format_prompts

_MOST_BYTES: Final = 1 << 20
_MOST: Final = 1000  # findings
_LABELS_SHOWN: Final = 20  # in a message; Merlin has 1,692
#: Columns of tables that are no finding.
_RESERVED: Final = frozenset(map(column_key, ("VolumeName", "source_sha256", "series", "patient", "scan", "split", "model")))
_HINT: Final = "Write NAME: [it is present, it is not present], or NAME alone for the model's own templates."


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Name a finding, and perhaps the two prompts that a model is asked with.

    Attributes:
        name: as tables have it.
        prompts: that it is present, that it is not, with `{abnormality}` for the name; None for the model's own templates.
    """

    name: str
    prompts: tuple[str, str] | None = None

    def texts(self, templates: Sequence[str]) -> list[str]:
        """Format its prompts; `templates` are the model's."""
        return format_prompts([self.name], self.prompts or templates)

    def is_listed(self, labels: Sequence[str]) -> bool:
        """Tell whether it is one of a model's labels, asked for as the model is by default; calibrations are of such."""
        return self.prompts is None and self.name in labels


def requested_findings(names: Sequence[str], file: Path | None, *, encoding: str = UTF_8) -> tuple[Finding, ...] | None:
    """Return findings by name and those of a file, YAML or a table; None where there are neither.

    Args:
        names: of findings; the model's templates are filled with them.
        file: YAML of names to [present, absent] or to nothing, or a list of names; or a table with the columns `name`, and perhaps
            `present` and `absent`.
        encoding: of a table.

    Raises:
        InputError: something else, a name twice, or one that tables have for something else.
    """
    if file is None and not names:
        return None
    findings = [Finding(name=name.strip()) for name in names]
    if file is not None:
        if not file.is_file():
            raise InputError("no such file", hint="Give a YAML file or a table of findings.", source=file)
        is_table = file.suffix.lower() in TABLE_SUFFIXES
        findings += _table_findings(file, encoding) if is_table else _yaml_findings(file)
    keys = [column_key(finding.name) for finding in findings]
    wrong = [finding.name for finding, key in zip(findings, keys, strict=True) if not key or key in _RESERVED or keys.count(key) > 1]
    if wrong or not 0 < len(findings) <= _MOST:
        detail = f"{len(findings)} findings"
        if wrong:
            detail = f"the name {wrong[0]!r:.60} is empty, is a column of every table, or stands twice"
        raise InputError(detail, hint=f"Name 1 to {_MOST:,} findings, each once.", source=file)
    return tuple(findings)


def resolve_findings(requested: Sequence[str | Finding] | None, *, labels: Sequence[str], is_prompted: bool) -> tuple[Finding, ...]:
    """Return findings as a model is asked for them; all its labels by default.

    Args:
        requested: names or findings, each once.
        labels: of the model.
        is_prompted: whether it takes any words, or its labels alone.

    Raises:
        InputError: none or one twice, or words that a model of fixed labels does not take.
    """
    if isinstance(requested, str):  # whose letters would be asked for
        raise InputError("one name where several are expected", hint="Put it into a list.")
    values = labels if requested is None else requested
    findings = tuple(value if isinstance(value, Finding) else Finding(name=value) for value in values)
    unknown = [] if is_prompted else [finding.name for finding in findings if not finding.is_listed(labels)]
    others = f" and {len(labels) - _LABELS_SHOWN:,} more" if len(labels) > _LABELS_SHOWN else ""
    known = f"It knows {', '.join(labels[:_LABELS_SHOWN])}{others}."
    if unknown:
        detail = f"this classifier does not know {', '.join(unknown)}, and takes no prompts"
        raise InputError(detail, hint=f"{known} A model with text and a temperature takes any words.")
    if not findings or len({finding.name for finding in findings}) < len(findings):
        raise InputError("abnormalities must be named, each once", hint=known)
    return findings


def findings_settings(findings: Sequence[Finding], *, labels: Sequence[str], templates: Sequence[str]) -> dict[str, Any]:
    """Build what settings of tables hold of findings.

    Args:
        findings: as resolved.
        labels: of the model.
        templates: of the model.
    """
    unlisted = [{**asdict(finding), "calibrated": False} for finding in findings if not finding.is_listed(labels)]
    return {
        "labels": [finding.name for finding in findings],
        "prompts": list(templates),
        **({"findings": unlisted} if unlisted else {}),
    }


def uncalibrated_note(findings: Sequence[Finding], *, labels: Sequence[str]) -> str:
    """Say which findings are in nobody's words but the user's; "" where all are a model's labels."""
    names = [finding.name for finding in findings if not finding.is_listed(labels)]
    if not names:
        return ""
    return f"Not calibrated, for it is asked for in words of yours: {', '.join(names)}. Its probabilities order scans; none is a threshold."


def _yaml_findings(path: Path) -> list[Finding]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES:,} bytes")
        content = parse_yaml(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        hint = "Mend the file; a text with braces or a colon stands in quotes."
        raise InputError(f"is not YAML ({str(error)[:120]})", hint=hint, source=path) from None
    if not isinstance(content, dict) and not _is_list_of_texts(content):
        raise InputError("expected names of findings", hint=_HINT, source=path)
    pairs = [*content.items()] if isinstance(content, dict) else [(name, None) for name in content]
    if odd := [name for name, _ in pairs if not isinstance(name, str)]:
        raise InputError(f"the name {odd[0]!r:.60} is no text", hint=f"Put it in quotes. {_HINT}", source=path)
    return [_finding(name, prompts, path) for name, prompts in pairs]


def _table_findings(path: Path, encoding: str) -> list[Finding]:
    table = TextTable(path=path, encoding=encoding)
    if "name" not in table.columns or ("present" in table.columns) != ("absent" in table.columns):
        hint = "Name them so in its first line."
        raise InputError("expected the columns name, and perhaps present and absent", hint=hint, source=path)
    findings = []
    for row in table.rows():
        prompts = [row.cells.get(column, "").strip() for column in ("present", "absent")]
        findings.append(_finding(row.cells["name"], prompts if any(prompts) else None, path))
    return findings


def _finding(name: str, prompts: object, path: Path) -> Finding:
    if prompts is None:
        return Finding(name=name.strip())
    texts = [text.strip() for text in prompts] if isinstance(prompts, list) and _is_list_of_texts(prompts) else []
    if len(texts) != 2 or not all(texts) or texts[0] == texts[1]:
        raise InputError(f"the prompts of {name!r:.60} must be two different texts", hint=_HINT, source=path)
    return Finding(name=name.strip(), prompts=(texts[0], texts[1]))


def _is_list_of_texts(content: object) -> bool:
    return isinstance(content, list) and all(isinstance(text, str) for text in content)
