"""Records, filters and keyword queries as Qdrant has them, worked by hand."""

from __future__ import annotations

import builtins
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.reports import Report
from thoracle.errors import ExtraMissing, InputError
from thoracle.search.keywords import parse, stems
from thoracle.search.qdrant.points import (
    bm25,
    number_of,
    place,
    qdrant_models,
    to_condition,
    to_filter,
    to_payload,
    to_record,
)
from thoracle.search.record import Filters, IndexedVolume, Record
from thoracle.types import ABNORMALITIES

pytest.importorskip("qdrant_client")

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def _volume(thumbnail: bytes = b"", **values: Any) -> IndexedVolume:
    record = Record(**{"volume": "v", "scan": "s", "accession": "a", "patient": "p"} | values)
    return IndexedVolume(record=record, latent_L=np.ones(2, np.float32), thumbnail=thumbnail)


@given(
    names=st.tuples(*[_TEXT] * 6),
    findings=_TEXT,
    impression=_TEXT,
    labels=st.tuples(*[st.sampled_from([0, 1, None])] * 18),
    date=st.sampled_from(["", "2019", "2019-03", "2019-03-04"]),
    age=st.none() | st.integers(0, 120),
)
def test_a_record_comes_back_from_its_payload_through_json(
    names: tuple[str, ...], findings: str, impression: str, labels: tuple[int | None, ...], date: str, age: int | None
) -> None:
    volume, scan, accession, patient, source, voxels = names
    addition = _volume(
        volume=volume, scan=scan, accession=accession, patient=patient, split="test", labels=labels, source_sha256=source,
        voxels_sha256=voxels, report=Report(findings=findings, impression=impression),
        facts=Demographics(age=age, sex="F", date=date, scanner="GE"),
    )  # fmt: skip
    payload = to_payload(addition, [[], []], [])
    assert to_record(json.loads(json.dumps(payload))) == addition.record


def test_a_payload_holds_what_filters_and_names_are_looked_up_by() -> None:
    labels = (1, 0, None, 1) + (None,) * 14
    addition = _volume(b"PNG", scan="p_0123abcd", volume="p_0123abcd_89abcdef", labels=labels, facts=Demographics(date="2019-03"))
    payload = to_payload(addition, [["effus", "small", "effus"], ["effus", "aorta"]], ["effusions", "small", "effusion", "small"])
    assert payload["present"] == [ABNORMALITIES[0], ABNORMALITIES[3]]
    assert payload["absent"] == [ABNORMALITIES[1]]
    assert payload["stems"] == ["aorta", "effus", "small"]
    assert payload["words"] == ["effusion", "effusions", "small"]
    assert payload["stemmed"] == ["effus small effus", "effus aorta"], "phrases do not run from one section into the other"
    assert payload["endings"] == ["scan_0123abcd", "volume_89abcdef"]
    assert payload["thumbnail"] == "UE5H"
    assert (payload["date_first"], payload["date_last"]) == (20190300, 20190399)


@pytest.mark.parametrize(
    ("date", "first", "last"),
    [("", None, None), ("2019", 20190000, 20199999), ("2019-03", 20190300, 20190399), ("2019-03-04", 20190304, 20190304)],
)
def test_a_date_of_which_less_is_told_is_a_range(date: str, first: int | None, last: int | None) -> None:
    payload = to_payload(_volume(facts=Demographics(date=date)), [[], []], [])
    assert (payload["date_first"], payload["date_last"]) == (first, last)


def test_no_filter_is_none_and_each_is_a_condition() -> None:
    assert to_filter(Filters()) is None
    built = to_filter(
        Filters(
            present=("Lung nodule", "Emphysema"), absent=("Atelectasis",), age_from=0, sex="F", date_from="2019", date_to="2019-03",
            scanner="GE", split="test",
        )
    )  # fmt: skip
    conditions = [(one.key, one.match or one.range) for one in built.must]
    models = qdrant_models()
    assert conditions == [
        ("present", models.MatchValue(value="Lung nodule")),
        ("present", models.MatchValue(value="Emphysema")),
        ("absent", models.MatchValue(value="Atelectasis")),
        ("sex", models.MatchValue(value="F")),
        ("split", models.MatchValue(value="test")),
        ("age", models.Range(gte=0)),
        ("date_last", models.Range(gte=20190000)),
        ("date_first", models.Range(lte=20190399)),
        ("scanner", models.MatchText(text="GE")),
    ]


def test_keyword_queries_are_conditions_over_stems() -> None:
    models = qdrant_models()

    def stem(word: str) -> Any:
        return models.Filter(must=[models.FieldCondition(key="stems", match=models.MatchValue(value=word))])

    assert to_condition(parse("effusions")) == stem("effus")
    assert to_condition(parse("nodule OR effusion")) == models.Filter(should=[stem("nodul"), stem("effus")])
    assert to_condition(parse("effusion NOT pericardial")) == models.Filter(must=[stem("effus")], must_not=[stem("pericardi")])
    phrase = models.FieldCondition(key="stemmed", match=models.MatchPhrase(phrase="upper lobe"))
    assert to_condition(parse('"upper lobes"')) == models.Filter(must=[phrase])
    beginning = models.FieldCondition(key="words", match=models.MatchPrefix(prefix="emphys"))
    assert to_condition(parse("Emphys*")) == models.Filter(must=[beginning]), "a stemmer makes emphi of emphys"


def test_a_phrase_by_its_beginning_is_refused() -> None:
    with pytest.raises(InputError, match=r"a server does not search for phrases by their beginning.*Leave out the \*, or the quotes"):
        to_condition(parse('"upper lob"*'))


def test_words_weigh_as_bm25_says_for_reports_of_200_words() -> None:
    """count (k1 + 1) / (count + k1 (1 - b + b length / mean)), k1 = 1.2, b = 0.75 (Robertson and Zaragoza, 2009)."""
    (report_stems,) = stems(["Effusion, small effusion."])
    assert report_stems == ["effus", "small", "effus"]
    vector = bm25(report_stems)
    weights = dict(zip(vector["indices"], vector["values"], strict=True))
    short = 1.2 * (0.25 + 0.75 * 3 / 200)
    assert weights == pytest.approx({place("effus"): 2 * 2.2 / (2 + short), place("small"): 2.2 / (1 + short)})
    assert bm25(["a"] * 1)["values"][0] > bm25(["a"] + ["b"] * 400)["values"][0], "in a long report a word weighs less"
    assert bm25([]) == {"indices": [], "values": []}


def test_a_stem_has_the_place_of_its_crc_32() -> None:
    assert place("123456789") == 0xCBF43926, "the check value of CRC-32 (ITU-T V.42)"


@given(volumes=st.lists(_TEXT, min_size=2, max_size=20, unique=True))
def test_a_volume_has_one_number_that_fits_a_server_and_json(volumes: list[str]) -> None:
    numbers = [number_of(volume) for volume in volumes]
    assert numbers == [number_of(volume) for volume in volumes]
    assert len(set(numbers)) == len(volumes)
    assert all(0 <= number < 2**63 for number in numbers)


def test_the_number_of_a_volume_stays_as_it_is_on_servers() -> None:
    """UUID 5 of its name, SHA-1 of the namespace and the name: the first 63 bits."""
    from hashlib import sha1
    from uuid import NAMESPACE_OID

    digest = bytearray(sha1(NAMESPACE_OID.bytes + b"v1.nii.gz").digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50  # the version
    digest[8] = digest[8] & 0x3F | 0x80  # the variant
    assert number_of("v1.nii.gz") == int.from_bytes(digest[:8], "big") >> 1


def test_without_the_client_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("qdrant_client"):
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ExtraMissing, match=r"pip install 'thoracle\[qdrant\]'"):
        to_filter(Filters(sex="F"))
