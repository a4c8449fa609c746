"""Name the files and tables of a cohort as CT-RATE and BIMCV-R publish them.

CT-RATE below `dataset/`: train/train_1/train_1_a/train_1_a_1.nii.gz, tables in three folders. BIMCV-R: CT1/ct/sub-…_bp-chest_ct.nii.gz and
one table with `Report_en` and `path`. Beside either: masks/ (integers, bit i for the i-th of `ABNORMALITIES`) and truth/ (facts).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import nibabel
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from thoracle.phantom.case import PatientPlan
from thoracle.phantom.imaging.metadata import COLUMNS
from thoracle.types import ABNORMALITIES

Layout = Literal["ct-rate", "bimcv-r"]
REPORT_COLUMNS = ("VolumeName", "ClinicalInformation_EN", "Technique_EN", "Findings_EN", "Impressions_EN")
_PATIENTS_A_FOLDER = 500


@dataclass(frozen=True, kw_only=True)
class Files:
    """Locate the volumes and masks of a layout, relative to the cohort's folder."""

    layout: Layout

    def volume(self, plan: PatientPlan, name: str) -> PurePosixPath:
        """Return the path of a volume; `name`: train_1_a_1.nii.gz."""
        if self.layout == "ct-rate":
            return PurePosixPath(plan.split, plan.name, name.rsplit("_", 1)[0], name)
        visit, run = name.removesuffix(".nii.gz").split("_")[2:]
        file = f"sub-S{plan.index + 1:05d}_ses-E{(plan.index + 1) * 10 + ord(visit) - ord('a'):06d}_run-{run}_bp-chest_ct.nii.gz"
        return PurePosixPath(f"CT{plan.index // _PATIENTS_A_FOLDER + 1}", "ct", file)

    def mask(self, plan: PatientPlan, name: str) -> PurePosixPath:
        """Return the path of a volume's mask, under the volume's own path."""
        return PurePosixPath("masks") / self.volume(plan, name)

    def truth(self, plan: PatientPlan) -> PurePosixPath:
        """Return the path of a patient's facts; written last, so that it vouches for the volumes."""
        return PurePosixPath("truth", f"{plan.name}.json")


def nifti(voxels: NDArray[Any], *, spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> bytes:
    """Write a `.nii.gz` of voxels in LPS order with a true affine, as CT-RATE v2 has; equal voxels give equal bytes."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])  # NIfTI's axes are RAS
    affine[:3, 3] = (-origin[0], -origin[1], origin[2])
    image: Any = nibabel.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    return bytes(igzip.compress(image.to_bytes(), 1, mtime=0))


def tables(layout: Layout, patients: Iterable[tuple[PatientPlan, Mapping[str, Any]]]) -> dict[PurePosixPath, bytes]:
    """Write every table of a cohort, from the facts of its patients in order."""
    ordered = list(patients)
    if layout == "bimcv-r":
        return {PurePosixPath("meta/curated_ct_report_path_En.csv"): _bimcv(ordered)}
    written: dict[PurePosixPath, bytes] = {}
    for split, long in (("train", "train"), ("valid", "validation")):
        rows = [(scan, row) for plan, facts in ordered if plan.split == split for scan in facts["scans"] for row in scan["volumes"]]
        reports = [{"VolumeName": row["VolumeName"], **scan["report"]} for scan, row in rows]
        labels = [{"VolumeName": row["VolumeName"], **scan["labels"]} for scan, row in rows]
        written[PurePosixPath(f"radiology_text_reports/{long}_reports.csv")] = _csv(REPORT_COLUMNS, reports)
        written[PurePosixPath(f"metadata/{long}_metadata.csv")] = _csv(COLUMNS, [row for _, row in rows])
        written[PurePosixPath(f"multi_abnormality_labels/{split}_predicted_labels.csv")] = _csv(("VolumeName", *ABNORMALITIES), labels)
    return written


def _bimcv(patients: list[tuple[PatientPlan, Mapping[str, Any]]]) -> bytes:
    files = Files(layout="bimcv-r")
    rows = [
        {
            "Report_en": f"{scan['report']['Findings_EN']} {scan['report']['Impressions_EN']}",
            "path": str(files.volume(plan, row["VolumeName"])),
        }
        for plan, facts in patients
        for scan in facts["scans"]
        for row in scan["volumes"]
    ]
    return _csv(("Report_en", "path"), rows)


def _csv(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Quotes only where a comma, a quote or a line break asks for them."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
