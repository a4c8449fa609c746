"""The 18 abnormalities of CT-RATE as findings: which sampler makes which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.findings.airspace import sample_atelectasis, sample_consolidation, sample_nodule, sample_opacity
from thoracle.phantom.findings.airways import sample_bronchiectasis, sample_peribronchial
from thoracle.phantom.findings.calcium import sample_arterial, sample_coronary
from thoracle.phantom.findings.devices import sample_material
from thoracle.phantom.findings.diffuse import sample_emphysema, sample_fibrosis, sample_mosaic, sample_septal
from thoracle.phantom.findings.finding import FindingGenerator, GrowthSite
from thoracle.phantom.findings.fluid import sample_pericardial_effusion, sample_pleural_effusion
from thoracle.phantom.findings.mediastinal import enlarged_heart, sample_cardiomegaly, sample_hernia, sample_lymphadenopathy

#: In the order of painting: fluid takes the place of lung, then what fills or thins the lung that is left, metal last.
SAMPLERS: Final[dict[str, Callable[[Rng, GrowthSite], FindingGenerator]]] = {
    "Pleural effusion": sample_pleural_effusion,
    "Mosaic attenuation pattern": sample_mosaic,
    "Emphysema": sample_emphysema,
    "Lung opacity": sample_opacity,
    "Interlobular septal thickening": sample_septal,
    "Peribronchial thickening": sample_peribronchial,
    "Bronchiectasis": sample_bronchiectasis,
    "Consolidation": sample_consolidation,
    "Atelectasis": sample_atelectasis,
    "Pulmonary fibrotic sequela": sample_fibrosis,
    "Lung nodule": sample_nodule,
    "Cardiomegaly": sample_cardiomegaly,
    "Pericardial effusion": sample_pericardial_effusion,
    "Hiatal hernia": sample_hernia,
    "Lymphadenopathy": sample_lymphadenopathy,
    "Arterial wall calcification": sample_arterial,
    "Coronary artery wall calcification": sample_coronary,
    "Medical material": sample_material,
}

__all__ = ["SAMPLERS", "FindingGenerator", "GrowthSite", "enlarged_heart"]
