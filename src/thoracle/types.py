"""Names shared by every room: array aliases, the 18 abnormalities, the notice; no behaviour."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

RESEARCH_USE: Final = "Research use only. Not a medical device."

#: Double precision, any shape.
FloatArray = NDArray[np.float64]
#: Voxels as a file stores them: integers or floats, (i, j, k), any memory layout.
StoredArray = NDArray[Any]
#: Hounsfield units, int16 or float32, (x, y, z) towards patient left, posterior, superior.
HounsfieldArray = NDArray[np.int16] | NDArray[np.float32]
#: (4, 4) float64, voxel index to millimetres in DICOM's LPS frame.
Affine = NDArray[np.float64]
#: Millimetres a voxel along each array axis.
Spacing = tuple[float, float, float]
#: What a model is given: float32 along the axes and in the units of its preprocessing; CT-CLIP's are (z, x, y) and 1000 HU.
ModelInput = NDArray[np.float32]

#: The labels of CT-RATE in the order of its columns (Hamamci et al., arXiv:2403.17834).
ABNORMALITIES: Final = (
    "Medical material",
    "Arterial wall calcification",
    "Cardiomegaly",
    "Pericardial effusion",
    "Coronary artery wall calcification",
    "Hiatal hernia",
    "Lymphadenopathy",
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Pleural effusion",
    "Mosaic attenuation pattern",
    "Peribronchial thickening",
    "Consolidation",
    "Bronchiectasis",
    "Interlobular septal thickening",
)
