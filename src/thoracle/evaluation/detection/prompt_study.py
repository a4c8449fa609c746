"""Compare prompt templates and ensembles of a file by the AUROC of each.

Shapes: N scans, K labels, L latent width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml  # type: ignore[import-untyped]

from thoracle.config_reader import parse_yaml
from thoracle.errors import InputError
from thoracle.evaluation.detection.summary import mean_of_known
from thoracle.metrics.bootstrap import RESAMPLES, Interval, bootstrap, percentile_interval
from thoracle.metrics.classification import auroc
from thoracle.types import FloatArray

PLACEHOLDER: Final = "{abnormality}"
#: The wording of findings that come with prompts of their own.
OWN_PROMPTS: Final = "their own prompts"
_MOST_BYTES: Final = 1 << 20
_MOST: Final = 200  # templates, or ensembles

#: Latents of unit norm (len(texts), L).
Encode = Callable[[Sequence[str]], FloatArray]


@dataclass(frozen=True, kw_only=True)
class PromptTemplates:
    """Name templates, each a prompt that something is present and one that it is not; ensembles are names of templates."""

    templates: Mapping[str, tuple[str, str]]
    ensembles: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptStudy:
    """Hold how prompts' wording changes detection.

    Attributes:
        macro: mean AUROC of each wording, with its interval over patients.
        by_label: AUROC of each label by wording.
        spread: of each label, highest minus lowest AUROC over single templates.
    """

    macro: Mapping[str, Interval]
    by_label: Mapping[str, Mapping[str, Interval]]
    spread: Mapping[str, float]


def read_wordings(path: Path) -> PromptTemplates:
    """Read YAML: `templates` of name to [present, absent], and optional `ensembles` of name to templates' names.

    Raises:
        InputError: something else; the field is named.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES:,} bytes")
        content = parse_yaml(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"is not YAML ({str(error)[:120]})", hint="Mend the file.", source=path) from None
    if not isinstance(content, dict) or not set(content) <= {"templates", "ensembles"} or not isinstance(content.get("templates"), dict):
        raise InputError("expected templates, and perhaps ensembles, each name to list", hint="See configs/prompts.", source=path)
    templates = {str(name): _template(str(name), pair, path) for name, pair in content["templates"].items()}
    ensembles = content.get("ensembles") or {}
    for name, parts in ensembles.items() if isinstance(ensembles, dict) else [("ensembles", None)]:
        unknown = [str(part) for part in parts if str(part) not in templates] if isinstance(parts, list) and parts else ["no list"]
        if unknown or str(name) in templates:
            detail = f"ensemble {name!r:.40} names {', '.join(unknown) or 'a template that has its own name'}"
            raise InputError(detail[:200], hint=f"There are {', '.join(templates)}.", source=path)
    if not templates or max(len(templates), len(ensembles)) > _MOST:
        raise InputError(f"has {len(templates)} templates and {len(ensembles)} ensembles", hint=f"Give 1 to {_MOST}.", source=path)
    return PromptTemplates(templates=templates, ensembles={str(name): tuple(map(str, parts)) for name, parts in ensembles.items()})


def compare_templates(
    wordings: PromptTemplates,
    *,
    image_NL: FloatArray,
    truth_NK: FloatArray,
    patients: Sequence[str],
    labels: Sequence[str],
    encode: Encode,
    pairs: Sequence[Sequence[str]] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PromptStudy:
    """Compute AUROC by the difference of two cosines, which orders scans as the probability of the pair does.

    Args:
        wordings: what to compare.
        image_NL, truth_NK, patients: of the scans; labels of 1, 0 or NaN.
        labels: names of the K columns, which take the place in the templates.
        encode: of texts.
        pairs: of each label the prompts that are its own, compared with the templates as `OWN_PROMPTS`.
        resamples, seed: of the bootstrap; all wordings see the same draws.
    """
    directions = {name: _directions(pair, labels, encode) for name, pair in wordings.templates.items()}
    directions |= {name: _joined([directions[part] for part in parts]) for name, parts in wordings.ensembles.items()}
    if pairs:
        directions[OWN_PROMPTS] = np.stack([encode(texts) for texts in zip(*pairs, strict=True)])
    macro, by_label = {}, {}
    for name, direction in directions.items():
        margins = image_NL @ (direction[0] - direction[1]).T
        values = auroc(margins, truth_NK)
        draws = bootstrap(lambda w, m=margins: auroc(m, truth_NK, weights_RN=w), patients, resamples=resamples, seed=seed)  # type: ignore[misc]  # a default binds it
        macro[name] = percentile_interval(mean_of_known(values), mean_of_known(draws))[0]
        by_label[name] = dict(zip(labels, percentile_interval(values, draws), strict=True))
    single = np.array([[by_label[name][label].value for label in labels] for name in wordings.templates])
    return PromptStudy(macro=macro, by_label=by_label, spread=dict(zip(labels, np.ptp(single, axis=0).tolist(), strict=True)))


def _directions(pair: tuple[str, str], labels: Sequence[str], encode: Encode) -> FloatArray:
    """(2, K, L): present, absent."""
    return np.stack([encode([template.replace(PLACEHOLDER, label) for label in labels]) for template in pair])


def _joined(parts: Sequence[FloatArray]) -> FloatArray:
    mean = np.mean(parts, axis=0)
    joined: FloatArray = mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
    return joined


def _template(name: str, pair: Any, path: Path) -> tuple[str, str]:
    texts = pair if isinstance(pair, list) and all(isinstance(text, str) and PLACEHOLDER in text for text in pair) else []
    if len(texts) != 2 or texts[0] == texts[1]:
        detail = f"template {name!r:.40} must be two different texts with {PLACEHOLDER}"
        raise InputError(detail, hint="Write [present, absent].", source=path)
    return texts[0], texts[1]
