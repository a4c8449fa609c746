"""A run's folder: begun, opened again, or refused; knows no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from thoracle.errors import InputError, OutputConflict
from thoracle.models.files import put_folder
from thoracle.models.folder import PROMPTS, open_model
from thoracle.models.tokenizer import Tokenizer
from thoracle.training.checkpoints import clean
from thoracle.training.config import ContrastiveConfig, differences, read_config, write_config
from thoracle.training.distributed import World
from thoracle.types import ABNORMALITIES

CONFIG: Final = "config.yaml"
TOKENIZER: Final = "tokenizer"
CHECKPOINTS: Final = "checkpoints"
FAILURES: Final = "failures"
MODEL: Final = "model"


def prepare_folder(config: ContrastiveConfig, words: Callable[[], Sequence[str]], world: World, *, resume: bool) -> Tokenizer:
    """Make the run's folder, whole or not at all, or check the one that is there; gives the run's tokenizer. Every rank must ask.

    `words` gives the texts of whose words a vocabulary is made, if the configuration names none.

    Raises:
        OutputConflict: the folder exists, and `resume` was not asked for.
        InputError: it is of another configuration.
        TokenizerMissing: `tokenizer` or `start` holds none.
    """
    out = Path(config.out)
    there = world.objects(out.exists() and any(out.iterdir()))[0]  # rank 0 will make it at any moment
    if there:
        if not (out / CONFIG).is_file():
            raise OutputConflict("exists and is not a run", cure="Choose another --out.", source=out)
        if not resume:
            raise OutputConflict("is a run already", cure="Go on with --resume, or choose another --out.", source=out)
        unlike = differences(read_config(out / CONFIG), config)
        if unlike:
            raise InputError(f"the run was begun with another {', '.join(unlike)}", cure="Give its own config.yaml.", source=out)
        if world.rank == 0:
            clean(out / CHECKPOINTS)
    elif world.rank == 0:
        _begin(out, config, _tokenizer(config, words))
    world.wait()
    return Tokenizer.from_folder(out / TOKENIZER)


def _begin(out: Path, config: ContrastiveConfig, tokenizer: Tokenizer) -> None:
    temporary = out.with_name(f".{out.name}.tmp")
    (temporary / TOKENIZER).mkdir(parents=True, exist_ok=True)
    write_config(config, temporary / CONFIG)
    for name, content in tokenizer.files.items():
        (temporary / TOKENIZER / name).write_bytes(content)
    put_folder(temporary, out)


def _tokenizer(config: ContrastiveConfig, words: Callable[[], Sequence[str]]) -> Tokenizer:
    if config.tokenizer:
        return Tokenizer.from_folder(Path(config.tokenizer))
    if config.start:
        return open_model(Path(config.start)).tokenizer()
    prompts = [template.replace("{abnormality}", name) for name in ABNORMALITIES for template in PROMPTS]
    return Tokenizer.from_words([*words(), *prompts])
