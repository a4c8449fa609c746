from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle import load
from thoracle.ct.read import read
from thoracle.errors import ModelFolderInvalid
from thoracle.inference.calibration import Calibration, LabelCalibration, read_calibration, save_calibration
from thoracle.inference.demo.assets import write_model
from thoracle.inference.requested_findings import Finding
from thoracle.models.bundle.model_folder import open_model
from thoracle.models.common.prompts import PROMPTS

_MENDING = LabelCalibration(slope=2.0, offset=-1.0, rule_in_at=0.6, rule_out_at=0.3)


def _calibration(**changes: object) -> Calibration:
    made = Calibration(
        weights_sha256="0" * 64, prompts=PROMPTS, method="platt", coverage=0.9, fitted_on="40 phantoms", mendings={"Cardiomegaly": _MENDING}
    )
    return replace(made, **changes)


def test_a_probability_is_mended_on_its_logit() -> None:
    assert _MENDING.probability(0.5) == pytest.approx(1 / (1 + math.e))
    assert LabelCalibration(slope=1, offset=0, rule_in_at=0, rule_out_at=1).probability(0.3) == pytest.approx(0.3)


@given(st.floats(0, 1), st.floats(0, 1))
def test_order_stays_and_ends_are_probabilities(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= _MENDING.probability(low) <= _MENDING.probability(high) <= 1


def test_what_is_ruled_out_in_both_ways_or_in_none_cannot_be_told() -> None:
    assert [_MENDING.decision(p) for p in (0.1, 0.3, 0.45, 0.6, 0.9)] == ["absent", "absent", "cannot tell", "present", "present"]
    overlapping = replace(_MENDING, rule_in_at=0.3, rule_out_at=0.6)
    assert [overlapping.decision(p) for p in (0.1, 0.45, 0.9)] == ["absent", "cannot tell", "present"]


def test_detect_uses_what_lies_beside_the_weights_and_only_for_these(model_dir: Path, sketch: Path) -> None:
    volume, folder = read(sketch), open_model(model_dir)
    before = load(model_dir).detect(volume)
    assert (before.verdicts, before.coverage) == ((), None)
    save_calibration(model_dir, _calibration(weights_sha256=folder.weights_sha256))
    after, raw = load(model_dir).detect(volume), load(model_dir).detect(volume, calibrated=False)
    place = after.abnormalities.index("Cardiomegaly")
    # Kept prompts lie elsewhere in memory than computed ones, which BLAS may round differently.
    assert raw.probabilities == pytest.approx(before.probabilities, abs=1e-6)
    assert after.probabilities[place] == _MENDING.probability(raw.probabilities[place])
    assert after.probabilities[:place] == raw.probabilities[:place]
    assert after.verdicts[place] == _MENDING.decision(after.probabilities[place])
    assert after.verdicts[0] is None
    assert after.coverage == 0.9
    with pytest.raises(ModelFolderInvalid, match="other weights or prompts"):
        read_calibration(model_dir, weights_sha256="1" * 64, prompts=PROMPTS)


def test_new_weights_in_the_folder_take_the_calibration_away(model_dir: Path) -> None:
    save_calibration(model_dir, _calibration())
    write_model(model_dir)
    assert load(model_dir).calibration is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": "thoracle.calibration/2"}', b"[" * 100_000, b" " * (1 << 21)])
def test_a_damaged_file_is_refused(model_dir: Path, content: bytes) -> None:
    (model_dir / "calibration.json").write_bytes(content)
    with pytest.raises(ModelFolderInvalid, match="is no calibration"):
        load(model_dir).warm_up()


@pytest.mark.parametrize("change", [{"slope": -1.0}, {"slope": float("nan")}, {"offset": float("inf")}, {"strange": 1.0}])
def test_numbers_that_cannot_be_are_refused(tmp_path: Path, change: dict[str, float]) -> None:
    values = _calibration().as_dict()
    values["mendings"] = {"Cardiomegaly": {"slope": 1.0, "offset": 0.0, "rule_in_at": 0.5, "rule_out_at": 0.5} | change}
    (tmp_path / "calibration.json").write_text(json.dumps(values))
    with pytest.raises(ModelFolderInvalid, match="is no calibration"):
        read_calibration(tmp_path, weights_sha256="0" * 64, prompts=PROMPTS)


def test_what_is_kept_is_what_is_read(tmp_path: Path) -> None:
    save_calibration(tmp_path, _calibration())
    assert read_calibration(tmp_path, weights_sha256="0" * 64, prompts=PROMPTS) == _calibration()


#: Cardiomegaly's logit is 2 x its own - 1 + half the effusion's.
_TOGETHER = _calibration(
    method="joint",
    mendings={"Cardiomegaly": replace(_MENDING, others={"Pleural effusion": 0.5}), "Pleural effusion": replace(_MENDING, offset=0.0)},
)


def test_calibrated_together_a_probability_hears_of_the_others() -> None:
    own, effusion = math.log(0.6 / 0.4), math.log(0.9 / 0.1)
    expected = 1 / (1 + math.exp(-(2 * own - 1 + 0.5 * effusion)))
    names = ("Lung nodule", "Pleural effusion", "Cardiomegaly")
    assert _TOGETHER.probabilities(names, (0.3, 0.9, 0.6)) == pytest.approx((0.3, 1 / (1 + math.exp(-2 * effusion)), expected))
    assert _TOGETHER.required(["Cardiomegaly", "Lung nodule"]) == ["Pleural effusion"]
    assert _TOGETHER.required(["Cardiomegaly", "Pleural effusion"]) == _TOGETHER.required(["Lung nodule"]) == []
    weights, offsets = _TOGETHER.weights(names)
    assert (weights, offsets) == ([[1.0, 0, 0], [0, 2.0, 0], [0, 0.5, 2.0]], [0.0, 0.0, -1.0])


def test_detect_asks_for_what_a_calibration_hears_of(model_dir: Path, sketch: Path) -> None:
    volume, folder = read(sketch), open_model(model_dir)
    save_calibration(model_dir, replace(_TOGETHER, weights_sha256=folder.weights_sha256))
    model = load(model_dir)
    every = model.detect(volume)
    place = every.abnormalities.index("Cardiomegaly")
    raw = dict(zip(every.abnormalities, model.detect(volume, calibrated=False).probabilities, strict=True))
    expected = _TOGETHER.mendings["Cardiomegaly"].probability(raw["Cardiomegaly"], raw)
    alone = model.detect(volume, abnormalities=["Cardiomegaly"])
    assert alone.abnormalities == ("Cardiomegaly",)
    assert alone.probabilities == pytest.approx([expected], abs=1e-6)
    assert every.probabilities[place] == pytest.approx(expected, abs=1e-6)
    assert alone.verdicts == (every.verdicts[place],)
    # In words of one's own the name is no label of the model's, though it is written alike.
    named = model.detect(volume, abnormalities=[Finding(name="Pleural effusion", prompts=("Fluid.", "No fluid.")), "Cardiomegaly"])
    assert named.probabilities[1] == pytest.approx(expected, abs=1e-6)
    assert named.verdicts[0] is None


def test_together_is_kept_as_it_is_and_slopes_of_strangers_are_refused(tmp_path: Path) -> None:
    save_calibration(tmp_path, _TOGETHER)
    assert read_calibration(tmp_path, weights_sha256="0" * 64, prompts=PROMPTS) == _TOGETHER
    values = _TOGETHER.as_dict()
    for other, slope in (("Elsewhere", 1.0), ("Pleural effusion", float("inf"))):
        values["mendings"]["Cardiomegaly"]["others"] = {other: slope}
        (tmp_path / "calibration.json").write_text(json.dumps(values))
        with pytest.raises(ModelFolderInvalid, match="is no calibration"):
            read_calibration(tmp_path, weights_sha256="0" * 64, prompts=PROMPTS)
