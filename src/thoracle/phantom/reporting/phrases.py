"""The words of phantom reports: for each abnormality how it is stated, denied and summed up; no logic.

Places to fill: {sev} severity, {Sev} capital, {where} "in the right upper lobe", {side}, {size}, {count}, {kind}. Wordings are our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Hold wording: `present` and `absent` are whole sentences of the findings; `summed` of the impression; `block` orders the report."""

    block: str
    present: tuple[str, ...]
    absent: tuple[str, ...]
    summed: tuple[str, ...]


#: Parts of a report in their usual order.
BLOCKS: Final = ("devices", "airways", "heart", "vessels", "esophagus", "nodes", "lung", "pleura")

WORDINGS: Final[dict[str, Wording]] = {
    "Medical material": Wording(
        block="devices",
        present=(
            "Medical material is present: {kind}.",
            "Medical material ({kind}) is observed.",
            "There is a {kind}, which is medical material.",
            "Findings of medical material in the form of {kind} are seen.",
        ),
        absent=(
            "Medical material is not present.",
            "No medical material is observed.",
            "There is no catheter, wire or other medical material.",
        ),
        summed=("Medical material: {kind}.", "Medical material ({kind})."),
    ),
    "Arterial wall calcification": Wording(
        block="vessels",
        present=(
            "Arterial wall calcification is present in the aortic arch and descending aorta.",
            "{Sev} arterial wall calcification is observed in the thoracic aorta.",
            "Calcified atheromatous plaques are seen in the wall of the aorta; {sev} arterial wall calcification.",
            "There is {sev} arterial wall calcification along the thoracic aorta.",
        ),
        absent=(
            "Arterial wall calcification is not present.",
            "No arterial wall calcification is seen in the thoracic aorta.",
            "The aortic wall is free of calcification.",
        ),
        summed=(
            "Arterial wall calcification.",
            "{Sev} arterial wall calcification of the thoracic aorta.",
            "Aortic arterial wall calcification.",
        ),
    ),
    "Cardiomegaly": Wording(
        block="heart",
        present=(
            "Cardiomegaly is present; the transverse diameter of the heart is {size}.",
            "There is {sev} cardiomegaly.",
            "The heart is enlarged: {sev} cardiomegaly, transverse diameter {size}.",
            "The cardiothoracic ratio has increased in favor of the heart, consistent with cardiomegaly.",
        ),
        absent=("Cardiomegaly is not present.", "Heart contour and size are normal.", "No cardiomegaly. The heart is of normal size."),
        summed=("Cardiomegaly.", "{Sev} cardiomegaly.", "Enlarged heart (cardiomegaly)."),
    ),
    "Pericardial effusion": Wording(
        block="heart",
        present=(
            "Pericardial effusion is present and measures {size} at its thickest.",
            "There is {sev} pericardial effusion up to {size}.",
            "{Sev} pericardial effusion surrounds the heart, {size} in thickness.",
            "Fluid is observed between the pericardial leaves ({size}), pericardial effusion.",
        ),
        absent=(
            "Pericardial effusion is not present.",
            "No pericardial effusion or thickening is seen.",
            "Pericardial effusion was not observed.",
        ),
        summed=("Pericardial effusion.", "{Sev} pericardial effusion ({size})."),
    ),
    "Coronary artery wall calcification": Wording(
        block="vessels",
        present=(
            "Coronary artery wall calcification is present ({kind}).",
            "There is {sev} coronary artery wall calcification, most marked in the {kind}.",
            "{Sev} coronary artery wall calcification is observed.",
            "Calcific plaques are seen in the coronary arteries: coronary artery wall calcification.",
        ),
        absent=(
            "Coronary artery wall calcification is not present.",
            "No coronary artery wall calcification.",
            "Coronary arteries show no calcified plaque.",
        ),
        summed=(
            "Coronary artery wall calcification.",
            "{Sev} coronary artery wall calcification.",
            "Calcification of the coronary artery walls.",
        ),
    ),
    "Hiatal hernia": Wording(
        block="esophagus",
        present=(
            "Hiatal hernia is present, {size} in diameter.",
            "There is a {sev} hiatal hernia at the lower end of the esophagus.",
            "A hiatal hernia of {size} is observed behind the heart.",
            "{Sev} hiatal hernia is seen.",
        ),
        absent=("Hiatal hernia is not present.", "No hiatal hernia is seen.", "The lower esophagus is normal, without hiatal hernia."),
        summed=("Hiatal hernia.", "{Sev} hiatal hernia ({size})."),
    ),
    "Lymphadenopathy": Wording(
        block="nodes",
        present=(
            "Lymphadenopathy is present ({kind}); the largest node has a short axis of {size}.",
            "There is {kind} lymphadenopathy, the largest {size}.",
            "{Count} enlarged lymph nodes are observed ({kind}), short axis up to {size}; lymphadenopathy.",
            "Pathologically enlarged {kind} lymph nodes, up to {size}, are consistent with lymphadenopathy.",
        ),
        absent=(
            "Lymphadenopathy is not present.",
            "No enlarged mediastinal, hilar or axillary lymph nodes.",
            "No lymphadenopathy was detected in the mediastinum or at the hila.",
        ),
        summed=("Lymphadenopathy.", "Lymphadenopathy ({kind}).", "Enlarged lymph nodes up to {size}, lymphadenopathy."),
    ),
    "Emphysema": Wording(
        block="lung",
        present=(
            "Emphysema is present in both lungs, predominantly in the upper lobes.",
            "There is {sev} {kind} emphysema in both lungs.",
            "{Sev} emphysematous changes (emphysema) are observed, more marked in the upper lobes.",
            "Areas of low attenuation without walls are seen in the upper lobes: {kind} emphysema.",
        ),
        absent=("Emphysema is not present.", "No emphysema is seen.", "There is no emphysematous change."),
        summed=("Emphysema.", "{Sev} emphysema in both lungs.", "{Sev} {kind} emphysema."),
    ),
    "Atelectasis": Wording(
        block="lung",
        present=(
            "Atelectasis is present {where}.",
            "{Sev} {kind} atelectasis is observed {where}.",
            "There are areas of {kind} atelectasis {where}.",
            "Density increases {where} are evaluated as {kind} atelectasis.",
        ),
        absent=("Atelectasis is not present.", "No atelectasis is seen.", "There is no atelectatic area in either lung."),
        summed=("Atelectasis {where}.", "{Sev} {kind} atelectasis.", "Atelectasis."),
    ),
    "Lung nodule": Wording(
        block="lung",
        present=(
            "Lung nodule is present {where}; the largest measures {size}.",
            "{Count} lung nodules are observed {where}, the largest {size} in diameter.",
            "There is a solid lung nodule of {size} {where}.",
            "A {size} nodule is seen {where} (lung nodule).",
        ),
        absent=("Lung nodule is not present.", "No lung nodule or mass was detected.", "There is no lung nodule."),
        summed=("Lung nodule {where}, {size}.", "Lung nodule.", "{Count} lung nodules, the largest {size}."),
    ),
    "Lung opacity": Wording(
        block="lung",
        present=(
            "Lung opacity is present {where}.",
            "Ground glass lung opacity is observed {where}.",
            "There are {count} patchy ground glass areas {where}; lung opacity.",
            "{Sev} ground-glass density increases (lung opacity) are seen {where}.",
        ),
        absent=("Lung opacity is not present.", "No lung opacity is seen.", "There is no ground glass opacity."),
        summed=("Lung opacity {where}.", "Lung opacity.", "Ground glass lung opacity, {sev}."),
    ),
    "Pulmonary fibrotic sequela": Wording(
        block="lung",
        present=(
            "Pulmonary fibrotic sequela is present {where}.",
            "Pulmonary fibrotic sequela changes are observed {where}.",
            "There are pleuroparenchymal bands {where}, {sev} pulmonary fibrotic sequela.",
            "Fibrotic recessions and strands are seen {where}: pulmonary fibrotic sequela.",
        ),
        absent=(
            "Pulmonary fibrotic sequela is not present.",
            "No pulmonary fibrotic sequela is seen.",
            "There is no fibrotic band or scar.",
        ),
        summed=("Pulmonary fibrotic sequela.", "Pulmonary fibrotic sequela {where}.", "{Sev} pulmonary fibrotic sequela changes."),
    ),
    "Pleural effusion": Wording(
        block="pleura",
        present=(
            "Pleural effusion is present on the {side} side, {size} at its deepest.",
            "There is {sev} {side} pleural effusion measuring {size}.",
            "{Sev} {side} pleural effusion is observed.",
            "Free fluid up to {size} is seen in the pleural space ({side}), pleural effusion.",
        ),
        absent=(
            "Pleural effusion is not present.",
            "No pleural effusion or thickening is seen.",
            "Pleural effusion was not detected in either hemithorax.",
        ),
        summed=("Pleural effusion.", "{Sev} {side} pleural effusion.", "{Sev} pleural effusion ({side}, {size})."),
    ),
    "Mosaic attenuation pattern": Wording(
        block="lung",
        present=(
            "Mosaic attenuation pattern is present in both lungs.",
            "{Sev} mosaic attenuation pattern is observed in both lungs.",
            "Lung attenuation is patchy: mosaic attenuation pattern.",
            "There is a mosaic attenuation pattern, thought to be small airway or small vessel disease.",
        ),
        absent=("Mosaic attenuation pattern is not present.", "No mosaic attenuation pattern is seen.", "Lung attenuation is homogeneous."),
        summed=("Mosaic attenuation pattern.", "{Sev} mosaic attenuation pattern."),
    ),
    "Peribronchial thickening": Wording(
        block="airways",
        present=(
            "Peribronchial thickening is present.",
            "{Sev} peribronchial thickening is observed in both lungs.",
            "The walls of the bronchi are thick, {sev} peribronchial thickening.",
            "There is bilateral peribronchial thickening.",
        ),
        absent=("Peribronchial thickening is not present.", "No peribronchial thickening is seen.", "Bronchial walls are thin."),
        summed=("Peribronchial thickening.", "{Sev} peribronchial thickening."),
    ),
    "Consolidation": Wording(
        block="lung",
        present=(
            "Consolidation is present {where}, {size} in extent.",
            "An area of consolidation with air bronchograms is observed {where}.",
            "There is {sev} consolidation {where}.",
            "A {size} consolidation is seen {where}.",
        ),
        absent=("Consolidation is not present.", "No consolidation or infiltration is seen.", "There is no consolidation."),
        summed=("Consolidation {where}.", "Consolidation.", "{Sev} consolidation {where}, infection should be considered."),
    ),
    "Bronchiectasis": Wording(
        block="airways",
        present=(
            "Bronchiectasis is present {where}.",
            "{Sev} {kind} bronchiectasis is observed {where}.",
            "The bronchi are dilated {where}: {kind} bronchiectasis.",
            "There is {sev} bronchiectasis {where}.",
        ),
        absent=("Bronchiectasis is not present.", "No bronchiectasis is seen.", "Bronchial calibers are normal, without bronchiectasis."),
        summed=("Bronchiectasis {where}.", "Bronchiectasis.", "{Sev} {kind} bronchiectasis."),
    ),
    "Interlobular septal thickening": Wording(
        block="lung",
        present=(
            "Interlobular septal thickening is present, mainly {where}.",
            "{Sev} interlobular septal thickening is observed {where}.",
            "A reticular pattern under the pleura shows interlobular septal thickening {where}.",
            "There is {sev} interlobular septal thickening in both lungs.",
        ),
        absent=(
            "Interlobular septal thickening is not present.",
            "No interlobular septal thickening is seen.",
            "The interlobular septa are not thick.",
        ),
        summed=("Interlobular septal thickening.", "{Sev} interlobular septal thickening."),
    ),
}

#: Hedges take the place of a sentence's full stop.
HEDGES: Final = (
    ", clinical correlation is recommended.",
    ", which may be compatible with the clinical history.",
    ", probably chronic.",
)

#: Of no abnormality: (block, sentence).
NORMAL: Final = (
    ("airways", "Trachea and both main bronchi are open."),
    ("airways", "The trachea is in the midline and no occlusive lesion is seen in its lumen."),
    ("heart", "Mediastinal structures were evaluated as far as the examination allows."),
    ("vessels", "The calibers of the main vascular structures are natural."),
    ("esophagus", "No wall thickening is seen in the thoracic esophagus."),
)
ENDING: Final = (
    "Upper abdominal organs within the sections are normal.",
    "No space-occupying lesion is seen in the visible part of the liver.",
    "Both adrenal glands are natural.",
    "Degenerative changes are seen in the bones.",
    "Vertebral corpus heights are preserved.",
    "No lytic or destructive lesion is seen in the bones.",
)
LUNG_WINDOW: Final = ("In the evaluation of both lung parenchyma:", "In the lung window:")
CLEAR_SUMMARY: Final = ("No acute finding.", "Thoracic CT within normal limits.", "Findings within normal limits.")
HISTORIES: Final = (
    "Not given.",
    "Cough.",
    "Chest pain.",
    "Dyspnea.",
    "Control.",
    "Fever, cough.",
    "Preoperative evaluation.",
    "Weight loss.",
)
