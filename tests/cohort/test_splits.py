from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.cohort.sources import VolumeSource
from thoracle.cohort.splits import dev_patients, find_leaks, refuse_leaks, split_of
from thoracle.errors import SplitLeak


def _source(patient: str, volume: str = "v", split: str | None = None) -> VolumeSource:
    return VolumeSource(volume=volume, scan=volume, patient=patient, path=Path(volume), split=split)  # type: ignore[arg-type]


def test_an_archives_own_split_is_kept() -> None:
    assert split_of(_source("train_1", split="valid"), seed=0) == "valid"


@given(patient=st.text(min_size=1), scans=st.lists(st.text(min_size=1), min_size=2, max_size=5), seed=st.integers())
def test_all_scans_of_a_patient_fall_into_one_split(patient: str, scans: list[str], seed: int) -> None:
    assert len({split_of(_source(patient, scan), seed=seed) for scan in scans}) == 1


def test_a_tenth_each_is_for_validation_and_test_and_the_seed_decides_who() -> None:
    counts = Counter(split_of(_source(f"p{n}"), seed=3) for n in range(5000))
    assert counts["train"] == pytest.approx(4000, abs=100)
    assert counts["valid"] == pytest.approx(500, abs=80)
    other = [split_of(_source(f"p{n}"), seed=4) for n in range(50)]
    assert other != [split_of(_source(f"p{n}"), seed=3) for n in range(50)]


def test_a_share_of_training_patients_is_drawn_for_dev_and_whoever_is_drawn_stays() -> None:
    rows = [(f"train_{n}", f"voxels {n}") for n in range(20_000)]
    drawn = dev_patients(rows, dev_share=0.05)
    assert len(drawn) == pytest.approx(1000, abs=100)
    assert dev_patients(rows[:10_000], dev_share=0.05) == {patient for patient in drawn if int(patient[6:]) < 10_000}, (
        "growing moves nobody"
    )
    assert dev_patients(rows, dev_share=0.03) < drawn < dev_patients(rows, dev_share=0.2)
    assert dev_patients(rows, dev_share=0) == frozenset()
    assert dev_patients([*rows, ("train_3", "another volume")], dev_share=0.05) == drawn, "a patient is drawn, not a scan"


def test_dev_holds_nobody_whose_scan_is_trained_on_under_another_name() -> None:
    """Who is drawn is known: train_9 and train_25 are of the first thirty, of the others none of those used here."""
    drawn = sorted(dev_patients([(f"train_{n}", f"v{n}") for n in range(30)], dev_share=0.1))
    one, two = drawn[:2]
    others = [name for name in (f"train_{n}" for n in range(30)) if name not in drawn]
    copied = [(one, "a"), (two, "b"), (others[0], "c"), (others[1], "a")]
    assert dev_patients(copied, dev_share=0.1) == {two}
    chain = [(one, "a"), (one, "b"), (two, "b"), (others[0], "a")]
    assert dev_patients(chain, dev_share=0.1) == frozenset(), "two shares a scan with one, who shares one with a training patient"
    assert dev_patients([(one, "a"), (two, "a"), (others[0], "c")], dev_share=0.1) == {one, two}, "both are held out"


def test_every_patient_in_two_splits_is_listed_and_the_error_names_volumes() -> None:
    assert find_leaks([("p1", "a", "train"), ("p1", "b", "train"), ("p2", "c", "test")], what="patient") == []
    leaks = find_leaks([("p1", "a", "train"), ("p2", "b", "train"), ("p1", "c", "test"), ("p2", "d", "valid")], what="patient")
    assert list(map(str, leaks)) == ["c in test, a in train", "b in train, d in valid"]
    with pytest.raises(SplitLeak, match=r"2 times one patient is in two splits: c in test, a in train; b in train, d in valid\."):
        refuse_leaks(leaks, listed_in="quality.csv")
    refuse_leaks([])


def test_a_patient_in_all_three_splits_is_one_leak_that_names_three_volumes() -> None:
    (leak,) = find_leaks([("p", "a", "train"), ("p", "b", "valid"), ("p", "c", "test"), ("p", "d", "test")], what="patient")
    assert leak.volumes == {"train": "a", "valid": "b", "test": "c"}


def test_of_many_leaks_the_error_names_twenty_and_says_where_the_others_stand() -> None:
    rows = [(f"p{n}", f"{split}{n}", split) for n in range(23) for split in ("train", "test")]
    with pytest.raises(SplitLeak, match=r"23 times .*test19 in test, train19 in train; and 3 more, all in quality\.csv") as error:
        refuse_leaks(find_leaks(rows, what="scan"), listed_in="quality.csv")  # type: ignore[arg-type]
    assert "test20" not in str(error.value)
