from __future__ import annotations

import numpy as np
import pytest

from thoracle.cohort.reports import Report
from thoracle.errors import IndexMismatch, InputError
from thoracle.inference.demo.assets import write_model
from thoracle.inference.model import Model, load
from thoracle.search.engine import Engine, Query
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import Filters


@pytest.fixture
def engine(index: LocalIndex) -> Engine:
    return Engine(index)


def _volumes(engine: Engine, **query: object) -> list[str]:
    return [hit.record.volume for hit in engine.search(Query(**query)).hits]


def test_keywords_and_a_known_scan_need_no_model_and_words_and_scans_do(engine: Engine, index: LocalIndex, make) -> None:
    (hit, *_) = engine.search(Query(keyword="nodule NOT effusion")).hits
    assert (hit.sentence, hit.ranks) == ("Nodules in the right upper lobe.", {"keyword": 1})
    similar = sorted(range(40), key=lambda n: -float(make(n).latent_L @ make(4).latent_L))[:5]
    assert _volumes(engine, like=tuple(index.ids_where(volume="v4")), k=5) == [f"v{n}" for n in similar]
    for query in ({"text": "nodule"}, {"report": "Nodule."}):
        with pytest.raises(InputError, match="--model"):
            engine.search(Query(**query))


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"text": " "},
        {"keyword": "a", "k": 0},
        {"keyword": "a", "k": 10**6},
        {"keyword": "a", "weights": {"text": -1}},
        {"keyword": "a", "weights": {"words": 1}},
        {"report": '"Not given."'},
        {"report": " ' "},
    ],
)
def test_queries_that_make_no_sense(engine: Engine, query: dict) -> None:
    with pytest.raises(InputError):
        engine.search(Query(**query))


def test_a_weight_of_what_is_not_looked_for_is_refused_by_name(engine: Engine, index: LocalIndex) -> None:
    like = tuple(index.ids_where(volume="v4"))
    for query, part, parts in (
        ({"keyword": "nodule"}, "text", "keyword"),
        ({"keyword": "nodule", "like": like}, "scan", "keyword, like"),
        ({"keyword": "nodule", "report": "Not given."}, "report", "keyword"),
    ):
        with pytest.raises(InputError, match=f"a weight of {part} is given, and the query has no {part}: its parts are {parts}"):
            engine.search(Query(**query, weights={"keyword": 2, part: 2}))
    assert engine.search(Query(keyword="nodule", weights={"keyword": 2})).hits == engine.search(Query(keyword="nodule")).hits


def test_a_known_scan_whose_volumes_are_opposite_is_like_no_case(engine: Engine, index: LocalIndex, make) -> None:
    opposite, sideways = make(100, scan="s4"), make(101, scan="s5")
    object.__setattr__(opposite, "latent_L", -make(4).latent_L)
    object.__setattr__(sideways, "latent_L", make(6).latent_L)
    with open_for_writing(index.folder) as begun:
        begun.add([opposite, sideways])
    with pytest.raises(InputError, match=r"latents of the 2 volumes of the known scan cancel out.*--scan"):
        engine.search(Query(like=tuple(index.ids_where(scan="s4"))))
    mean = (make(5).latent_L + make(6).latent_L) / 2
    hit = engine.search(Query(like=tuple(index.ids_where(scan="s5")), k=1)).hits[0]
    latents = [*(make(n).latent_L for n in range(40)), opposite.latent_L]
    assert hit.score == pytest.approx(float(max(latent @ mean for latent in latents) / np.linalg.norm(mean)), abs=1e-6)


def test_two_parts_are_fused_and_hits_say_where_each_had_them(engine: Engine, index: LocalIndex) -> None:
    like = tuple(index.ids_where(volume="v4"))
    answer = engine.search(Query(like=like, keyword="nodule", k=40))
    assert len(answer.hits) == 40
    both = next(hit for hit in answer.hits if len(hit.ranks) == 2)
    assert both.score == pytest.approx(sum(1 / (60 + rank) for rank in both.ranks.values()))
    assert _volumes(engine, like=like, keyword="nodule", weights={"like": 1e6}, k=3) == _volumes(engine, like=like, k=3)


def test_a_scan_is_found_once_by_its_best_volume(index: LocalIndex, make, settings) -> None:
    with open_for_writing(index.folder) as begun:
        begun.add([make(100 + n, scan="s4", patient="p2") for n in range(5)])
    hits = Engine(index).search(Query(keyword="effusion OR nodule OR heart OR emphysema", k=60)).hits
    assert len(hits) == len({hit.record.scan for hit in hits}) == 40


def test_hits_are_as_many_as_are_asked_for_though_hundreds_of_nearer_volumes_do_not_count(index: LocalIndex, make) -> None:
    near = [make(1000 + n, scan="s4" if n % 2 else f"s{1000 + n}", patient="p2") for n in range(800)]
    for one in near:
        object.__setattr__(one, "latent_L", make(4).latent_L)
    with open_for_writing(index.folder) as begun:
        begun.add(near)
    engine, like = Engine(index), tuple(index.ids_where(volume="v4"))
    everything = engine.search(Query(like=like, k=1000, leave_out=frozenset({"patient"}))).hits
    assert len(everything) == 38
    found = engine.search(Query(like=like, k=10, leave_out=frozenset({"patient"}))).hits
    assert found == everything[:10]
    fused = engine.search(Query(like=like, keyword="effusion", k=38, leave_out=frozenset({"patient"}))).hits
    assert len(fused) == 38


def test_what_is_its_own_is_left_out_when_asked_for(index: LocalIndex, make) -> None:
    with open_for_writing(index.folder) as begun:
        begun.add(
            [
                make(70, source_sha256="source4", patient="other"),
                make(71, voxels_sha256="voxels4", report=Report(findings="x")),
                make(72, report=make(4).record.report),
            ]
        )
        latent = make(4).latent_L
        copy = make(73)
        object.__setattr__(copy, "latent_L", latent)
        begun.add([copy])
    engine, like = Engine(index), tuple(index.ids_where(volume="v4"))
    assert _volumes(engine, like=like, k=50)[0] in ("v4", "v73")
    for leave_out, absent in (
        ({"scan"}, {"v4"}),
        ({"patient"}, {"v4", "v5"}),
        ({"duplicates"}, {"v4", "v70", "v71", "v73"}),
    ):
        found = set(_volumes(engine, like=like, k=50, leave_out=frozenset(leave_out)))
        assert ({f"v{n}" for n in range(40)} | {f"v{n}" for n in range(70, 74)}) - found == absent


def test_what_is_excluded_by_words_is_no_hit_whichever_part_finds_it(engine: Engine, index: LocalIndex) -> None:
    like = tuple(index.ids_where(volume="v4"))
    for keyword, words in (("effusion NOT pericardial", ["pericardial"]), ("emphysema NOT (effus* OR nodule)", ["effusion", "nodule"])):
        for query in ({"keyword": keyword}, {"keyword": keyword, "like": like}, {"keyword": keyword, "like": like, "exact": True}):
            hits = engine.search(Query(**query, k=40)).hits
            assert hits
            assert not [hit for hit in hits if any(word in f"{hit.record.report}".lower() for word in words)], query
    fused = engine.search(Query(keyword="nodule NOT effusion", like=like, k=40)).hits
    assert len(fused) == 8 + 8, "24 of 40 reports hold effusion; half of the others hold no nodule"


def test_a_report_stands_for_its_patient(index: LocalIndex, make, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_for_writing(index.folder) as begun:
        begun.add([make(90, report=Report(findings="A rare thymoma."), patient="p3"), make(91, patient=""), make(92, patient="")])
    engine = Engine(index)
    monkeypatch.setattr(engine, "_encode", lambda query: {"report": make(8).latent_L})
    for leave_out, absent in (({"scan"}, {"v90"}), ({"duplicates"}, {"v90"}), ({"patient"}, {"v6", "v7", "v90"})):
        found = _volumes(engine, report='A rare\n "thymoma."', k=99, leave_out=frozenset(leave_out))
        assert {f"v{n}" for n in (*range(40), 90, 91, 92)} - {*found} == absent, leave_out
    nobody = _volumes(engine, like=tuple(index.ids_where(volume="v91")), report="x", k=99, leave_out=frozenset({"patient"}))
    assert {f"v{n}" for n in (*range(40), 90, 92)} == {*nobody}, "a scan of an unknown patient is not that of another"


@pytest.mark.parametrize("query", [{"text": "nodule"}, {"keyword": "nodule"}])
def test_words_are_nobodys(engine: Engine, query: dict) -> None:
    with pytest.raises(InputError, match="words are nobody's"):
        engine.search(Query(**query, leave_out=frozenset({"patient"})))


# With a model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_model(tmp_path_factory.mktemp("model") / "tiny").path, device="cpu")


def test_an_index_of_another_model_or_preprocessing_refuses_latents_and_says_so(index: LocalIndex, model: Model) -> None:
    with pytest.raises(IndexMismatch, match=r"another model.*--keyword and --similar-to need no model"):
        Engine(index, model=model)
    object.__setattr__(index, "_settings", {**index.settings, "model": model.folder.weights_sha256})
    with pytest.raises(IndexMismatch, match="another preprocess"):
        Engine(index, model=model)


def test_a_finding_that_the_index_has_no_probability_of_is_said_where_nothing_is_found(engine: Engine, index: LocalIndex, make) -> None:
    with open_for_writing(index.folder) as begun:
        begun.add([make(77, words="zebra", scores=(("Mass", 0.25),))])
    with pytest.raises(InputError, match="has a probability of 'mass'"):
        engine.search(Query(keyword="zebra", filters=Filters(scored=(("mass", 0.1),))))
    assert engine.search(Query(keyword="zebra", filters=Filters(scored=(("Mass", 0.5),)))).hits == ()
