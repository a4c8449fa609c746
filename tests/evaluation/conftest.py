"""Scores as a model might give them: of patients with one to three volumes, a probability that follows the label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from thoracle.cohort.manifest import Cohort, CohortEntry, claim, open_cohort, write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import pack
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.evaluation.detection.cases import LabelledCases, LabelTable
from thoracle.evaluation.detection.summary import Scores
from thoracle.types import ABNORMALITIES

LABELS = ABNORMALITIES[:3]


@pytest.fixture
def made() -> Callable[..., tuple[LabelledCases, LabelTable]]:
    """Cases with their probabilities, by seed, patients and how well labels can be told."""
    return _made


@pytest.fixture
def scores() -> Callable[..., Scores]:
    """Scores of one split, by seed and patients."""

    def of(seed: int = 0, *, patients: int = 200, skill: float = 1.5) -> Scores:
        cases, table = _made(seed, patients=patients, skill=skill)
        return Scores(
            names=cases.names, patients=cases.patients, labels=cases.labels, probabilities_NK=table.values_NK, truth_NK=cases.truth_NK
        )

    return of


@pytest.fixture
def tables(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """The two CSVs of made cases: probabilities, labels."""

    def write(cases: LabelledCases, table: LabelTable) -> tuple[Path, Path]:
        given, truth = tmp_path / "predictions.csv", tmp_path / "labels.csv"
        head = ",".join(("VolumeName", *cases.labels))
        rows = [f"{n},{','.join(f'{v:.6f}' for v in row)}" for n, row in zip(table.names, table.values_NK, strict=True)]
        given.write_text("\n".join((head, *rows)) + "\n")
        cells = [["" if np.isnan(v) else f"{v:.0f}" for v in row] for row in cases.truth_NK]
        about = zip(cases.names, cases.patients, cases.scans, cases.splits, cells, strict=True)
        lines = [",".join((name, *row, who, scan, split)) for name, who, scan, split, row in about]
        truth.write_text("\n".join((f"{head},patient,scan,split", *lines)) + "\n")
        return given, truth

    return write


@pytest.fixture
def cached_cohort(tmp_path: Path) -> Callable[..., Cohort]:
    """A prepared cohort of tiny volumes: rows of scan, split, report, labels of the first abnormalities, and HU of every voxel."""

    def write(rows: Sequence[tuple[str, str, str, Sequence[int | None], float]]) -> Cohort:
        folder, config = tmp_path / "cohort", PreprocessConfig(size=(2, 3, 4))
        claim(folder, {"layout": "folder", "preprocess": config_to_mapping(config)})
        (folder / "cache").mkdir()
        entries = []
        for number, (scan, split, findings, labels, hu) in enumerate(rows):
            array = np.full(config.size, hu / config.intensity_scale, np.float32)
            (folder / "cache" / f"{number}.vol").write_bytes(pack(array, scale=config.intensity_scale))
            entries.append(
                CohortEntry(
                    volume=f"v{number}.nii",
                    scan=scan,
                    patient=scan,
                    split=split,
                    source_sha256="0" * 64,
                    cache=f"cache/{number}.vol",
                    cache_sha256="0" * 64,
                    report=Report(findings=findings),
                    labels=(*labels, *(None,) * (len(ABNORMALITIES) - len(labels))),
                )
            )
        write_manifest(folder, entries)
        return open_cohort(folder)

    return write


def _made(
    seed: int = 0, *, patients: int = 200, skill: float = 1.5, splits: tuple[str, ...] = ("valid",)
) -> tuple[LabelledCases, LabelTable]:
    random = np.random.default_rng(seed)
    names, who, scans, split, truth = [], [], [], [], []
    for patient in range(patients):
        label = (random.random(len(LABELS)) < (0.5, 0.3, 0.15)).astype(float)
        for volume in range(random.integers(1, 4)):
            names.append(f"p{patient}_a_{volume + 1}")
            who.append(f"p{patient}")
            scans.append(f"p{patient}_a")
            split.append(splits[patient % len(splits)])
            truth.append(label)
    values = np.array(truth)
    given = expit(skill * (2 * values - 1) + 1.5 * random.normal(size=values.shape) + 0.5)
    cases = LabelledCases(names=tuple(names), patients=tuple(who), scans=tuple(scans), splits=tuple(split), labels=LABELS, truth_NK=values)
    return cases, LabelTable(names=tuple(names), columns=LABELS, values_NK=given, about={})
