"""What is installed is what is pinned, nothing forbidden comes along, and the public surface is what it says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import thoracle

ROOT = Path(__file__).parents[1]
FORBIDDEN = {"torchvision", "pylibjpeg-libjpeg", "medspacy"}  # CUDA builds, GPL, and numpy below 2
TOOLS_OF_THE_ENVIRONMENT = {"pip", "setuptools", "wheel", "thoracle"}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {_canonical(name): version for name, version in (line.split("==") for line in lines if line and not line.startswith("#"))}


def _closure(requirements: list[str]) -> set[str]:
    """Every distribution that the requirements bring, by the installed metadata."""
    seen: set[str] = set()
    todo = [_canonical(re.split(r"[\s<>=!~;\[(]", r, maxsplit=1)[0]) for r in requirements]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # a requirement of another platform
        seen.add(name)
        todo += [_canonical(re.split(r"[\s<>=!~;\[(]", r, maxsplit=1)[0]) for r in needs if "extra ==" not in r]
    return seen


def test_every_transitive_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    needed = _closure(project["dependencies"] + extras) - TOOLS_OF_THE_ENVIRONMENT
    assert needed - set(_pins()) == set()
    assert _pins()["torch"] == "2.13.0"


def test_nothing_forbidden_is_pinned_or_required() -> None:
    assert FORBIDDEN & set(_pins()) == set()


def test_every_runtime_dependency_has_a_permissive_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    gpl = re.compile(r"\b(A?GPL|General Public)\b")
    for name in _closure(project["dependencies"]):
        info = metadata.metadata(name)
        said = " ".join(filter(None, [info.get("License-Expression"), (info.get("License") or "")[:80], *info.get_all("Classifier", [])]))
        assert not gpl.search(said.replace("LGPL", "")), f"{name}: {said}"


def test_public_names_are_sorted_and_exist() -> None:
    assert thoracle.__all__ == sorted(thoracle.__all__)
    assert all(getattr(thoracle, name) is not None for name in thoracle.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = thoracle.nonsense


def test_import_is_quick_because_it_loads_no_framework() -> None:
    code = "import sys, thoracle, thoracle.cli.app; print([m for m in ('torch', 'scipy', 'pydicom', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.slow
def test_a_machine_without_internet_installs_from_a_wheelhouse(tmp_path: Path) -> None:
    """The commands of docs/install.md; minutes, and the only test that asks a package index."""
    pip = [sys.executable, "-m", "pip"]
    house = tmp_path / "wheelhouse"
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "wheel", "--quiet", *constraints, "--wheel-dir", str(house), f"{ROOT}[hub]"], check=True, timeout=600)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    there = tmp_path / "venv" / "bin"
    install = [str(there / "pip"), "install", "--quiet", "--no-index", "--find-links", str(house), "thoracle[hub]"]
    subprocess.run(install, check=True, timeout=600)
    doctor = subprocess.run([str(there / "thoracle"), "doctor"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    assert thoracle.__version__ in doctor.stdout
