"""Services that tests need beside Python: found on the machine, or named in THORACLE_REQUIRE, where a missing one is a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[1]
_WEB: Final = _ROOT / "web" / "node_modules"
_VIEWER: Final = _ROOT / "src" / "thoracle" / "serving" / "static" / "vendor" / "niivue.js"
_PUBLISHED: Final = _ROOT / ".published"
#: How each service is found: what is returned tells the test where it is; None where it is absent.
SERVICES: Final[Mapping[str, Callable[[], str | None]]] = {
    "chromium": lambda: shutil.which("chromium"),
    "viewer": lambda: str(_VIEWER) if _VIEWER.exists() and (_WEB / "axe-core").exists() else None,
    "spectre-fm": lambda: str(_PUBLISHED) if (_PUBLISHED / "spectre").exists() else None,
    "wandb": lambda: spec.origin if (spec := find_spec("wandb")) else None,
}


def require_service(name: str) -> str:
    """Return where a service is; skip the test where it is absent, or fail it where THORACLE_REQUIRE (names with commas) asks for it."""
    location = SERVICES[name]()
    if location is not None:
        return location
    required = {part.strip() for part in os.environ.get("THORACLE_REQUIRE", "").split(",")}
    if name in required:
        pytest.fail(f"{name} is not on this machine, and THORACLE_REQUIRE names it")
    pytest.skip(f"{name} is not on this machine")
