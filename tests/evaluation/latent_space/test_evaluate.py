"""What a cohort's entries and a model give to the measures of a space."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thoracle.errors import InputError
from thoracle.evaluation.latent_space.evaluate import evaluate_space, prompt_margins, truth_of
from thoracle.inference.demo.assets import write_model
from thoracle.inference.model import Model, load
from thoracle.types import ABNORMALITIES


class Entry:
    """What is read of a cohort's entry."""

    def __init__(self, number: int, labels: tuple[int | None, ...]) -> None:
        self.volume, self.patient, self.labels = f"v{number}", f"p{number}", labels


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_model(tmp_path_factory.mktemp("model") / "tiny").path, device="cpu")


def test_margins_are_those_of_the_probabilities(model: Model) -> None:
    scan = np.random.default_rng(0).uniform(-1, 1, model.preprocess.size).astype(np.float32)
    margins = prompt_margins(model, model.volume_latent(scan)[None].astype(np.float64))
    assert margins is not None
    probabilities = 1 / (1 + np.exp(-math.exp(model.temperature) * margins[0]))
    assert probabilities == pytest.approx(model.detect(scan).probabilities, abs=1e-5)


def test_grades_are_matched_by_volume_and_name() -> None:
    random = np.random.default_rng(0)
    entries = [Entry(n, (n % 2, 1, None, *[0] * 15)) for n in range(24)]
    latents = random.normal(size=(2, 24, 6))
    latents /= np.linalg.norm(latents, axis=2, keepdims=True)
    margins = random.normal(size=(24, 18))
    words = ("mild", "moderate", "severe")
    severity = {f"v{n}": {ABNORMALITIES[1]: words[n % 3]} for n in range(24)}
    for n in range(24):
        margins[n, 1] = n % 3
    evaluated = evaluate_space(*latents, entries=entries, margins_NK=margins, severity=severity, resamples=5)
    by_finding = evaluated.order.severity.by_finding
    assert by_finding[ABNORMALITIES[1]].value == pytest.approx(1)
    assert math.isnan(by_finding[ABNORMALITIES[0]].value), "nobody says how severe it is"
    assert evaluate_space(*latents, entries=entries, margins_NK=margins, resamples=5).order.severity is None
    assert evaluate_space(*latents, entries=entries, severity=severity, resamples=5).order.severity is None
    assert np.isnan(truth_of(entries)[:, 2]).all()
    other = [replace_volume(entry) for entry in entries]
    unmatched = evaluate_space(*latents, entries=other, margins_NK=margins, severity=severity, resamples=5).order.severity
    assert math.isnan(unmatched.mean.value)


def test_grades_of_other_phantoms_with_the_same_names_are_refused() -> None:
    latents = np.eye(24)[None].repeat(2, axis=0)
    entries = [Entry(n, (n % 2, *[0] * 17)) for n in range(24)]
    severity = {f"v{n}": {ABNORMALITIES[n % 18]: "mild"} for n in range(24)}
    with pytest.raises(InputError, match="24 findings that the phantoms have are absent by the cohort's labels, 0 are present"):
        evaluate_space(*latents, entries=entries, margins_NK=np.zeros((24, 18)), severity=severity, resamples=2)


def replace_volume(entry: Entry) -> Entry:
    return Entry(int(entry.volume[1:]) + 1000, entry.labels)
