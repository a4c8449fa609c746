from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.errors import InputError
from thoracle.inference.labeler.backends import BACKENDS, open_labeller
from thoracle.inference.labeler.vocabulary import builtin_vocabulary
from thoracle.inference.llm.openai_client import OpenAIClient


@pytest.mark.parametrize("backend", ["rules", "auto"])
def test_rules_need_nothing(backend: str) -> None:
    assert open_labeller(backend).name == "rules"


@pytest.mark.parametrize(("backend", "needs"), [("classifier", "trained model"), ("llm", "server"), ("oracle", "no backend")])
def test_what_is_missing_is_named(backend: str, needs: str) -> None:
    with pytest.raises(InputError, match=needs):
        open_labeller(backend)


def test_a_server_makes_a_labeler() -> None:
    labeler = open_labeller("llm", client=OpenAIClient("http://localhost:8000/v1", model="m"))
    assert (labeler.name, labeler.settings()["llm"]) == ("llm", "m")
    assert set(BACKENDS) == {"auto", "rules", "classifier", "llm"}


@pytest.mark.parametrize(("backend", "model"), [("classifier", None), ("llm", None), ("auto", Path("model"))])
def test_own_abnormalities_are_read_by_rules_alone(backend: str, model: Path | None) -> None:
    with pytest.raises(InputError, match="only rules read"):
        open_labeller(backend, model=model, vocabulary=builtin_vocabulary())
