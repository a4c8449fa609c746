"""SPECTRE by its authors' package: refused by name without it; in an environment that has it, its numbers, and every verb."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.models.spectre.test_spec import BACKBONE, COMBINER
from tests.models.tiny_configs import PACKAGES
from tests.services import require_service
from thoracle.errors import ExtraMissing
from thoracle.models.bundle.import_published import import_checkpoint
from thoracle.models.registry import REGISTRY
from thoracle.models.spectre.config import SpectreConfig

ROOT = Path(__file__).parents[3]
#: Tests of every family, which take SPECTRE where its package is.
OF_FAMILIES = {
    "tests/models/test_families.py": 1,
    "tests/models/bundle/test_model_folder.py": 1,
    "tests/models/imagetext/test_model.py": 1,
    "tests/cli/test_verbs_of_families.py": 1,
    "tests/cli/test_chat_of_families.py": 1,
}


def test_this_environment_has_no_package_and_files_are_refused_by_its_name(tmp_path: Path) -> None:
    torch.save(BACKBONE, tmp_path / "spectre_backbone_vit_large_patch16_128.pt")
    torch.save(COMBINER, tmp_path / "spectre_combiner_feature_vit_large.pt")
    with pytest.raises(ExtraMissing, match=r"does not load here \(No module named 'spectre'\)\. .*pip install spectre-fm"):
        import_checkpoint(tmp_path, out=tmp_path / "model")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "`spectre` is another package here"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "operator torchvision::nms does not exist"),
    ],
)
def test_a_package_that_does_not_load_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: str) -> None:
    (tmp_path / "spectre.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PACKAGES["spectre"], raising=False)
    with pytest.raises(ExtraMissing, match=re.escape(words)):
        REGISTRY["spectre"].build(SpectreConfig())
    sys.modules.pop(PACKAGES["spectre"], None)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a process that has the package, with a stand-in for torchvision."""
    package, standin = require_service("spectre-fm"), tmp_path_factory.mktemp("standin")
    (standin / "torchvision").mkdir()
    shutil.copy(Path(__file__).parent / "standin_torchvision.py", standin / "torchvision" / "__init__.py")
    path = os.pathsep.join([package, str(standin), str(ROOT / "src"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


@pytest.mark.slow
def test_tokens_and_latents_are_the_packages(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).parent / "compare_with_package.py"), str(tmp_path)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout.splitlines()[-1])
    print(figures)
    assert figures.pop("parameters") == figures.pop("published")
    assert figures.pop("another side") > 1e-2
    assert len(figures) == 6
    assert max(figures.values()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("file", OF_FAMILIES)
def test_every_verb_takes_it(environment: dict[str, str], file: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "spectre", file]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert re.search(r"^\.+ +\[100%\]$", ran.stdout, re.MULTILINE), ran.stdout
    assert ran.stdout.count(".", 0, ran.stdout.index(" ")) == OF_FAMILIES[file], ran.stdout
