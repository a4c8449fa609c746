"""Records, filters and keyword queries as Qdrant has them."""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from zlib import crc32

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.reports import Report
from thoracle.errors import ExtraMissing, InputError
from thoracle.search.keywords import STEMMED, UNSTEMMED, AnyOf, Keywords, Term, stems
from thoracle.search.record import Filters, IndexedVolume, Record
from thoracle.types import ABNORMALITIES

_NAMES: Final = ("volume", "scan", "accession", "patient", "split", "source_sha256", "voxels_sha256")
KEYWORDS: Final = (*_NAMES, "report_sha256", "present", "absent", "stems", "words", "sex", "endings")
NUMBERS: Final = ("age", "date_first", "date_last")
#: BM25's constants; a fixed mean length, for a server does not know that of its reports.
_K1, _B, _LENGTH = 1.2, 0.75, 200.0
_ENDING: Final = 9  # characters of a pseudonym's ending, "_" and eight digits


def qdrant_models() -> Any:
    """Import Qdrant's models.

    Raises:
        ExtraMissing: its client is not installed.
    """
    try:
        from qdrant_client import models
    except ImportError as error:
        raise ExtraMissing("an index on a server needs Qdrant's client", hint="pip install 'thoracle[qdrant]'.") from error
    return models


def to_payload(addition: IndexedVolume, report_stems: Sequence[Sequence[str]], words: Iterable[str]) -> dict[str, Any]:
    """Build a point's payload beside its vectors from the stems of findings and impression, and the words of both as they are written."""
    record = addition.record
    date = record.facts.date.replace("-", "")
    labels = list(zip(ABNORMALITIES, record.labels, strict=True))
    return {
        **{name: getattr(record, name) for name in _NAMES},
        **asdict(record.facts),
        **asdict(record.report),
        "labels": list(record.labels),
        "scores": [{"name": name, "probability": probability} for name, probability in record.scores],
        "present": [name for name, label in labels if label == 1],
        "absent": [name for name, label in labels if label == 0],
        "date_first": int(date.ljust(8, "0")) if date else None,
        "date_last": int(date.ljust(8, "9")) if date else None,
        "report_sha256": record.report_sha256,
        "stems": sorted({*report_stems[0], *report_stems[1]}),
        "words": sorted(set(words)),
        "stemmed": [" ".join(part) for part in report_stems],
        "endings": [f"scan{record.scan[-_ENDING:]}", f"volume{record.volume[-_ENDING:]}"],
        "thumbnail": b64encode(addition.thumbnail).decode(),
    }


def to_record(payload: Mapping[str, Any]) -> Record:
    """Build a record from a point's payload, whose report may not have been read."""
    return Record(
        **{name: payload[name] for name in _NAMES},
        report=Report(findings=payload.get("findings", ""), impression=payload.get("impression", "")),
        labels=tuple(payload["labels"]),
        scores=tuple((score["name"], score["probability"]) for score in payload["scores"]),
        facts=Demographics(age=payload["age"], sex=payload["sex"], date=payload["date"], scanner=payload["scanner"]),
    )


def to_filter(filters: Filters) -> Any:
    """Write filters as Qdrant's; of a scanner's name whole words are compared."""
    if not filters:
        return None
    models = qdrant_models()
    must = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value))
        for key, values in (
            ("present", filters.present),
            ("absent", filters.absent),
            ("sex", (filters.sex,)),
            ("split", (filters.split,)),
        )
        for value in values
        if value
    ]
    for key, start, end in (
        ("age", filters.age_from, filters.age_to),
        ("date_last", _day(filters.date_from, "0"), None),
        ("date_first", None, _day(filters.date_to, "9")),
    ):
        if start is not None or end is not None:
            must.append(models.FieldCondition(key=key, range=models.Range(gte=start, lte=end)))
    if filters.scanner:
        must.append(models.FieldCondition(key="scanner", match=models.MatchText(text=filters.scanner)))
    must += [models.NestedCondition(nested=models.Nested(key="scores", filter=_least(*score))) for score in filters.scored]
    return models.Filter(must=must)


def to_condition(tree: Keywords) -> Any:
    """Write a keyword query as Qdrant's filter over stems, and over words as they are written for beginnings."""
    models = qdrant_models()
    if isinstance(tree, AnyOf):
        return models.Filter(should=[to_condition(part) for part in tree.parts])
    if not isinstance(tree, Term):
        return models.Filter(must=[to_condition(part) for part in tree.parts], must_not=[to_condition(part) for part in tree.without])
    cut = stems([tree.text], tokenizer=UNSTEMMED if tree.prefix else STEMMED)[0]
    if tree.prefix and len(cut) > 1:
        raise InputError(
            "a server does not search for phrases by their beginning", hint="Leave out the *, or the quotes.", source="--keyword"
        )
    if len(cut) > 1:
        condition = models.FieldCondition(key="stemmed", match=models.MatchPhrase(phrase=" ".join(cut)))
    else:
        match = models.MatchPrefix(prefix=cut[0]) if tree.prefix else models.MatchValue(value=cut[0])
        condition = models.FieldCondition(key="words" if tree.prefix else "stems", match=match)
    return models.Filter(must=[condition])


def bm25(report_stems: Sequence[str]) -> dict[str, Any]:
    """Weigh words by BM25 without its inverse document frequency, which the server knows."""
    counts = Counter(map(place, report_stems))
    short = _K1 * (1 - _B + _B * len(report_stems) / _LENGTH)
    return {"indices": list(counts), "values": [count * (_K1 + 1) / (count + short) for count in counts.values()]}


def place(stem: str) -> int:
    """Return a stem's index in the sparse vector."""
    return crc32(stem.encode())


def number_of(volume: str) -> int:
    """Return a point's id: always the same for a volume."""
    return uuid.uuid5(uuid.NAMESPACE_OID, volume).int >> 65


def _least(name: str, probability: float) -> Any:
    models = qdrant_models()
    named = models.FieldCondition(key="name", match=models.MatchValue(value=name))
    return models.Filter(must=[named, models.FieldCondition(key="probability", range=models.Range(gte=probability))])


def _day(date: str, fill: str) -> int | None:
    return int(date.replace("-", "").ljust(8, fill)) if date else None
