"""A run's folder: begun, opened again, or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from thoracle.errors import InputError, OutputConflict
from thoracle.files.atomic import replace_folder
from thoracle.training.engine.checkpoints import clean
from thoracle.training.engine.config import RunConfig, changed_fields, load_run_config, write_config
from thoracle.training.engine.distributed import World

CONFIG: Final = "config.yaml"
CHECKPOINTS: Final = "checkpoints"
FAILURES: Final = "failures"
MODEL: Final = "model"


def open_run_folder(config: RunConfig, files: Callable[[], Mapping[str, bytes]], world: World, *, resume: bool) -> None:
    """Make the run's folder, whole or not at all, or check the one that is there. Every rank must ask.

    `files` gives what a new folder holds beside the configuration, by path; rank 0 alone calls it.

    Raises:
        OutputConflict: the folder exists, and `resume` was not asked for.
        InputError: it is of another configuration.
    """
    out = Path(config.out)
    there = world.all_gather_object(out.exists() and any(out.iterdir()))[0]  # rank 0 will make it at any moment
    if there:
        if not (out / CONFIG).is_file():
            raise OutputConflict("exists and is not a run", hint="Choose another --out.", source=out)
        if not resume:
            raise OutputConflict("is a run already", hint="Go on with --resume, or choose another --out.", source=out)
        changed = changed_fields(load_run_config(out / CONFIG, type(config)), config)
        if changed:
            raise InputError(f"the run was begun with another {', '.join(changed)}", hint="Give its own config.yaml.", source=out)
        if world.rank == 0:
            clean(out / CHECKPOINTS)
    elif world.rank == 0:
        _begin(out, config, files())
    world.barrier()


def _begin(out: Path, config: RunConfig, files: Mapping[str, bytes]) -> None:
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed here
    temporary.mkdir(parents=True)
    write_config(config, temporary / CONFIG)
    for name, content in files.items():
        (temporary / name).parent.mkdir(exist_ok=True)
        (temporary / name).write_bytes(content)
    replace_folder(temporary, out)
