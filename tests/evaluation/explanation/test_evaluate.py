"""Which maps are scored beside a method's, on scans whose answer is known by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import pack, read_volume
from thoracle.cohort.vqa.attributes import FindingAttributes
from thoracle.ct.chest.input_box import InputBox
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError, OutsideIntendedUse
from thoracle.evaluation.explanation.atlas import BODY_ATLAS, COMMONEST_SLICE, GRID_ATLAS, Atlases
from thoracle.evaluation.explanation.body_frame import CELLS
from thoracle.evaluation.explanation.evaluate import (
    CEILING,
    LUNG_CENTRE,
    OTHER_SCAN,
    RANDOM,
    ScanMaps,
    columns,
    earlier_scans,
    map_grid,
    map_reader,
    measure,
    pending_masked,
    sources,
    values_of,
    with_masks,
)
from thoracle.inference.batch.result_table import ResultTable
from thoracle.inference.model import load
from thoracle.inference.prepare import PreparedVolume
from thoracle.inference.regions import region_maps
from thoracle.metrics.localization import METRICS
from thoracle.types import ABNORMALITIES

CONFIG = PreprocessConfig(spacing=(1.0, 1.0, 1.0), size=(4, 4, 4))
BOX = InputBox(low=(0.0, 0.0, 0.0), high=(1.0, 1.0, 1.0), encloses="lungs", cut=())
NODULE = ABNORMALITIES.index("Lung nodule")
GRID = (2, 2, 2)


def entry(name: str, patient: str, *labels: int) -> CohortEntry:
    present = tuple(int(k in labels) for k in range(18))
    return CohortEntry(
        volume=name, scan=name, patient=patient, split="dev", source_sha256=name, cache="", cache_sha256=name,
        report=Report(findings="", impression=""), labels=present, box=BOX,
    )  # fmt: skip


def one_hot(*index: int) -> np.ndarray:
    heat = np.zeros(GRID, np.float32)
    heat[index] = 1.0
    return heat


def test_the_earlier_scan_is_the_last_of_another_patient_with_the_finding() -> None:
    entries = [entry("a", "p", 0), entry("b", "q", 0, 1), entry("c", "q", 0), entry("d", "q"), entry("e", "r", 1), entry("f", "q", 0, 1)]
    names = [{k: scan.volume for k, scan in earlier.items()} for earlier in earlier_scans(entries)]
    assert names == [{}, {0: "a"}, {0: "a"}, {0: "a"}, {0: "c", 1: "b"}, {0: "a", 1: "e"}]


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Cohort, list[CohortEntry], dict[str, Path], Atlases]:
    """Two scans of two patients with a nodule in one patch of eight, right below in front and left above behind."""
    entries = [entry("a", "p", NODULE), entry("b", "q", NODULE)]
    masks = {}
    for item, start in zip(entries, (0, 2), strict=True):
        voxels = np.zeros((4, 4, 4), np.int32)
        voxels[start : start + 2, start : start + 2, start : start + 2] = 1 << NODULE
        masks[item.volume] = tmp_path / f"{item.volume}.nii.gz"
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), masks[item.volume])
    grid_KTHW, frame_KFFF, slices_KT = np.zeros((18, *GRID)), np.zeros((18, *(CELLS,) * 3)), np.zeros((18, 2))
    grid_KTHW[NODULE] = one_hot(0, 0, 0)  # right for the first scan
    frame_KFFF[NODULE, CELLS // 2 :, CELLS // 2 :, CELLS // 2 :] = 1.0  # right for the second
    slices_KT[NODULE] = (0.25, 0.75)
    atlases = Atlases(scans_K=np.ones(18), grid_KTHW=grid_KTHW, frame_KFFF=frame_KFFF, slices_KT=slices_KT)
    return Cohort(folder=tmp_path, preprocess=CONFIG, entries=tuple(entries)), entries, masks, atlases


def test_every_map_is_scored_where_it_belongs(scored, tmp_path: Path) -> None:
    cohort, entries, masks, atlases = scored
    heats = {"a": one_hot(0, 0, 0), "b": one_hot(1, 1, 0)}  # the second is wrong along y alone
    reads: list[str] = []

    def read_maps(item: CohortEntry) -> ScanMaps:
        reads.append(item.volume)
        return ScanMaps(maps_KTHW=np.stack([heats[item.volume]] * 18), centre_THW=1.0 - one_hot(0, 0, 0))

    truth = {
        "a": {"Lung nodule": FindingAttributes(side="right", lobes=("right middle lobe",))},
        "b": {"Lung nodule": FindingAttributes(side="left", lobes=("left lower lobe",))},
    }
    with ResultTable(tmp_path / "out.csv", columns=columns("gradient"), settings={}) as table:
        run = measure(entries, table, read_maps=read_maps, atlases=atlases, masks=masks, truth=truth, cohort=cohort)
        assert list(run) == ["a", "b"]
        assert reads == ["a", "b", "a"], "its own maps, and for the second those of the first"
        scores, correct = values_of(table, entries)
        assert not pending_masked(entries, table, masks)
        assert list(measure(entries, table, read_maps=read_maps, atlases=atlases, masks=masks, truth=truth, cohort=cohort)) == []
    assert scores.shape == (2, len(sources("gradient")), 18, len(METRICS))
    assert np.isnan(np.delete(scores, NODULE, axis=2)).all()
    table_of = {name: scores[:, m, NODULE] for m, name in enumerate(sources("gradient"))}
    pointing, dice, auprc, strongest, slice_auroc = range(len(METRICS))
    np.testing.assert_allclose(table_of["gradient"][0], 1)
    # One patch is all wrong: seven patches tie behind it, one of which is the finding.
    np.testing.assert_allclose(table_of["gradient"][1], [0, 0, 1 / 8, 1, 1])
    np.testing.assert_allclose(table_of[CEILING], 1)
    np.testing.assert_allclose(table_of[GRID_ATLAS][0], 1)
    np.testing.assert_allclose(table_of[GRID_ATLAS][1], [0, 0, 1 / 8, 0, 0])
    np.testing.assert_allclose(table_of[BODY_ATLAS][0], [0, 0, 1 / 8, 0, 0])
    np.testing.assert_allclose(table_of[BODY_ATLAS][1], 1)
    # Four patches of the commonest slice tie: a quarter of them is the finding, and of as many voxels as it has a quarter.
    np.testing.assert_allclose(table_of[COMMONEST_SLICE][1], [1 / 4, 1 / 4, 1 / 4, 1, 1])
    assert np.isnan(table_of[OTHER_SCAN][0]).all(), "the first has no scan before it"
    np.testing.assert_allclose(table_of[OTHER_SCAN][1], [0, 0, 1 / 8, 0, 0])
    np.testing.assert_allclose(table_of[LUNG_CENTRE][:, pointing], [0, 1 / 7], rtol=1e-5)  # six digits are kept
    np.testing.assert_allclose(table_of[LUNG_CENTRE][:, [strongest, slice_auroc]], [[0, 0], [1, 1]])
    assert (table_of[RANDOM][:, auprc] < 1).all()
    assert (table_of[RANDOM][:, dice] < 1).all()
    # A quarter up and a quarter back is above the oblique fissure (0.21) and below the horizontal one. The second lies three quarters up
    # and left, above the fissure in front (0.21) as behind (0.64): the side is right, the lobe is not. The atlas has that side only.
    np.testing.assert_allclose(correct[:, 0, NODULE], [[1, 1], [1, 0]])
    np.testing.assert_allclose(correct[:, 1, NODULE], [[0, 0], [1, 0]])
    assert np.isnan(np.delete(correct, NODULE, axis=2)).all()


def test_maps_of_a_model_that_refuses_scans_and_knows_two_findings(regions_dir: Path, tmp_path: Path) -> None:
    """A scan without lungs has maps of nothing, which score as chance; the grid is that of the first scan that is taken."""
    model = load(regions_dir, device="cpu")
    array = np.random.default_rng(0).uniform(-1, 1, model.preprocess.size).astype(np.float32)
    (tmp_path / "a.vol").write_bytes(pack(array, scale=1000.0))
    taken = replace(entry("a", "p"), cache="a.vol")
    refused = replace(taken, volume="b", box=None)
    cohort = Cohort(folder=tmp_path, preprocess=model.preprocess, entries=(refused, taken))
    grid = map_grid(model, cohort, [refused, taken], "regions")
    assert grid == (6, 6, 6)
    with pytest.raises(OutsideIntendedUse, match="in none of the volumes"):
        map_grid(model, cohort, [refused], "regions")
    read = map_reader(model, cohort, "regions", grid, masks={})
    assert read(refused).maps_KTHW.shape == (18, 6, 6, 6)
    assert not read(refused).maps_KTHW.any()
    maps = read(taken).maps_KTHW
    assert read(taken) is read(taken), "remembered"
    known = [k for k in range(18) if not np.isnan(maps[k]).any()]
    assert [ABNORMALITIES[k] for k in known] == ["Emphysema", "Pleural effusion"]
    prepared = PreparedVolume(array=read_volume(tmp_path / "a.vol"), provenance=None, warnings=(), box=BOX)
    np.testing.assert_array_equal(maps[known], region_maps(model, prepared))


def test_sides_of_both_and_all_lobes_are_not_asked_for(scored, tmp_path: Path) -> None:
    cohort, entries, masks, atlases = scored
    maps = ScanMaps(maps_KTHW=np.ones((18, *GRID), np.float32), centre_THW=np.ones(GRID))
    truth = {"a": {"Lung nodule": FindingAttributes(side="both")}, "b": {}}
    with ResultTable(tmp_path / "out.csv", columns=columns("gradient"), settings={}) as table:
        list(measure(entries, table, read_maps=lambda _: maps, atlases=atlases, masks=masks, truth=truth, cohort=cohort))
        _, correct = values_of(table, entries)
    assert np.isnan(correct).all()


def test_a_row_belongs_to_the_volume_the_mask_and_the_scan_before(scored, tmp_path: Path) -> None:
    cohort, entries, masks, atlases = scored
    maps = ScanMaps(maps_KTHW=np.ones((18, *GRID), np.float32), centre_THW=np.ones(GRID))
    with ResultTable(tmp_path / "out.csv", columns=columns("gradient"), settings={}) as table:
        list(measure(entries, table, read_maps=lambda _: maps, atlases=atlases, masks=masks, truth={}, cohort=cohort))
        assert pending_masked(entries, table, masks) == []
        assert pending_masked(entries[1:], table, masks) == entries[1:], "the scan before it is not in the list"
        moved = replace(entries[0], box=None)
        assert pending_masked([moved, entries[1]], table, masks) == [moved]
        masks["b"].write_bytes(masks["a"].read_bytes())
        assert pending_masked(entries, table, masks) == entries[1:]


def test_volumes_without_masks_are_left_out(scored) -> None:
    _, entries, masks, _ = scored
    assert with_masks(entries, {"b": masks["b"]}) == entries[1:]
    with pytest.raises(InputError, match="no volume of the cohort has a mask"):
        with_masks(entries, {})
