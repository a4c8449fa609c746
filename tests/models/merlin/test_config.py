"""Sizes of the Merlin family."""

from __future__ import annotations

import pytest

from thoracle.errors import InputError
from thoracle.models.merlin.config import MerlinConfig


def test_published_width() -> None:
    assert MerlinConfig().dim == 2048


def test_outputs_without_names_are_numbered() -> None:
    assert MerlinConfig(num_labels=3).label_names == ("Phenotype 1", "Phenotype 2", "Phenotype 3")
    assert MerlinConfig(num_labels=1, labels=("Hernia",)).label_names == ("Hernia",)
    assert MerlinConfig().label_names == ()


@pytest.mark.parametrize("labels", [("Hernia", "Hernia"), ("Hernia",), ("Hernia", "Ascites", "Cyst")])
def test_names_that_are_not_one_for_each_output_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="different labels are named, the classifier has 2 outputs"):
        MerlinConfig(num_labels=2, labels=labels)
