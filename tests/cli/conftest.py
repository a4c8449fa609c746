from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.cli.chat_training import TrainedChat, train_chat
from tests.inference.conftest import regions_dir  # noqa: F401  # a fixture
from thoracle.cli.app import main
from thoracle.cohort.manifest import CohortEntry, claim, write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import pack
from thoracle.config_reader import config_to_mapping
from thoracle.inference.demo.assets import write_model, write_scan
from thoracle.models.bundle.model_folder import open_model
from thoracle.types import ABNORMALITIES

PATIENTS = 16


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a command ended; what it printed, spaces and line ends folded."""

    status: int
    out: str
    err: str


Command = Callable[..., Ran]

#: Ends its own process at the third row: before it is whole, or just after, so that no test has to wait for the right moment.
_STOPPED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background inherits that Ctrl-C is ignored
from thoracle.inference.batch import result_table
append, lines, given = result_table.append_csv, [], sys.argv[1]
def stopped(path, rows):
    (row,) = rows
    if path.name.endswith((".errors.csv", ".sources.csv", ".warnings.csv")) or row[0] == "VolumeName":
        return append(path, rows)
    lines.append(row)
    if len(lines) == 3 and given == "KILL":
        with open(path, "a") as file:
            file.write(",".join(row)[:9])
        os.kill(os.getpid(), signal.SIGKILL)
    append(path, rows)
    if len(lines) == 3:
        os.kill(os.getpid(), signal.SIGINT)
result_table.append_csv = stopped
sys.argv = ["thoracle", *sys.argv[2:]]
from tests.cli.chat_training import TrainedChat, train_chat
from tests.inference.conftest import regions_dir  # noqa: F401  # a fixture
from thoracle.cli.app import main
main()
"""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, in this process."""

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["thoracle", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr()
        return Ran(status=status, out=re.sub(r"\s+", " ", printed.out), err=re.sub(r"\s+", " ", printed.err))

    return run


@pytest.fixture
def stopped() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command in a process of its own, which gets a signal at its third row: KILL in the middle of it, INT after it."""

    def run(signal: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _STOPPED, signal, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained CT-CLIP."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny").path


@pytest.fixture(scope="session")
def sketch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chest of ellipsoids."""
    return write_scan(tmp_path_factory.mktemp("sketch") / "sketch.nii.gz")


@pytest.fixture(scope="session")
def noise(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared cohort of noise: sixteen patients of split valid and two of train, the first with two volumes of a scan."""
    folder, preprocess = tmp_path_factory.mktemp("cohorts") / "noise", open_model(model_dir).preprocess
    assert preprocess is not None
    claim(folder, {"layout": "ct-rate", "preprocess": config_to_mapping(preprocess)})
    entries = []
    for patient in range(PATIENTS + 2):
        split = "valid" if patient < PATIENTS else "train"
        random = np.random.default_rng(patient)
        labels = tuple(int(one) for one in random.integers(2, size=len(ABNORMALITIES)))
        for volume in range(2 if patient == 0 else 1):
            array = np.repeat(random.uniform(-1, 1, (preprocess.size[0], 1, 1)), preprocess.size[1], axis=1)
            array = np.repeat(array, preprocess.size[2], axis=2).astype(np.float32)
            name = f"{split}_{patient}_a_{volume + 1}"
            (folder / "cache").mkdir(exist_ok=True)
            (folder / "cache" / f"{name}.vol").write_bytes(pack(array, scale=preprocess.intensity_scale))
            entries.append(
                CohortEntry(
                    volume=f"{name}.nii.gz",
                    scan=f"{split}_{patient}_a",
                    patient=f"{split}_{patient}",
                    split=split,
                    source_sha256=f"{patient:064x}",
                    cache=f"cache/{name}.vol",
                    cache_sha256="0" * 64,
                    report=Report(findings=f"{ABNORMALITIES[patient % 18]} is present."),
                    labels=labels,
                )
            )
    write_manifest(folder, sorted(entries, key=lambda entry: entry.volume))
    return folder


@pytest.fixture(scope="session")
def hospital(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared cohort of noise under real names: patients PAT0 to PAT7, the first with two volumes of one scan."""
    folder, preprocess = tmp_path_factory.mktemp("cohorts") / "hospital", open_model(model_dir).preprocess
    assert preprocess is not None
    claim(folder, {"layout": "folder", "preprocess": config_to_mapping(preprocess)})
    (folder / "cache").mkdir()
    entries = []
    for name in ("PAT0_1", "PAT0_2", *(f"PAT{n}_1" for n in range(1, 8))):
        patient, number = name[:4], int(name[3])
        values = np.random.default_rng(len(entries)).uniform(-1, 1, preprocess.size).astype(np.float32)
        (folder / "cache" / f"{name}.vol").write_bytes(pack(values, scale=preprocess.intensity_scale))
        entries.append(
            CohortEntry(
                volume=name,
                scan=f"{patient}_SCAN",
                patient=patient,
                split="valid",
                source_sha256=f"{len(entries):x}" * 64,
                cache=f"cache/{name}.vol",
                cache_sha256=f"{len(entries):x}" * 64,
                report=Report(findings=f"{ABNORMALITIES[number]} is present. Number {number}."),
                labels=tuple(int(k in (number, number + 1)) for k in range(18)),
                accession=f"ACC{number}",
            )
        )
    write_manifest(folder, entries)
    return folder


@pytest.fixture
def index(command: Command, hospital: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the hospital, under pseudonyms of the key `site.key` beside it."""
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    ran = command("index", hospital, "--model", model_dir, "--out", tmp_path / "index", "--site-key", tmp_path / "site.key")
    assert ran.status == 0, ran.err
    return tmp_path / "index"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedChat:
    """A tiny chat model of noise, with all that it was made of."""
    folder = tmp_path_factory.mktemp("chat")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THORACLE_CACHE", str(folder / "cache"))
        return train_chat(folder)
