"""A run's folder: begun, opened again, or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from thoracle.errors import InputError, OutputConflict
from thoracle.files.atomic import replace_folder
from thoracle.files.visible import wait_until_visible
from thoracle.training.engine.checkpoints import clean
from thoracle.training.engine.config import RunConfig, changed_fields, load_run_config, write_config
from thoracle.training.engine.distributed import World

CONFIG: Final = "config.yaml"
CHECKPOINTS: Final = "checkpoints"
FAILURES: Final = "failures"
MODEL: Final = "model"


@contextmanager
def open_run_folder(config: RunConfig, files: Callable[[], Mapping[str, bytes]], world: World, *, resume: bool) -> Iterator[Path]:
    """Yield a folder to build the run from: the run's own, checked, or a new one beside it, which is the run's where nothing was raised.

    Every rank must ask. `files` gives what a new folder holds beside the configuration, by path; rank 0 alone calls it, and the others look
    at nothing before it is there. A run that goes on with other settings keeps those, once nothing was raised.

    Raises:
        OutputConflict: the folder exists, and `resume` was not asked for.
        InputError: it is of another configuration.
    """
    out = Path(config.out)
    if world.on_first(lambda: _open_run(out, config, resume=resume)):
        yield out
        world.on_first(lambda: _keep_config(out, config))
        return
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        names = world.on_first(lambda: _write(temporary, config, files()))
        wait_until_visible(temporary / name for name in names)
        yield temporary
        world.barrier()
        world.on_first(lambda: replace_folder(temporary, out))
    finally:
        if world.rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)


def _open_run(out: Path, config: RunConfig, *, resume: bool) -> bool:
    """Return whether the folder is a run's, which may be gone on with; False where there is nothing yet."""
    if not out.exists() or not any(out.iterdir()):
        return False
    if not (out / CONFIG).is_file():
        raise OutputConflict("exists and is not a run", hint="Choose another --out.", source=out)
    if not resume:
        raise OutputConflict("is a run already", hint="Go on with --resume, or choose another --out.", source=out)
    changed = changed_fields(load_run_config(out / CONFIG, type(config)), config)
    if changed:
        raise InputError(f"the run was begun with another {', '.join(changed)}", hint="Give its own config.yaml.", source=out)
    clean(out / CHECKPOINTS)
    return True


def _keep_config(out: Path, config: RunConfig) -> None:
    """Write down what the run goes on with."""
    if load_run_config(out / CONFIG, type(config)) != config:
        write_config(config, out / CONFIG)


def _write(folder: Path, config: RunConfig, files: Mapping[str, bytes]) -> list[str]:
    """Make a folder of its files; returns their names."""
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed here
    folder.mkdir(parents=True)
    write_config(config, folder / CONFIG)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return [CONFIG, *files]
