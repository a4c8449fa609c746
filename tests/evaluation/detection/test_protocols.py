from __future__ import annotations

import pytest

from thoracle.errors import InputError
from thoracle.evaluation.detection.protocols import PROTOCOLS, protocol


def test_no_protocol_but_the_published_one_chooses_thresholds_on_what_it_scores() -> None:
    for name, entry in PROTOCOLS.items():
        assert protocol(name) is entry
        assert entry.about
        assert entry.tuning != entry.scored
        assert (entry.tuning is None) == (name == "ct-clip-legacy")


def test_an_unknown_protocol_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="ct-rate"):
        protocol("ct-rates")
