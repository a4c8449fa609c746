"""Maps name the slice and the place that matter most, by the model of regions where it knows the finding."""

from __future__ import annotations

from pathlib import Path

import pytest

import thoracle
from tests.inference.conftest import regions_dir  # noqa: F401  # a fixture
from thoracle.errors import InputError, JobCancelled
from thoracle.inference.model import load
from thoracle.serving.jobs.worker import JobContext
from thoracle.serving.work.detection import Detector
from thoracle.serving.work.scan_folder import save_volume


def context() -> JobContext:
    return JobContext(report=lambda _: None, emit=lambda _: None)


@pytest.fixture
def folder(sketch: Path, tmp_path: Path) -> str:
    save_volume(tmp_path, thoracle.read(sketch))
    return str(tmp_path)


def test_a_model_of_regions_maps_what_it_knows_and_the_detector_the_rest(
    model_dir: Path,
    regions_dir: Path,  # noqa: F811
    folder: str,
    tmp_path: Path,
) -> None:
    detector = Detector(load(model_dir, device="cpu"), load(regions_dir, device="cpu"))
    assert detector.methods == ["regions", "gradient", "occlusion"]
    out = str(tmp_path / "map.nii.gz")
    made = detector.map(context(), scan=folder, finding="Pleural effusion", method=None, out=out)
    assert (made.method, made.signed, made.sentence) == ("regions", False, "how often the strongest slice holds it was not measured")
    assert detector.map(context(), scan=folder, finding="Lung nodule", method=None, out=out).method == "gradient"
    with pytest.raises(InputError):
        detector.map(context(), scan=folder, finding="Lung nodule", method="regions", out=out)


def test_a_map_that_is_not_wanted_ends_at_the_next_box(model_dir: Path, folder: str, tmp_path: Path) -> None:
    detector, cancelled = Detector(load(model_dir, device="cpu"), None), context()
    cancelled.cancelled.set()
    with pytest.raises(JobCancelled):
        detector.map(cancelled, scan=folder, finding="Emphysema", method="occlusion", out=str(tmp_path / "m"))
    assert not (tmp_path / "m").exists()


def test_a_scan_is_prepared_once_for_findings_and_maps(model_dir: Path, folder: str, tmp_path: Path) -> None:
    detector = Detector(load(model_dir, device="cpu"), None)
    first = detector.detect(context(), scan=folder)
    detector.map(context(), scan=folder, finding="Emphysema", method="gradient", out=str(tmp_path / "m"))
    assert detector.detect(context(), scan=folder) == first
    assert detector.prepared.cache_info().misses == 1
    assert detector.findings.cache_info().misses == 1
