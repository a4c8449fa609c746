"""The pages of settings and errors say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from thoracle.errors import ThoracleError

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return script("make_reference")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["settings", "errors"])
def test_a_page_is_current(reference: ModuleType, page: str) -> None:
    written = (DOCS / "reference" / f"{page}.md").read_text()
    assert written == getattr(reference, f"{page}_page")(), "run `make reference`"


def test_the_page_of_the_api_is_current() -> None:
    assert (DOCS / "api.md").read_text() == script("make_api").api_page(), "run `make reference`"


def test_a_setting_has_type_range_default_unit_and_meaning(reference: ModuleType) -> None:
    rows = reference.settings_page().splitlines()
    assert "| `warmup_steps` | a whole number at least 0 | `0` | steps | steps over which the learning rate rises linearly. |" in rows
    assert any(row.startswith("| `intensity_scale` | a number above 0 and below 1e+09 | `1000.0` | HU |") for row in rows)
    assert any(
        row.startswith('| `optimizer` | [OptimizerConfig](#optimizerconfig) | `{"lr": 2e-05, "max_grad_norm": 1.0}` |') for row in rows
    )


def test_an_error_says_what_to_do(reference: ModuleType) -> None:
    class Silent(ThoracleError):
        """Something happened."""

    with pytest.raises(ValueError, match="Silent"):
        reference.split_docstring(Silent)

    class Bare(ThoracleError):
        """Something happened. Mend it."""

    with pytest.raises(ValueError, match="Bare has no example"):
        reference.split_docstring(Bare)

    class Whole(ThoracleError):
        """Something happened
        here. Mend it. Then go on.

        Example: a thing.
        """

    assert reference.split_docstring(Whole) == ("Something happened here.", "Mend it. Then go on.", "A thing.")
