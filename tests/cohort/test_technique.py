"""What radiologists write of contrast agent, and what of it speaks of a vessel."""

from __future__ import annotations

import pytest

from thoracle.cohort.technique import stated_contrast, technique_section

WITH = [
    "CT of the chest with intravenous contrast.",
    "Contrast-enhanced CT of the chest.",
    "Contrast\u2011enhanced spiral CT",  # a hyphen that does not break
    "Post-contrast axial images.",
    "Postcontrast images of the thorax.",
    "Sections of 1.5 mm were obtained after administration of 80 ml of iodinated contrast medium.",
    "after the intravenous administration of nonionic contrast material",
    "Following IV contrast injection, axial sections were taken.",
    "80 cc Omnipaque 350 was injected.",
    "Contrast: 100 mL Iohexol 300 IV",
    "CT pulmonary angiography protocol.",
    "Images in the arterial phase.",
    "Axial 1 mm sections, i.v. contrast.",
    "Enhanced CT scan of the thorax",
    "1.5 mm sections were taken with IVCM.",
    "Contrast material was administered intravenously.",
    "With the patient supine, after bolus injection of contrast, images were acquired.",
    "Contrast enhanced MDCT with 1 mm slices; history of allergy to contrast.",
    "Images were obtained using oral and intravenous contrast.",
    "3 mm sections with i.v. contrast material. No oral contrast was given.",
]
WITHOUT = [
    "Non-contrast CT of the chest.",
    "Noncontrast CT",
    "Unenhanced CT of the thorax.",
    "Not contrast-enhanced.",
    "CT chest without contrast.",
    "without the use of any intravenous contrast",
    "1.5 mm thick sections were taken in the axial plane without IVCM.",
    "Examination was performed without sedation and without contrast.",
    "No IV contrast was administered.",
    "Contrast agent was not given.",
    "Contrast medium could not be given because of an allergy to contrast.",
    "Because of the lack of IV contrast, vessels are not judged.",
    "Contrast: none",
    "IV contrast: No",
    "Axial sections before contrast administration.",
    "Low-dose plain CT.",
    "Contrast was withheld.",
    "Images were obtained without oral or intravenous contrast.",
    "Images were obtained without intravenous or oral contrast.",
    "CT without i.v. contrast; oral contrast was given.",
]
BOTH = [
    "Without and with intravenous contrast.",
    "Images before and after contrast administration.",
    "Non-contrast and post-contrast images.",
    "Pre- and post-contrast series.",
    "Unenhanced scan, then after 100 ml of contrast agent.",
]
SILENT = [
    "",
    "Not given.",
    "Axial 1.5 mm sections.",
    "In contrast to the last examination 1 mm sections were used.",
    "High-contrast lung window; soft tissue contrast is good.",
    "With oral contrast.",
    "Oral contrast was given.",
    "Contrast was administered through the rectal route.",
    "Edge-enhanced kernel.",
    "Allergy to contrast.",
]
CASES = {**dict.fromkeys(WITH, "with"), **dict.fromkeys(WITHOUT, "without"), **dict.fromkeys(BOTH, "both"), **dict.fromkeys(SILENT)}


@pytest.mark.parametrize("technique", CASES)
def test_what_a_technique_says_of_contrast(technique: str) -> None:
    assert stated_contrast(technique) == CASES[technique]
    assert stated_contrast(technique.upper()) == CASES[technique]
    assert stated_contrast(technique.replace(" ", "\n")) == CASES[technique]


@pytest.mark.parametrize(
    ("report", "section"),
    [
        ("TECHNIQUE: CT with contrast.\nFINDINGS: Clear.", "CT with contrast."),
        ("Indication: cough. Technique: CT without contrast. Findings: Clear. Impression: Normal.", "CT without contrast."),
        ("CT technique:\nAxial sections.\nContrast: 80 ml.\n\nFindings\nClear.", "Axial sections.\nContrast: 80 ml."),
        ("Findings: Clear.\nTechnique: unenhanced", "unenhanced"),
        ("Findings: the technique was poor. Contrast uptake of a nodule.", ""),
        ("A nodule that enhances after contrast agent was given.", ""),
    ],
)
def test_the_section_ends_where_the_next_begins(report: str, section: str) -> None:
    assert technique_section(report) == section
