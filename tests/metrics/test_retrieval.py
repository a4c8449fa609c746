from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thoracle.metrics.retrieval import evaluate_retrieval, label_overlap, per_query_metrics, sort_by_score, weighted_median


def test_figures_are_those_of_trec_eval(data_dir: Path) -> None:
    folder = data_dir / "reference" / "trec_eval"
    judged: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.test").read_text().splitlines():
        query, _, document, gain = line.split()
        judged.setdefault(query, {})[document] = int(gain)
    runs: dict[str, list[tuple[float, str]]] = {}
    for line in (folder / "results.test").read_text().splitlines():
        query, _, document, _, score, _ = line.split()
        runs.setdefault(query, []).append((float(np.float32(score)), document))
    expected = {tuple(line.split()[:2]): line.split()[2] for line in (folder / "out.test.aq").read_text().splitlines()}
    names = {"map": "MAP", "map_cut_10": "MAP@10", "P_5": "precision@5", "P_10": "precision@10", "recip_rank": "MRR"}
    names |= {"ndcg": "nDCG", "ndcg_cut_10": "nDCG@10", "success_5": "R@5", "success_10": "R@10", "ndcg_cut_5": "nDCG@5"}
    compared = 0
    for query, run in runs.items():
        order = [document for _, document in sorted(run, reverse=True)]  # trec_eval's own way with ties
        gains = np.array([[max(judged[query].get(document, 0), 0) for document in order]], np.float64)
        found = per_query_metrics(gains, ks=(5, 10), relevance_QG=np.array([list(judged[query].values())], np.float64))
        for theirs, ours in names.items():
            if (theirs, query) in expected:
                assert found[ours][0] == pytest.approx(float(expected[theirs, query]), abs=5.1e-5), (query, theirs)
                compared += 1
    assert compared >= 3 * 8


def test_ties_count_against_the_query_and_what_is_left_out_is_not_there() -> None:
    scores, gains = np.ones((1, 4)), np.array([[1.0, 0, 0, 0]])
    assert per_query_metrics(sort_by_score(scores, gains))["rank"][0] == 4
    keep = np.array([[True, False, True, False]])
    assert per_query_metrics(sort_by_score(scores, gains, keep))["rank"][0] == 2
    assert np.isnan(per_query_metrics(sort_by_score(scores, gains, ~keep))["rank"][0]), "nothing belongs"


def test_perfect_random_and_constant_scores() -> None:
    gains = np.eye(200)
    patients = [n // 2 for n in range(200)]
    perfect = evaluate_retrieval(gains, gains, patients=patients, resamples=50)
    assert {perfect.metrics[name].value for name in ("R@1", "MAP", "nDCG", "MdR", "MnR")} == {1.0}
    assert perfect.random["R@10"] == pytest.approx(0.05, abs=0.02)
    assert perfect.random["MnR"] == pytest.approx(100.5, abs=5)
    constant = evaluate_retrieval(np.zeros((200, 200)), gains, patients=patients, resamples=50)
    assert (constant.metrics["R@100"].value, constant.metrics["MdR"].value) == (0.0, 200.0)


def test_intervals_are_over_patients_and_queries_without_answer_are_counted() -> None:
    random = np.random.default_rng(0)
    half = np.arange(100) < 50  # one patient's scans are all found, the other's never
    gains = np.eye(101)[:100, :100]
    gains[:10] = 0
    scores = np.where(half[:, None], np.eye(100), -np.eye(100)) + 0.01 * random.random((100, 100))
    found = evaluate_retrieval(scores, gains, patients=half.tolist(), resamples=200)
    assert (found.queries, found.queries_without_relevant) == (90, 10)
    assert (found.metrics["R@1"].low, found.metrics["R@1"].high) == (0.0, 1.0)
    assert evaluate_retrieval(scores, 0 * gains, patients=half.tolist()).queries == 0


def test_a_weighted_median_is_that_of_repeated_values() -> None:
    values, weights = np.array([5.0, 1.0, 9.0, 2.0]), np.array([[1, 1, 1, 1], [0, 3, 0, 1], [2, 0, 2, 0]], np.float64)
    expected = [np.median(np.repeat(values, row.astype(int))) for row in weights]
    assert weighted_median(values, weights).tolist() == expected


def test_overlap_is_both_over_either() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [-1, 1, 1]])
    assert label_overlap(labels, labels)[0].tolist() == [1.0, 0.5, 0.0, pytest.approx(1 / 3)]
    assert label_overlap(labels, labels)[2].tolist() == [0.0] * 4


def test_what_a_search_does_not_find_has_no_rank_however_deep() -> None:
    scores, gains = np.array([[3.0, -np.inf, 2, -np.inf]]), np.array([[0.0, 1, 1, 0]])
    found = evaluate_retrieval(scores, gains, patients=[0], ks=(1, 2, 100), resamples=5).metrics
    assert {name: found[name].value for name in ("R@1", "R@2", "precision@2", "MAP@100", "MdR")} == {
        "R@1": 0.0,
        "R@2": 1.0,
        "precision@2": 0.5,
        "MAP@100": 0.25,  # 1/2 at rank two, and the other, which is not found, counts among all that belong
        "MdR": 2.0,
    }
    nothing = evaluate_retrieval(np.full((1, 4), -np.inf), gains, patients=[0], ks=(100,), resamples=5).metrics
    assert (nothing["R@100"].value, nothing["MAP@100"].value, nothing["MdR"].value) == (0.0, 0.0, 5.0)
