from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.cohort.reports import Report
from thoracle.errors import InputError
from thoracle.search.keywords import (
    STEMMED,
    UNSTEMMED,
    Keywords,
    all_terms,
    best_sentences,
    exclusion,
    parse,
    positive_terms,
    stems,
    to_fts5,
)

_TEXTS = ("Pleural effusion.", "Pericardial effusion.", "No effusions; nodules of the lung.", "Lung: a nodule. Clear heart.")


def _found(query: str) -> set[int]:
    return _matches(parse(query), _TEXTS)


def _matches(tree: Keywords, texts: Sequence[str]) -> set[int]:
    memory = sqlite3.connect(":memory:")
    memory.execute(f"CREATE VIRTUAL TABLE words USING fts5(text, tokenize='{STEMMED}')")
    memory.executemany("INSERT INTO words(rowid, text) VALUES (?, ?)", enumerate(texts))
    return {row for (row,) in memory.execute("SELECT rowid FROM words WHERE words MATCH ?", (to_fts5(tree),))}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("effusion", {0, 1, 2}),
        ("effusion NOT pericardial", {0, 2}),
        ("effusion AND NOT pericardial", {0, 2}),
        ("effusion NOT (pericardial OR no)", {0}),
        ("NOT pericardial effusion", {0, 2}),
        ("nodule lung", {2, 3}),
        ("nodule AND lung AND clear", {3}),
        ('"lung nodule"', set()),
        ('"a nodule"', {3}),
        ("peri*", {1}),
        ('"pericardial eff"*', {1}),
        ("pericardial OR heart", {1, 3}),
        ("(pericardial OR pleural) effusion", {0, 1}),
        ("not", set()),
        ("lung - nodule", {2, 3}),
        ("text:effusion", set()),
    ],
)
def test_queries(query: str, found: set[int]) -> None:
    assert _found(query) == found


@pytest.mark.parametrize(
    "query",
    [
        "",
        "_",
        "__*",
        "\u0301",
        "_ -",
        '"_"',
        "NOT effusion",
        "AND",
        "a OR",
        "a NOT",
        "(a",
        "a)",
        '"a',
        "- -",
        "(" * 50 + "a" + ")" * 50,
        "a " * 600,
    ],
)
def test_queries_that_ask_for_nothing(query: str) -> None:
    with pytest.raises(InputError):
        parse(query)


@given(st.text(st.sampled_from("ab*\"() ANDORT-:^'é"), max_size=30))
def test_whatever_is_typed_is_found_or_refused_and_never_breaks_the_database(query: str) -> None:
    try:
        parse(query)
    except InputError:
        return
    _found(query)


def test_the_words_a_query_asks_for() -> None:
    assert positive_terms(parse('(effusion OR "lung nodule") NOT pericardial')) == "effusion lung nodule"


def test_terms_are_listed_with_and_without_those_that_are_excluded() -> None:
    tree = parse('(nodul* OR "lung mass") NOT (pericardial OR aort*)')
    assert [(term.text, term.prefix) for term in all_terms(tree)] == [
        ("nodul", True),
        ("lung mass", False),
        ("pericardial", False),
        ("aort", True),
    ]
    assert [term.text for term in all_terms(tree, excluded=False)] == ["nodul", "lung mass"]


def test_stems_are_the_databases() -> None:
    assert stems(["Nodules, nodule", "", "Ödeme"]) == [["nodul", "nodul"], [], ["odem"]]
    assert stems(["Nodules, nodule", "", "Ödeme"], tokenizer=UNSTEMMED) == [["nodules", "nodule"], [], ["odeme"]]


def test_letters_with_accents_meet_however_they_are_written() -> None:
    for query in ("\u00d6deme", "O\u0308deme", "odeme", "O\u0308dem*"):
        assert [term.text for term in all_terms(parse(query))] == ["odem" if "*" in query else "odeme"], query
    assert [term.text for term in all_terms(parse("x_y _ 5-mm"))] == ["x y", "5 mm"], "as FTS5 cuts words"


@pytest.mark.parametrize(
    ("query", "excluded"),
    [
        ("effusion", None),
        ("effusion NOT pericardial", "pericardial"),
        ("effusion NOT (pericardial OR no)", "pericardial OR no"),
        ("(effusion NOT pericardial) nodule NOT mass", "mass OR pericardial"),
        ("effusion NOT pericardial OR nodule", None),
        ("(effusion NOT pericardial) OR (nodule NOT (mass OR no))", "pericardial AND (mass OR no)"),
    ],
)
def test_what_a_query_excludes_whatever_else_a_report_holds(query: str, excluded: str | None) -> None:
    tree = exclusion(parse(query))
    if excluded is None:
        assert tree is None
    else:
        assert tree is not None
        words = ("effusion", "pericardial", "no", "nodule", "mass")
        texts = [" ".join(chosen) for size in range(6) for chosen in combinations(words, size)]
        assert _matches(tree, texts) == _matches(parse(excluded), texts) != set()


def test_the_sentence_with_most_of_the_words_is_shown() -> None:
    report = Report(findings="The heart is normal. A large pleural effusion on the left. No pericardial effusion.", impression="Effusion.")
    assert best_sentences([report, Report()], "pleural effusions") == ["A large pleural effusion on the left.", ""]
    assert best_sentences([report], "") == ["Effusion."]
    assert best_sentences([report], "", beginnings=["pericardia"]) == ["No pericardial effusion."]
    assert best_sentences([report], "left", beginnings=["pericardia"]) == ["A large pleural effusion on the left."]
    assert best_sentences([report], "", beginnings=["is norm"]) == ["The heart is normal."]
