"""The 44 metadata columns of CT-RATE for one volume, as its published table spells them."""

from __future__ import annotations

from typing import Final

import numpy as np

from thoracle.phantom.anatomy.patient import Patient, Rng
from thoracle.phantom.imaging.scanner import Acquisition, ReconstructionKernel, StoredVolume

COLUMNS: Final = (
    "VolumeName",
    "Manufacturer",
    "SeriesDescription",
    "ManufacturerModelName",
    "PatientSex",
    "PatientAge",
    "ReconstructionDiameter",
    "DistanceSourceToDetector",
    "DistanceSourceToPatient",
    "GantryDetectorTilt",
    "TableHeight",
    "RotationDirection",
    "ExposureTime",
    "XRayTubeCurrent",
    "Exposure",
    "FilterType",
    "GeneratorPower",
    "FocalSpots",
    "ConvolutionKernel",
    "PatientPosition",
    "RevolutionTime",
    "SingleCollimationWidth",
    "TotalCollimationWidth",
    "TableSpeed",
    "TableFeedPerRotation",
    "SpiralPitchFactor",
    "DataCollectionCenterPatient",
    "ReconstructionTargetCenterPatient",
    "ExposureModulationType",
    "CTDIvol",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceLocation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "XYSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "NumberofSlices",
    "ZSpacing",
    "StudyDate",
)
#: Constants of each Siemens model, as the published table has them; the Force omits its revolution time.
_SIEMENS: Final = {
    "SOMATOM go.All": {
        "DistanceSourceToDetector": "983.0",
        "DistanceSourceToPatient": "535.0",
        "FocalSpots": "[1.2, 1.2]",
        "RevolutionTime": "0.33",
        "SingleCollimationWidth": "0.7",
        "TotalCollimationWidth": "22.4",
        "TableSpeed": "54.2",
        "TableFeedPerRotation": "17.92",
        "SpiralPitchFactor": "0.8",
        "ExposureModulationType": "ELLIP_ZEC",
    },
    "SOMATOM Force": {
        "DistanceSourceToDetector": "1085.6",
        "DistanceSourceToPatient": "595.0",
        "FocalSpots": "0.8",
        "SingleCollimationWidth": "0.6",
        "TotalCollimationWidth": "57.6",
        "TableSpeed": "92.0",
        "TableFeedPerRotation": "46.0",
        "SpiralPitchFactor": "0.8",
        "ExposureModulationType": "XYZ_EC",
    },
}


def metadata_row(
    rng: Rng,
    *,
    name: str,
    patient: Patient,
    acquisition: Acquisition,
    reconstruction: ReconstructionKernel,
    stored: StoredVolume,
    date: str,
) -> dict[str, str]:
    """Write one metadata row; columns in order, fields that a vendor omits are empty."""
    machine = acquisition.machine
    kernel, series = machine.sharp if reconstruction.sharp else machine.soft
    diameter = round(stored.hu.shape[0] * stored.spacing[0], 1)
    current = int(rng.integers(80, 320))
    row = {
        "VolumeName": name,
        "Manufacturer": machine.manufacturer,
        "SeriesDescription": series,
        "ManufacturerModelName": machine.model,
        "PatientSex": patient.sex,
        "PatientAge": f"{patient.age:03d}Y",
        "ReconstructionDiameter": str(diameter),
        "GantryDetectorTilt": "0",
        "TableHeight": str(round(float(rng.uniform(80, 180)), 1)),
        "RotationDirection": "CW",
        "ExposureTime": str(int(rng.choice((412, 507, 622)))),
        "XRayTubeCurrent": str(current),
        "Exposure": str(current // 2),
        "FilterType": kernel if machine.manufacturer == "Philips" else "",
        "ConvolutionKernel": kernel,
        "PatientPosition": "HFS",
        "CTDIvol": str(round(float(np.exp(rng.normal(1.8, 0.4))), 9)),
        "ImagePositionPatient": "[" + ", ".join(_short(v) for v in stored.origin) + "]",
        "ImageOrientationPatient": "[1, 0, 0, 0, 1, 0]",
        "SliceLocation": _short(round(stored.origin[2], 1)),
        "SamplesPerPixel": "1",
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": str(stored.hu.shape[1]),
        "Columns": str(stored.hu.shape[0]),
        "XYSpacing": f"[{stored.spacing[0]!r}, {stored.spacing[1]!r}]",
        "RescaleIntercept": str(machine.intercept),
        "RescaleSlope": "1",
        "RescaleType": "HU" if machine.manufacturer.upper().startswith("SIEMENS") else "",
        "NumberofSlices": str(stored.hu.shape[2]),
        "ZSpacing": repr(stored.spacing[2]),
        "StudyDate": date,
    }
    if machine.manufacturer.upper().startswith("SIEMENS"):
        row |= _siemens(rng, stored, machine.model)
    return {column: row.get(column, "") for column in COLUMNS}


def _siemens(rng: Rng, stored: StoredVolume, model: str) -> dict[str, str]:
    """What this vendor alone fills in."""
    centre = [0.0, -float(rng.integers(110, 160)) - 0.5, stored.origin[2]]
    position = "[" + ", ".join(_short(v) for v in centre) + "]"
    return {
        **_SIEMENS[model],
        "GeneratorPower": f"{int(rng.integers(14, 24))}.0",
        "DataCollectionCenterPatient": position,
        "ReconstructionTargetCenterPatient": position,
    }


def _short(value: float) -> str:
    """Without a trailing `.0`, as the table's lists are."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
