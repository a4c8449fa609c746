"""A run's folder: begun whole, opened again with the same configuration alone, and refused where it is something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from thoracle.errors import InputError, OutputConflict
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.engine.checkpoints import checkpoints, save_checkpoint
from thoracle.training.engine.config import OptimizerConfig, RunConfig, load_run_config
from thoracle.training.engine.distributed import World
from thoracle.training.engine.run_folder import CHECKPOINTS, CONFIG, open_run_folder

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig(out=str(tmp_path / "run"), steps=7, seed=3)


def begin(config: RunConfig, *, resume: bool = False, files: Callable[[], Mapping[str, bytes]] = dict) -> Path:
    with open_run_folder(config, files, ALONE, resume=resume):
        pass
    return Path(config.out)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_folder_holds_the_configuration_and_the_files(config: RunConfig) -> None:
    out = begin(config, files=lambda: {"tokenizer/vocab.txt": b"nodule\n", "notes.txt": b""})
    assert sorted(tree(out)) == [CONFIG, "notes.txt", "tokenizer/vocab.txt"]
    assert (out / "tokenizer" / "vocab.txt").read_bytes() == b"nodule\n"
    assert load_run_config(out / CONFIG, RunConfig) == config
    assert [path.name for path in out.parent.iterdir()] == ["run"]


def test_an_empty_folder_is_begun_in_and_resuming_what_is_not_there_begins(config: RunConfig) -> None:
    Path(config.out).mkdir()
    assert sorted(tree(begin(config, resume=True))) == [CONFIG]


def test_a_folder_that_is_resumed_stays_as_it_was_and_its_files_are_not_made_again(config: RunConfig) -> None:
    out = begin(config, files=lambda: {"tokenizer/vocab.txt": b"nodule\n"})
    before = tree(out)
    begin(config, resume=True, files=lambda: pytest.fail("made again"))
    assert tree(out) == before


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"precision": "bf16"}, "precision"),
        ({"seed": 4, "steps": 8, "disclaimer": "-"}, "disclaimer, seed"),
        ({"optimizer": OptimizerConfig(lr=1.0)}, "optimizer"),
        ({"monitor": "Emphysema"}, "monitor"),
    ],
)
def test_another_configuration_is_refused_by_the_names_of_its_settings(change: dict, names: str, config: RunConfig) -> None:
    out = begin(config)
    before = tree(out)
    with pytest.raises(InputError) as caught:
        begin(replace(config, **change), resume=True)
    assert caught.value.detail == f"the run was begun with another {names}"
    assert caught.value.source == str(out)
    assert tree(out) == before


def test_a_folder_that_was_moved_is_resumed_with_a_cohort_that_was_moved(tmp_path: Path) -> None:
    config = ContrastiveConfig(out=str(tmp_path / "run"), cohort="/somewhere/cohort")
    moved = begin(config).rename(tmp_path / "moved")
    begin(replace(config, out=str(moved), cohort="/elsewhere/cohort"), resume=True)
    with pytest.raises(InputError, match="another negatives"):
        begin(replace(config, out=str(moved), negatives="local"), resume=True)


def test_what_a_run_goes_on_with_is_written_down_once_it_has_begun(config: RunConfig) -> None:
    out = begin(config)
    more = replace(config, steps=9, num_workers=0, save_every=2, eval_every=3, keep_checkpoints=1, logger="wandb", compile=True)
    more = replace(more, activation_checkpointing=True, collective_timeout_hours=1.0)
    with pytest.raises(InputError), open_run_folder(more, dict, ALONE, resume=True):
        raise InputError("no GPU", hint="Buy one.")
    assert load_run_config(out / CONFIG, RunConfig) == config
    begin(more, resume=True)
    assert load_run_config(out / CONFIG, RunConfig) == more


def test_a_run_is_gone_on_with_only_where_that_was_asked_for(config: RunConfig) -> None:
    begin(config)
    with pytest.raises(OutputConflict, match=r"is a run already.*--resume"):
        begin(config)


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else_is_refused_and_left_alone(resume: bool, config: RunConfig) -> None:
    out = Path(config.out)
    out.mkdir()
    (out / "thesis.txt").write_text("All of it.")
    with pytest.raises(OutputConflict, match="exists and is not a run"):
        begin(config, resume=resume)
    assert tree(out) == {"thesis.txt": b"All of it."}


def test_a_run_of_another_format_is_refused(config: RunConfig) -> None:
    out = begin(config)
    (out / CONFIG).write_text((out / CONFIG).read_text().replace("thoracle.training/2", "thoracle.training/1"))
    with pytest.raises(InputError, match=r"is not of format thoracle\.training/2"):
        begin(config, resume=True)


def test_what_cannot_be_made_leaves_no_folder(config: RunConfig) -> None:
    def files() -> Mapping[str, bytes]:
        raise InputError("no words", hint="Give some.")

    with pytest.raises(InputError, match="no words"):
        begin(config, files=files)
    assert not Path(config.out).exists()


@pytest.mark.parametrize("raised", [InputError("no GPU", hint="Buy one."), KeyboardInterrupt()])
def test_a_start_that_fails_leaves_no_folder_and_can_be_begun_again(raised: BaseException, config: RunConfig) -> None:
    def start() -> None:
        with open_run_folder(config, lambda: {"tokenizer/vocab.txt": b"nodule\n"}, ALONE, resume=False) as folder:
            assert (folder / "tokenizer" / "vocab.txt").read_bytes() == b"nodule\n"
            raise raised

    with pytest.raises(type(raised)):
        start()
    assert list(Path(config.out).parent.iterdir()) == []
    begin(replace(config, batch_size=2))


def test_a_resumed_start_that_fails_leaves_the_run(config: RunConfig) -> None:
    before = tree(begin(config))
    with pytest.raises(InputError), open_run_folder(config, dict, ALONE, resume=True):
        raise InputError("no GPU", hint="Buy one.")
    assert tree(Path(config.out)) == before


def test_what_a_killed_process_had_begun_does_not_join_the_run(config: RunConfig) -> None:
    """It was killed between a file and the rename; the next one has other files."""
    killed = Path(config.out).with_name(".run.tmp") / "tokenizer"
    killed.mkdir(parents=True)
    (killed / "merges.txt").write_text("of another tokenizer")
    out = begin(config, files=lambda: {"tokenizer/vocab.txt": b"nodule\n"})
    assert sorted(tree(out)) == [CONFIG, "tokenizer/vocab.txt"]


def test_resuming_takes_away_what_a_killed_process_left_of_checkpoints(config: RunConfig) -> None:
    folder = begin(config) / CHECKPOINTS
    save_checkpoint(folder, {"step": 1}, step=1, score=None, keep_last=1)
    for name in (".step-00000002.0a1b2c3d.tmp", ".step-00000000.0a1b2c3d.gone"):
        (folder / name).mkdir()
        (folder / name / "state.pt").write_bytes(b"PK")
    begin(config, resume=True)
    assert [path.name for path in folder.iterdir()] == ["step-00000001"]
    assert checkpoints(folder)[0].load() == {"step": 1}
