"""What runs on texts begin with: a random network, a report classifier, or a pretrained encoder as the hub has it; trains nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from thoracle.errors import CheckpointIncomplete, InputError
from thoracle.models.checkpoint import read_checkpoint
from thoracle.models.folder import CONFIG, FORMAT, load_tensors, open_model
from thoracle.models.sizes import infer
from thoracle.models.text_classifier import TextClassifier
from thoracle.models.text_config import TextConfig
from thoracle.models.tokenizer import Tokenizer
from thoracle.training.labeler import LabelerConfig
from thoracle.types import ABNORMALITIES

#: What the hub's files call the encoder, beside the heads it was pretrained with.
_PREFIXES: Final = ("bert.", "roberta.", "model.", "text.transformer.")
_WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin")
#: A CLIP of open_clip, such as BiomedCLIP: its text tower is a BERT, whose sizes are those of the tensors.
_OPEN_CLIP: Final = "open_clip_pytorch_model.bin"
_ENCODER: Final = "model."
_POOLER: Final = "model.pooler."
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Beginning:
    """The network of a run before its first step: sizes, words, and the weights that are not random."""

    sizes: TextConfig
    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    caution: str = ""

    def network(self) -> TextClassifier:
        """Of a labeler. Weights that were not given are random, by torch's generator."""
        network = TextClassifier(self.sizes, n_labels=len(ABNORMALITIES))
        network.load_state_dict({**network.state_dict(), **self.weights})
        return network

    def encoder(self) -> dict[str, Tensor]:
        """The weights of the text encoder alone, by its own names."""
        return {name.removeprefix(_ENCODER): tensor for name, tensor in self.weights.items() if name.startswith(_ENCODER)}


def begin(config: LabelerConfig, words: Callable[[], Sequence[str]]) -> Beginning:
    """As the configuration says.

    Args:
        config: of the run.
        words: gives the texts of whose words a vocabulary is made, where nothing else has one.

    Raises:
        InputError: `start` is neither, or the vocabulary is larger than `model`.
        ModelError: it is damaged, incomplete or lacks its tokenizer.
    """
    if not config.start:
        tokenizer = Tokenizer.from_words(words())
        if tokenizer.vocab_size > config.model.vocab_size:
            fact = f"the reports have {tokenizer.vocab_size} words and letters, the model's vocab_size is {config.model.vocab_size}"
            raise InputError(fact, cure="Raise model.vocab_size.", source="config")
        return Beginning(sizes=config.model, tokenizer=tokenizer, weights={})
    return read_encoder(Path(config.start))


def read_encoder(folder: Path) -> Beginning:
    """A report classifier's, a pretrained text encoder as the hub has it, or the text tower of an open_clip file.

    Raises:
        InputError: it is none of these.
        ModelError: it is damaged, incomplete or lacks its tokenizer.
    """
    if (folder / _OPEN_CLIP).is_file():
        return _pretrained(folder, {}, folder / _OPEN_CLIP)
    values = _described(folder)
    if values.get("format") == FORMAT:
        return _classifier(folder)
    file = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise InputError(f"holds neither {' nor '.join(_WEIGHTS)}", cure="Give a folder with the encoder's weights.", source=folder)
    return _pretrained(folder, values, file)


def _classifier(path: Path) -> Beginning:
    folder = open_model(path)
    if not isinstance(folder.config, TextConfig):
        raise InputError("is no report classifier", cure="Give one, or a pretrained text encoder.", source=path)
    return Beginning(sizes=folder.config, tokenizer=folder.tokenizer(), weights=load_tensors(folder), caution=folder.caution)


def _pretrained(folder: Path, values: dict[str, Any], file: Path) -> Beginning:
    found = {_ENCODER + _bare(name): tensor for name, tensor in read_checkpoint(file).items()}
    positions = "roberta" if values.get("model_type") in ("roberta", "xlm-roberta", "camembert") else "bert"
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    sizes, _, _ = infer("text-classifier", shapes, {**values, "positions": positions})
    assert isinstance(sizes, TextConfig)
    wanted = {name: tensor for name, tensor in Beginning.network(_random(sizes)).state_dict().items() if name.startswith(_ENCODER)}
    # A language model's files have no pooler, which it never trained: here it is trained with the labels.
    weights = {name: found[name] for name, like in wanted.items() if name in found and found[name].shape == like.shape}
    lost = sorted(name for name in wanted if name not in weights and not name.startswith(_POOLER))
    if lost:
        raise CheckpointIncomplete(f"lacks {', '.join(lost[:3])}"[:300], cure="Give a BERT's or RoBERTa's own files.", source=file)
    return Beginning(sizes=sizes, tokenizer=Tokenizer.from_folder(folder), weights=weights)


def _random(sizes: TextConfig) -> Beginning:
    return Beginning(sizes=sizes, tokenizer=Tokenizer.from_words([]), weights={})


def _described(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        values = json.loads(path.read_bytes()) if path.stat().st_size <= _MOST_BYTES else None
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"holds no {CONFIG} that can be read", cure="Give a model folder, or one as the hub has it.", source=folder)
    return values


def _bare(name: str) -> str:
    prefix = next((one for one in _PREFIXES if name.startswith(one)), "")
    return name.removeprefix(prefix)
