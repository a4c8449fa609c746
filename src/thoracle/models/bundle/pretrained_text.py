"""Load a pretrained text encoder from any layout it comes in: a report classifier, a folder of the hub, an open_clip file, a file alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from thoracle.config_reader import config_from_mapping
from thoracle.errors import CheckpointIncomplete, CheckpointUnknown, InputError
from thoracle.files.json_file import read_json_object
from thoracle.models.bundle.import_published import DROPPED
from thoracle.models.bundle.model_folder import CONFIG, is_model_json, load_state_dict, open_model
from thoracle.models.common.shapes import module_shapes
from thoracle.models.common.tensor_names import summarize_names, without_wrappers
from thoracle.models.text.config import TextConfig
from thoracle.models.text.encoder import BertEncoder
from thoracle.models.text.spec import TEXT_CLASSIFIER, checked_bert_settings, infer_text
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.models.weights.shards import WEIGHTS, find_weights, read_weights

#: A CLIP of open_clip, such as BiomedCLIP: its text tower is a BERT, whose sizes are those of the tensors.
_OPEN_CLIP: Final = "open_clip_pytorch_model.bin"
_ROBERTA: Final = ("roberta", "xlm-roberta", "camembert")
_POOLER: Final = "pooler."
_PARTS: Final = ("embeddings.", "encoder.", _POOLER)
#: Ends the name of one tensor of every BERT and RoBERTa; what stands before it stands before all of the encoder's.
_WORDS: Final = "embeddings.word_embeddings.weight"
#: Names of LayerNorm's tensors in files of BERT's first years.
_OLD_NAMES: Final = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))


@dataclass(frozen=True, kw_only=True, eq=False)
class PretrainedText:
    """Hold a pretrained text encoder.

    Attributes:
        source: where it was loaded from.
        weights: of `BertEncoder`, by its names; without a pooler where the file has none, as language models'.
        sizes: None for a file alone, which does not say how many heads it has.
        tokenizer: None for a file alone.
        head: weights of a report classifier beside its encoder, by the classifier's names.
        caution, licence, citations: of the model folder it came from; empty where it came from none.
        prefix: what stood before the encoder's names in its file.
        unused: number of the file's other tensors, of heads and other encoders.
    """

    source: Path
    weights: Mapping[str, Tensor]
    sizes: TextConfig | None = None
    tokenizer: Tokenizer | None = None
    head: Mapping[str, Tensor] = field(default_factory=dict)
    caution: str = ""
    licence: str = ""
    citations: tuple[str, ...] = ()
    prefix: str = ""
    unused: int = 0

    @property
    def summary(self) -> str:
        """Say in a sentence what of the file is the encoder."""
        names = f"names behind {self.prefix!r}" if self.prefix else "names as they are"
        pooler = "" if any(name.startswith(_POOLER) for name in self.weights) else ", no pooler (it stays random, and CT-CLIP reads none)"
        return f"Text encoder of {self.source}: {len(self.weights)} tensors, {names}; {self.unused} others are not its{pooler}."

    def described(self) -> tuple[TextConfig, Tokenizer]:
        """Return sizes and tokenizer.

        Raises:
            InputError: it is a file alone, which has neither.
        """
        if self.sizes is None or self.tokenizer is None:
            hint = "Give the folder with its config.json and its tokenizer."
            raise InputError("is a file of weights alone, without sizes and words", hint=hint, source=self.source)
        return self.sizes, self.tokenizer


def load_pretrained_text(path: Path) -> PretrainedText:
    """Load a text encoder.

    Args:
        path: the model folder of a report classifier; a folder with `config.json`, weights (one file, or several and their index) and
            tokenizer as the hub has it; a folder with the CLIP of open_clip; or a file of weights, or an index, alone.

    Raises:
        InputError: it is none of these.
        ModelError: it is damaged, incomplete or lacks its tokenizer.
    """
    if path.is_file():
        return _read_encoder(path)
    if (path / _OPEN_CLIP).is_file():
        return _load_hub_folder(path, {}, path / _OPEN_CLIP)
    values = _read_description(path)
    if is_model_json(values):
        return _load_classifier(path)
    file = find_weights(path)
    if file is None:
        raise InputError(f"holds neither {' nor '.join(WEIGHTS)}", hint="Give a folder with the encoder's weights.", source=path)
    return _load_hub_folder(path, values, file)


def initialize_text(encoder: BertEncoder, pretrained: PretrainedText, *, config: TextConfig) -> None:
    """Copy pretrained weights into an encoder of `config`; a pooler that they lack stays random.

    Raises:
        InputError: the weights count positions in another way than `config`.
        CheckpointIncomplete: they are of other sizes.
    """
    if pretrained.sizes is not None and pretrained.sizes.position_scheme != config.position_scheme:
        detail = f"counts positions as {pretrained.sizes.position_scheme}, the configuration as {config.position_scheme}"
        raise InputError(detail, hint="Correct model.bert.position_scheme.", source=pretrained.source)
    state = encoder.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    encoder.load_state_dict({**state, **_matching(pretrained.weights, shapes, source=pretrained.source)})


def _load_classifier(path: Path) -> PretrainedText:
    folder = open_model(path)
    if folder.spec is not TEXT_CLASSIFIER:
        raise InputError("is no report classifier", hint="Give one, or a pretrained text encoder.", source=path)
    tensors = load_state_dict(folder)
    weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    head = {name: tensor for name, tensor in tensors.items() if not name.startswith("model.")}
    return PretrainedText(
        source=path,
        weights=weights,
        sizes=folder.config,
        tokenizer=folder.tokenizer(),
        head=head,
        caution=folder.disclaimer,
        licence=folder.licence,
        citations=folder.citations,
    )


def _load_hub_folder(path: Path, values: Mapping[str, Any], file: Path) -> PretrainedText:
    encoder = _read_encoder(file)
    positions = "roberta" if values.get("model_type") in _ROBERTA else "bert"
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.weights.items()}
    sizes = config_from_mapping(TextConfig, infer_text(shapes, "", checked_bert_settings(values), [], positions=positions), source="bert")
    weights = _matching(encoder.weights, module_shapes(BertEncoder, sizes), source=file)
    unused = encoder.unused + len(encoder.weights) - len(weights)
    return replace(encoder, source=path, weights=weights, sizes=sizes, tokenizer=Tokenizer.from_folder(path), unused=unused)


def _matching(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], *, source: Path) -> dict[str, Tensor]:
    """Select an encoder's tensors; only the pooler, which language models never train, may be missing."""
    weights = {name: tensors[name] for name, shape in shapes.items() if name in tensors and tuple(tensors[name].shape) == shape}
    missing = sorted(name for name in shapes if name not in weights and not name.startswith(_POOLER))
    if missing:
        detail = f"lacks {', '.join(missing[:3])} in the sizes of the text encoder"[:300]
        raise CheckpointIncomplete(detail, hint="Give a BERT's or RoBERTa's own files, of these sizes.", source=source)
    return weights


def _read_encoder(file: Path) -> PretrainedText:
    """Find the encoder in a file: the only names that go on as a BERT's do."""
    tensors = {_modern_name(name): tensor for name, tensor in read_weights(file).items()}
    prefixes = [name.removesuffix(_WORDS) for name in tensors if name.endswith(_WORDS)]
    if len(prefixes) != 1:
        detail = f"holds {len(prefixes)} text encoders of BERT's names ({summarize_names(prefixes or list(tensors))})"
        raise CheckpointUnknown(detail, hint="Give a BERT's or RoBERTa's own files, or those of a model with one of them.", source=file)
    inside = {name.removeprefix(prefixes[0]): tensor for name, tensor in tensors.items() if name.startswith(prefixes[0])}
    weights = {name: tensor for name, tensor in inside.items() if name.startswith(_PARTS) and not DROPPED.search(name)}
    return PretrainedText(source=file, weights=weights, prefix=prefixes[0], unused=len(tensors) - len(weights))


def _modern_name(name: str) -> str:
    name = without_wrappers(name)
    for old, new in _OLD_NAMES:
        name = name.replace(old, new)
    return name


def _read_description(folder: Path) -> dict[str, Any]:
    return read_json_object(
        folder / CONFIG,
        parse=dict,
        refusal=InputError,
        detail=f"holds no {CONFIG} that can be read",
        hint="Give a model folder, or one as the hub has it.",
        source=folder,
    )
