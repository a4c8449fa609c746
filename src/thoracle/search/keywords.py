"""Keyword queries, and the sentence of a report that answers one.

A query is words, "phrases", beginnings (nodul*), AND (or nothing), OR, NOT and parentheses. NOT takes away: `effusion NOT pericardial`.
Words meet by their stems, as SQLite's FTS5 makes them; it is the only stemmer here, so that every backend has the same. A beginning meets
words as they are written: the stem of "effusion" is "effus", which does not begin with "effusio".
"""

from __future__ import annotations

import math
import re
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from thoracle.cohort.reports import Report
from thoracle.errors import InputError

#: How FTS5 cuts words: lower case and without accents; and stemmed as English.
UNSTEMMED: Final = "unicode61 remove_diacritics 2"
STEMMED: Final = f"porter {UNSTEMMED}"
_MOST: Final = 1000  # characters of a query
_TOKEN: Final = re.compile(r'"([^"]*)"(\*?)|([()])|([^\s()"]+)')
_OPERATORS: Final = ("AND", "OR", "NOT")
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, kw_only=True)
class Term:
    """Match a word or phrase; with `prefix`, any word that begins so."""

    text: str
    prefix: bool = False


@dataclass(frozen=True, kw_only=True)
class AllOf:
    """Match each of `parts`, and none of `without`."""

    parts: tuple[Keywords, ...]
    without: tuple[Keywords, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AnyOf:
    """Match at least one of `parts`."""

    parts: tuple[Keywords, ...]


Keywords = Term | AllOf | AnyOf


def parse(query: str) -> Keywords:
    """Parse a query into a tree.

    Raises:
        InputError: nothing to look for, parentheses or quotes left open, too long.

    Signs that FTS5 takes for no word are left out, as it leaves them out of reports.
    """
    if len(query) > _MOST:
        raise InputError(f"a keyword query has at most {_MOST:,} characters", hint="Shorten it.", source="--keyword")
    if query.count('"') % 2:
        raise _wrong("a quote is left open")
    reader = _Reader(_tokens(query))
    tree = reader.any_of(depth=0)
    if reader.left:
        raise _wrong("a parenthesis closes that was not opened")
    return tree


def to_fts5(tree: Keywords) -> str:
    """Write a query as FTS5's MATCH reads it."""
    if isinstance(tree, Term):
        return f'"{tree.text}"*' if tree.prefix else f'"{tree.text}"'
    if isinstance(tree, AnyOf):
        return "(" + " OR ".join(map(to_fts5, tree.parts)) + ")"
    positive = "(" + " AND ".join(map(to_fts5, tree.parts)) + ")"
    return f"({positive} NOT ({' OR '.join(map(to_fts5, tree.without))}))" if tree.without else positive


def all_terms(tree: Keywords, *, excluded: bool = True) -> list[Term]:
    """List the terms of a query, in order; without `excluded` those only that it asks for."""
    if isinstance(tree, Term):
        return [tree]
    without = tree.without if isinstance(tree, AllOf) and excluded else ()
    return [term for part in (*tree.parts, *without) for term in all_terms(part, excluded=excluded)]


def positive_terms(tree: Keywords) -> str:
    """Join the words that a query asks for, without those it excludes."""
    return " ".join(term.text for term in all_terms(tree, excluded=False))


def exclusion(tree: Keywords) -> Keywords | None:
    """Return the query that what a query excludes matches, whatever else it holds; None where nothing is excluded."""
    if isinstance(tree, Term):
        return None
    parts = [exclusion(part) for part in tree.parts]
    excluded = tuple(part for part in parts if part is not None)
    if isinstance(tree, AnyOf):
        return AllOf(parts=excluded) if len(excluded) == len(parts) else None
    return AnyOf(parts=(*tree.without, *excluded)) if tree.without or excluded else None


def stems(texts: Sequence[str], *, tokenizer: str = STEMMED) -> list[list[str]]:
    """Return the stems of each text, in order; with `UNSTEMMED` its words."""
    result: list[list[str]] = [[] for _ in texts]
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute(f"CREATE VIRTUAL TABLE words USING fts5(text, tokenize='{tokenizer}')")
        memory.execute("CREATE VIRTUAL TABLE found USING fts5vocab(words, instance)")
        memory.executemany("INSERT INTO words(rowid, text) VALUES (?, ?)", enumerate(texts))
        for row, term in memory.execute("SELECT doc, term FROM found ORDER BY doc, offset"):
            result[row].append(term)
    return result


def sentences(report: Report) -> list[str]:
    """Return the impression first: it says in short what the findings say at length."""
    return [
        sentence for part in (report.impression, report.findings) for sentence in (s.strip() for s in _SENTENCE.split(part)) if sentence
    ]


def best_sentences(reports: Sequence[Report], words: str, *, beginnings: Sequence[str] = ()) -> list[str]:
    """Choose from each report the sentence with most of the words and beginnings, rare ones weighing more.

    It is the report's first sentence where none has any.
    """
    report_sentences = [sentences(report) for report in reports]
    texts = [sentence for report_part in report_sentences for sentence in report_part]
    query_stems, *sentence_stems = stems([words, *texts])
    present = [set(stems_of_sentence) for stems_of_sentence in sentence_stems]
    last_words = [beginning.rpartition(" ")[2] for beginning in beginnings]
    for stems_present, written in zip(present, stems(texts, tokenizer=UNSTEMMED) if beginnings else (), strict=False):
        stems_present.update(f"{beginning}*" for beginning in last_words if any(word.startswith(beginning) for word in written))
    spread = Counter(stem for stems_present in present for stem in stems_present)
    looked_for = {*query_stems, *(f"{beginning}*" for beginning in last_words)}
    weight = {stem: math.log1p(len(present) / spread[stem]) for stem in looked_for if stem in spread}
    scores = iter([sum(weight.get(stem, 0.0) for stem in stems_present) for stems_present in present])
    best = []
    for report_part in report_sentences:
        scored = [(-next(scores), position, sentence) for position, sentence in enumerate(report_part)]
        best.append(min(scored)[-1] if scored else "")
    return best


@dataclass(frozen=True, kw_only=True)
class _Token:
    """A parenthesis or operator, or a term; None where a term has no word."""

    sign: str = ""
    term: Term | None = None


def _tokens(query: str) -> list[_Token]:
    matches = [match.groups() for match in _TOKEN.finditer(unicodedata.normalize("NFC", query))]
    cut = stems([quoted if quoted is not None else bare or "" for quoted, _, _, bare in matches], tokenizer=UNSTEMMED)
    tokens = []
    for (quoted, star, parenthesis, bare), words in zip(matches, cut, strict=True):
        if parenthesis or bare in _OPERATORS:
            tokens.append(_Token(sign=parenthesis or bare or ""))
        else:
            prefix = bool(star) if quoted is not None else (bare or "").endswith("*")
            tokens.append(_Token(term=Term(text=" ".join(words), prefix=prefix) if words else None))
    return tokens


class _Reader:
    """Recursive descent over tokens."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.left = tokens

    def any_of(self, *, depth: int) -> Keywords:
        parts = [self._all_of(depth=depth)]
        while self._sign() == "OR":
            self.left.pop(0)
            parts.append(self._all_of(depth=depth))
        return parts[0] if len(parts) == 1 else AnyOf(parts=tuple(parts))

    def _all_of(self, *, depth: int) -> Keywords:
        parts: list[Keywords] = []
        without: list[Keywords] = []
        while self.left and self._sign() not in ("OR", ")"):
            while self._sign() == "AND":
                self.left.pop(0)
            takes_away = self._sign() == "NOT"
            if takes_away:
                self.left.pop(0)
            parsed = self._one(depth=depth)
            if parsed is not None:
                (without if takes_away else parts).append(parsed)
        if not parts:
            raise _wrong("there is no word to look for")
        return parts[0] if len(parts) == 1 and not without else AllOf(parts=tuple(parts), without=tuple(without))

    def _one(self, *, depth: int) -> Keywords | None:
        if not self.left or self._sign() in (*_OPERATORS, ")"):
            raise _wrong("an operator without a word after it")
        token = self.left.pop(0)
        if token.sign:
            if depth > 20:
                raise _wrong("parentheses lie too deep")
            inner = self.any_of(depth=depth + 1)
            if not self.left or self.left.pop(0).sign != ")":
                raise _wrong("a parenthesis is left open")
            return inner
        return token.term

    def _sign(self) -> str:
        return self.left[0].sign if self.left else ""


def _wrong(why: str) -> InputError:
    return InputError(why, hint='Write for example: effusion NOT pericardial, "lung nodule" OR nodul*.', source="--keyword")
