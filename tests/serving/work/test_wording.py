"""A verdict is told with the threshold that it rests on."""

from __future__ import annotations

import pytest

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.inference.calibration import Calibration, LabelCalibration
from thoracle.inference.findings import Findings
from thoracle.serving.work.wording import finding_rows

MENDING = LabelCalibration(slope=1, offset=0, rule_in_at=0.2, rule_out_at=0.1)
CALIBRATION = Calibration(weights_sha256="", prompts=(), method="platt", coverage=0.9, fitted_on="", mendings={"Emphysema": MENDING})


def findings(probability: float, *, calibrated: bool) -> Findings:
    return Findings(
        abnormalities=("Emphysema",),
        probabilities=(probability,),
        model_kind="ct-clip",
        model_sha256="",
        trained=True,
        precision="float32",
        preprocess=PreprocessConfig(),
        provenance=None,
        verdicts=(MENDING.decision(probability),) if calibrated else (),
    )


@pytest.mark.parametrize(
    ("probability", "verdict", "words"),
    [
        (0.24, "present", "present: 0.24 is at or above 0.20, at 90% coverage"),
        (0.05, "absent", "absent: 0.05 is at or below 0.10, at 90% coverage"),
        (0.15, "cannot tell", "cannot tell: 0.15 is between 0.10 and 0.20, at 90% coverage"),
    ],
)
def test_a_verdict_has_its_threshold_beside_it(probability: float, verdict: str, words: str) -> None:
    (row,) = finding_rows(findings(probability, calibrated=True), CALIBRATION)
    assert (row.verdict, row.verdict_text, row.threshold, row.absent_at, row.calibrated) == (verdict, words, 0.2, 0.1, True)


def test_without_a_calibration_nothing_is_called_present() -> None:
    (row,) = finding_rows(findings(0.99, calibrated=False), None)
    assert (row.verdict, row.threshold, row.absent_at, row.calibrated) == (None, None, None, False)
    assert row.verdict_text == "0.99, not calibrated: no threshold says whether it is present"
