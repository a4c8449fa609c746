from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.prepare import prepare
from thoracle.cohort.samples.augment import Augmentation
from thoracle.cohort.samples.dataset import CachedVolume, CohortDataset
from thoracle.cohort.samples.volume_cache import pack
from thoracle.ct.preprocess import PreprocessConfig, preprocess, to_hounsfield
from thoracle.ct.read import read
from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.ct.recipes.published import MERLIN
from thoracle.errors import CacheDamaged, CohortUnfinished, InputError

_ALL = Augmentation(probability=1.0)


@pytest.fixture
def out(ct_rate: Path, small, tmp_path: Path) -> Path:
    prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small)
    return tmp_path / "out"


def test_a_sample_is_a_tensor_a_report_labels_and_names(ct_rate: Path, small, out: Path) -> None:
    dataset = CohortDataset(out, split="train")
    assert len(dataset) == 4
    sample = dataset[1]
    expected = preprocess(read(next(ct_rate.rglob("train_1_a_2.nii.gz"))), small)
    assert sample.read_volume().shape == (1, *small.size)
    assert sample.read_volume().dtype == torch.float32
    assert np.abs(sample.read_volume()[0].numpy() - expected).max() <= 0.0005001
    assert sample.report == "Nodule 1 mm in the patients left lung, upper lobe.\nNo effusion."
    assert sample.labels.tolist() == [float(k == 1) for k in range(18)]
    assert (sample.volume, sample.scan, sample.patient) == ("train_1_a_2.nii.gz", "train_1_a", "train_1")


def test_sections_and_needs_choose_words_and_volumes(out: Path) -> None:
    assert CohortDataset(out, split="valid", section="impression")[0].report == "Nodule 4."
    assert CohortDataset(out, split="train", section="both")[0].report.endswith("No effusion. Nodule 0.")
    with_words = CohortDataset(out, split="train", section="impression", needs=("report", "labels"))
    assert [entry.volume for entry in with_words.entries] == ["train_1_a_1.nii.gz", "train_1_a_2.nii.gz", "train_1_b_1.nii.gz"]
    with pytest.raises(InputError, match="split 'test'"):
        CohortDataset(out, split="test")


def test_what_nobody_labelled_is_no_number(ct_rate: Path, small, tmp_path: Path) -> None:
    for table in (ct_rate / "dataset" / "multi_abnormality_labels").iterdir():
        table.unlink()
    prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small)
    assert CohortDataset(tmp_path / "out", split="valid")[0].labels.isnan().all()
    with pytest.raises(InputError, match="labels"):
        CohortDataset(tmp_path / "out", split="valid", needs=("labels",))


def test_augmentation_is_the_same_for_seed_epoch_and_volume_and_unlike_otherwise(out: Path) -> None:
    plain, one = CohortDataset(out, split="train")[0].read_volume(), CohortDataset(out, split="train", augmentation=_ALL, seed=1)
    first = one[0].read_volume()
    assert not torch.equal(first, plain)
    assert torch.equal(first, one[0].read_volume())
    assert torch.equal(first, CohortDataset(out, split="train", augmentation=_ALL, seed=1)[0].read_volume())
    assert not torch.equal(first, CohortDataset(out, split="train", augmentation=_ALL, seed=2)[0].read_volume())
    one.set_epoch(1)
    assert not torch.equal(first, one[0].read_volume())
    one.set_epoch(0)
    assert torch.equal(first, one[0].read_volume())


def test_an_excerpt_is_a_run_of_words_that_seed_epoch_and_volume_choose(out: Path) -> None:
    whole = CohortDataset(out, split="train", section="both")
    some = CohortDataset(out, split="train", section="both", excerpt=2, seed=1)
    found = set()
    for epoch in range(12):
        some.set_epoch(epoch)
        excerpt = some[0].report
        assert excerpt == some[0].report
        assert len(excerpt.split()) == 2
        assert excerpt in " ".join(whole[0].report.split())
        found.add(excerpt)
    assert len(found) > 1
    assert torch.equal(some[0].read_volume(), whole[0].read_volume())
    assert CohortDataset(out, split="train", section="both", excerpt=1000)[0].report == whole[0].report


def test_workers_of_a_loader_that_live_on_see_the_epoch(out: Path) -> None:
    dataset = CohortDataset(out, split="train", augmentation=_ALL)
    loader = DataLoader(dataset, batch_size=None, num_workers=1, persistent_workers=True)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        loaded = [sample.read_volume() for sample in loader]
        assert all(torch.equal(volume, dataset[n].read_volume()) for n, volume in enumerate(loaded))


def test_a_damaged_volume_and_an_unfinished_cohort_are_refused(out: Path) -> None:
    dataset = CohortDataset(out, split="valid")
    path = out / dataset.entries[0].cache
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CacheDamaged):
        dataset[0].read_volume()
    (out / "manifest.csv").unlink()
    with pytest.raises(CohortUnfinished):
        open_cohort(out)
    with pytest.raises(InputError):
        open_cohort(out / "nowhere")


def test_a_volume_of_other_axes_and_units_is_read_and_augmented_in_plane(tmp_path: Path) -> None:
    """The same HU as CT-CLIP and as Merlin are given them, turned and shifted alike."""
    hu = np.random.default_rng(0).integers(-1000, 1000, (6, 20, 20)).astype(np.float32)  # z, x, y
    recipe = replace(MERLIN, axes="LPS", fit=replace(MERLIN.fit, size=(20, 20, 6)))
    config = PreprocessConfig(size=(6, 20, 20))
    inputs = []
    for units, turned in ((config, hu), (recipe, view_as(hu, ZXY, "LPS"))):
        path = tmp_path / f"{units.axes}.vol"
        values = (turned - np.float32(units.zero_hu)) / np.float32(units.intensity_scale)
        path.write_bytes(pack(np.ascontiguousarray(values), scale=units.intensity_scale, zero=units.zero_hu))
        moves = Augmentation(probability=1.0, noise=0.0)
        for augmentation in (None, moves):
            stored = CachedVolume(path=path, preprocess=units, augmentation=augmentation, seed=3)
            buffer, volume = torch.empty(stored.size, dtype=torch.int16), torch.empty(stored.size)
            stored.read_into(buffer)
            stored.write_input(buffer, volume)
            inputs.append(to_hounsfield(view_as(volume.numpy(), units.axes, ZXY), units))
    plain, moved, plain_recipe, moved_recipe = inputs
    np.testing.assert_allclose(plain, hu, atol=1e-3)
    np.testing.assert_allclose(plain_recipe, hu, atol=1e-3)
    assert np.abs(moved - plain).mean() > 50
    np.testing.assert_allclose(moved_recipe, moved, atol=0.01)
