"""What a run on pairs begins with: reports of the split train alone, and an evaluation where one is asked for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from thoracle.cli.train.pairs import open_pairs, zero_shot
from thoracle.cohort.manifest import open_cohort, write_manifest
from thoracle.cohort.samples.augment import Augmentation
from thoracle.cohort.sources import NO_REPORT, UNLABELLED
from thoracle.errors import InputError
from thoracle.models.bundle.model_folder import open_model
from thoracle.training.contrastive.ctclip import ContrastiveConfig


@pytest.fixture
def config(noise: Path, model_dir: Path) -> ContrastiveConfig:
    """A run on the cohort of noise: two volumes of train, seventeen of valid."""
    model, preprocess = open_model(model_dir).config, open_cohort(noise).preprocess
    return ContrastiveConfig(cohort=str(noise), model=model, preprocess=preprocess, section="findings", eval_every=1)


def test_pairs_are_volumes_of_train_with_their_reports(config: ContrastiveConfig) -> None:
    pairs = open_pairs(config)
    assert [(pair.volume, pair.report) for pair in (pairs[0], pairs[1])] == [
        ("train_16_a_1.nii.gz", "Bronchiectasis is present."),
        ("train_17_a_1.nii.gz", "Interlobular septal thickening is present."),
    ]
    assert len(pairs) == 2


def test_a_volume_without_a_report_is_no_pair(config: ContrastiveConfig, noise: Path, tmp_path: Path) -> None:
    cohort = shutil.copytree(noise, tmp_path / "cohort")
    entries = open_cohort(cohort).entries
    write_manifest(cohort, [replace(entry, report=NO_REPORT) if entry.volume == "train_16_a_1.nii.gz" else entry for entry in entries])
    assert [entry.volume for entry in open_pairs(replace(config, cohort=str(cohort))).entries] == ["train_17_a_1.nii.gz"]
    with pytest.raises(InputError, match="no volume with report in split 'train'"):
        open_pairs(replace(config, section="impression"))


def test_changes_and_excerpts_are_of_the_configurations_seed(config: ContrastiveConfig) -> None:
    changes = Augmentation(probability=1.0, noise=0.1)
    first, again, other = (open_pairs(replace(config, seed=seed), augmentation=changes, excerpt=1)[0] for seed in (1, 1, 2))
    assert first.read_volume().equal(again.read_volume())
    assert not first.read_volume().equal(other.read_volume())
    assert not first.read_volume().equal(open_pairs(config)[0].read_volume())
    assert len(first.report.split()) == 1


def test_a_cohort_prepared_for_another_model_is_refused(config: ContrastiveConfig) -> None:
    other = replace(config, preprocess=replace(config.preprocess, spacing=(5.0, 4.0, 4.0)))
    with pytest.raises(InputError, match="was prepared with another preprocessing than the configuration's") as refusal:
        open_pairs(other)
    assert config.cohort in str(refusal.value)


def test_labelled_volumes_of_dev_are_evaluated_where_it_is_asked_for(config: ContrastiveConfig, noise: Path, tmp_path: Path) -> None:
    assert zero_shot(replace(config, eval_every=0), "nowhere", batch=2) is None, "nothing is opened"
    with pytest.raises(InputError, match=r"has nobody in split dev.*larger --dev-share, or set eval_every to 0"):
        zero_shot(config, config.cohort, batch=2)
    cohort = shutil.copytree(noise, tmp_path / "cohort")
    entries = [replace(entry, split="dev") if entry.patient in ("valid_3", "valid_4") else entry for entry in open_cohort(noise).entries]
    write_manifest(cohort, entries)
    task = SimpleNamespace(tokenizer=SimpleNamespace(encode=lambda _: None))
    evaluator = zero_shot(config, str(cohort), batch=2)
    assert evaluator is not None
    assert {entry.patient for entry in evaluator(task)._volumes.entries} == {"valid_3", "valid_4"}
    write_manifest(cohort, [replace(entry, labels=UNLABELLED) for entry in entries])
    with pytest.raises(InputError, match="no volume with labels in split 'dev'"):
        zero_shot(config, str(cohort), batch=2)
