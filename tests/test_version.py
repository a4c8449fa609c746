"""The version stands in one file, which the package's face and its build read."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import thoracle
from thoracle import version

ROOT = Path(__file__).parents[1]


def test_the_package_and_its_build_read_one_version() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert (ROOT / settings["tool"]["hatch"]["version"]["path"]).samefile(version.__file__)
    assert thoracle.__version__ is version.__version__
    (found,) = re.findall(r'^__version__ = "(.+?)"', Path(version.__file__).read_text(), re.MULTILINE)  # as hatchling does
    assert found == version.__version__


def test_no_room_imports_the_face_of_the_package() -> None:
    modules = (ROOT / "src" / "thoracle").rglob("*.py")
    imports = [node for path in modules for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert len(imports) > 1000
    assert not [node.names[0].name for node in imports if node.module == "thoracle" and not node.level]
