"""Writes a cohort of phantoms: in parallel, the same from the same seed, whole files only, resumable at any moment."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from thoracle.errors import InputError, OutputConflict
from thoracle.execution.local import LocalExecutor
from thoracle.files.atomic import TEMPORARY, write_atomic
from thoracle.files.json_file import read_json_object
from thoracle.files.run_settings import check_settings
from thoracle.phantom.case import PatientPlan, make_patient, plan_cohort
from thoracle.phantom.layout import Files, Layout, nifti, tables
from thoracle.phantom.presets import PRESETS

#: Changes when the same seed gives other phantoms.
FORMAT = 4
_SETTINGS = "phantom.json"
_BUDGET = 1 << 24
_DAMAGED = "is not what was written"


@dataclass(frozen=True, kw_only=True)
class PhantomCohort:
    """Count what was made: scans (cases), volumes (reconstructions of them), patients, and scans that were already there."""

    scans: int
    volumes: int
    patients: int
    present: int


def write_cohort(
    out: Path,
    *,
    cases: int,
    seed: int = 0,
    preset: str = "tiny",
    layout: Layout = "ct-rate",
    aligned: bool = False,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda scans: None,
) -> PhantomCohort:
    """Make `cases` scans below `out`, or finish what a killed run began there.

    Args:
        out: folder; its files depend on cases, seed, preset, layout and `aligned` alone.
        cases: scans, at least 1; patients have one to three, scans one or two volumes.
        seed: 0 or more.
        preset: a name in `PRESETS`.
        layout: whose paths and tables.
        aligned: lay all chests alike in the picture, as phantoms lay up to format 3 and no patients do.
        workers: processes; by default as many as cores and one, so that all cores paint while one worker waits for the disk. More than
            one needs a script's `if __name__ == "__main__":`.
        progress: told how many scans each patient added, those already there included.

    Raises:
        InputError: a number or name that makes no sense.
        OutputConflict: `out` holds something else than a part of this cohort, or its settings or a patient's facts are damaged.
        WorkerKilled: a patient cost two workers their lives.
    """
    _check(cases, seed, preset, layout)
    executor = LocalExecutor(workers=(os.cpu_count() or 1) + 1 if workers is None else workers)
    settings = {"format": FORMAT, "cases": cases, "seed": seed, "preset": preset, "layout": layout, "aligned": aligned}
    _claim(out, settings)
    plans = plan_cohort(cases, seed=seed)
    files = Files(layout=layout)
    missing = [plan for plan in plans if not _is_there(out, files, plan)]
    present = cases - sum(plan.visits for plan in missing)
    if present:
        progress(present)
    make_worker = partial(_Job, out=out, seed=seed, preset=preset, layout=layout, aligned=aligned)
    with closing(executor.map(make_worker, missing)) as outcomes:
        for outcome in outcomes:
            progress(outcome.output_or_raise())
    facts = [(plan, _read_facts(out, files, plan)) for plan in plans]
    for path, content in tables(layout, facts).items():
        write_atomic(out / path, content)
    volumes = sum(len(scan["volumes"]) for _, patient in facts for scan in patient["scans"])
    return PhantomCohort(scans=cases, volumes=volumes, patients=len(plans), present=present)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What a worker needs beside the plan of a patient."""

    out: Path
    seed: int
    preset: str
    layout: Layout
    aligned: bool

    def __call__(self, plan: PatientPlan) -> int:
        """Write one patient; the facts last."""
        files, scans, sizes = Files(layout=self.layout), [], {}
        for scan in make_patient(plan, seed=self.seed, preset=PRESETS[self.preset], aligned=self.aligned):
            for volume in scan.volumes:
                stored = volume.stored
                frame = {"spacing": stored.spacing, "origin": stored.origin}
                for path, voxels in ((files.volume(plan, volume.name), stored.hu), (files.mask(plan, volume.name), stored.mask)):
                    content = nifti(voxels, **frame)
                    write_atomic(self.out / path, content)
                    sizes[str(path)] = len(content)
            scans.append(scan.truth())
        facts = {"patient": plan.name, "split": plan.split, "scans": scans, "bytes": sizes}
        write_atomic(self.out / files.truth(plan), json.dumps(facts, indent=1).encode())
        return plan.visits


def _check(cases: int, seed: int, preset: str, layout: str) -> None:
    if cases < 1:
        raise InputError(f"cases must be 1 or more, is {cases}", hint="Say how many scans.")
    if seed < 0:
        raise InputError(f"seed must be 0 or more, is {seed}", hint="Give another seed.")
    if preset not in PRESETS:
        raise InputError(f"no preset {preset!r}; there are {', '.join(PRESETS)}", hint="Choose one of them.")
    if layout not in ("ct-rate", "bimcv-r"):
        raise InputError(f"no layout {layout!r}; there are ct-rate, bimcv-r", hint="Choose one of them.")


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Take an empty folder, or one that a run with the same settings began."""
    stored = out / _SETTINGS
    if stored.is_file():
        hint = "Give an empty or a new folder."
        before = read_json_object(stored, parse=dict, refusal=OutputConflict, detail=_DAMAGED, hint=hint, budget=_BUDGET)
        hint = "Give the same settings to finish it, or another folder."
        check_settings(before, settings=settings, refusal=OutputConflict, hint=hint, source=out)
        return
    if out.is_dir() and any(not entry.name.endswith(TEMPORARY) for entry in out.iterdir()):
        raise OutputConflict("is not empty and holds no phantoms", hint="Give an empty or a new folder.", source=out)
    write_atomic(stored, json.dumps(settings, indent=1).encode())


def _is_there(out: Path, files: Files, plan: PatientPlan) -> bool:
    """Whether a patient is whole. The facts are written last; volumes that were taken away or cut are made again."""
    if not (out / files.truth(plan)).is_file():
        return False
    sizes = _read_facts(out, files, plan)["bytes"]
    return all((out / path).is_file() and (out / path).stat().st_size == size for path, size in sizes.items())


def _read_facts(out: Path, files: Files, plan: PatientPlan) -> dict[str, Any]:
    """The facts of a patient, of the form in which they were written."""

    def parse(facts: dict[str, Any]) -> dict[str, Any]:
        names = [row["VolumeName"] for scan in facts["scans"] for row in scan["volumes"] if scan["report"] and scan["labels"]]
        paths = {str(path) for name in names for path in (files.volume(plan, name), files.mask(plan, name))}
        if facts["patient"] != plan.name or len(facts["scans"]) != plan.visits or paths != facts["bytes"].keys():
            raise ValueError("not the facts of this patient")
        return facts

    hint = "Delete this file and run again: the patient is made anew."
    path = out / files.truth(plan)
    return read_json_object(path, parse=parse, refusal=OutputConflict, detail=_DAMAGED, hint=hint, budget=_BUDGET)
