"""LoRA adapters of a causal language model (Hu et al., arXiv:2106.09685): new ones, and those of folders with words trained beside them."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from thoracle.errors import CapabilityMissing, CheckpointIncomplete, ExtraMissing, InputError
from thoracle.models.chat.causal_model import linear_maps
from thoracle.models.weights.checkpoint import read_checkpoint

ADAPTER_CONFIG: Final = "adapter_config.json"
#: What published training leaves beside an adapter: the projector, and words where it trained them.
TRAINED_BESIDE: Final = "non_lora_trainables.bin"
EXTRA: Final = "Install it with `pip install 'thoracle[chat]'`."
_ADAPTER_WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterFiles:
    """Hold what lies in an adapter's folder.

    Attributes:
        folder: of the adapter.
        weights: of the adapter's own file.
        beside: what published training leaves beside it.
    """

    folder: Path
    weights: Mapping[str, Tensor]
    beside: Mapping[str, Tensor]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Return all of them, by name."""
        return {**self.beside, **self.weights}


def read_adapter(folder: Path) -> AdapterFiles:
    """Read an adapter's folder, once.

    Raises:
        InputError: it holds no LoRA adapter.
        ModelError: damaged or unsafe.
    """
    file = next((folder / name for name in _ADAPTER_WEIGHTS if (folder / name).is_file()), None)
    if file is None or not (folder / ADAPTER_CONFIG).is_file():
        raise InputError(f"holds no LoRA adapter ({ADAPTER_CONFIG} with {_ADAPTER_WEIGHTS[0]})", hint="Give its folder.", source=folder)
    beside = read_checkpoint(folder / TRAINED_BESIDE) if (folder / TRAINED_BESIDE).is_file() else {}
    return AdapterFiles(folder=folder, weights=read_checkpoint(file), beside=beside)


def load_lora_adapter(model: Any, adapter: AdapterFiles, *, words: int | None = None) -> Any:
    """Return the model with a LoRA adapter's weights, and the words' embeddings where these were trained with it, frozen.

    Args:
        model: the base model.
        adapter: as `read_adapter` gives it.
        words: of the tokenizer that is used.

    Raises:
        CheckpointIncomplete: of another model.
    """
    peft = _peft()
    _load_words(model, adapter.tensors, words=words, source=adapter.folder)
    tensors = {name: tensor for name, tensor in adapter.weights.items() if not any(name.endswith(word) for word in word_names(model))}
    try:
        config = peft.LoraConfig.from_pretrained(str(adapter.folder))
        config.inference_mode, config.base_model_name_or_path, config.modules_to_save = True, model.name_or_path, None
        model = _with_peft(model, config)
        loaded = peft.set_peft_model_state_dict(model, tensors)
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        detail = f"is not an adapter of this language model ({' '.join(str(error).split())[:200]})"
        raise CheckpointIncomplete(detail, hint="Give the base model that it was trained on.", source=adapter.folder) from error
    missing = [name for name in loaded.missing_keys if "lora_" in name]
    if loaded.unexpected_keys or missing:
        detail = f"has {len(loaded.unexpected_keys)} tensors that this language model has not, and lacks {len(missing)}"
        raise CheckpointIncomplete(detail, hint="Give the base model that it was trained on.", source=adapter.folder)
    return model


def word_names(model: Any) -> dict[str, Tensor]:
    """Name the weights of words' embeddings, going in and coming out."""
    ends = {id(module) for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module is not None}
    return {f"{name}.weight": module.weight for name, module in model.named_modules() if id(module) in ends}


@torch.no_grad()
def _load_words(model: Any, tensors: Mapping[str, Tensor], *, words: int | None, source: Path) -> None:
    """Copy the words' embeddings that were trained with an adapter, of as many words as its tokenizer has."""
    names = word_names(model)
    trained = {name: tensor for name in names for key, tensor in tensors.items() if key == name or key.endswith(f".{name}")}
    if not trained:
        return
    count = {len(tensor) for tensor in trained.values()}
    if len(count) != 1 or any(tensor.shape[1:] != names[name].shape[1:] for name, tensor in trained.items()):
        detail = f"holds words' embeddings of {', '.join(str(tuple(tensor.shape)) for tensor in trained.values())}"
        raise CheckpointIncomplete(detail, hint="Give the base model that it was trained on.", source=source)
    (rows,) = count
    if rows != (before := len(model.get_input_embeddings().weight)):
        if words is None or words > rows or (words <= before < rows):
            detail = f"holds embeddings of {rows:,} words, and the tokenizer knows {words or 0:,}"
            raise CheckpointIncomplete(detail, hint="Put the tokenizer's files that it was trained with into its folder.", source=source)
        model.resize_token_embeddings(rows, mean_resizing=False)
        if len(trained) < len(word_names(model)) and not model.config.tie_word_embeddings:
            detail = f"holds added words in {', '.join(trained)} alone"
            raise CheckpointIncomplete(detail, hint="Give the folder as it was published.", source=source)
    for name, tensor in trained.items():
        word_names(model)[name].copy_(tensor)
    _log.info("words' embeddings were trained with the adapter: %s", ", ".join(trained))


def add_lora_adapter(model: Any, *, rank: int, alpha: int, dropout: float = 0.0, targets: Sequence[str] = ()) -> Any:
    """Add a LoRA adapter (Hu et al., arXiv:2106.09685) that changes nothing yet, and is trainable.

    Args:
        model: the base model.
        rank, alpha: of the adapter.
        dropout: share of what an adapted map reads that its adapter does not see in a training step.
        targets: linear maps, or weights of experts, by the ends of their names; none for all linear maps but the head and experts.

    Raises:
        CapabilityMissing: a target is named that the model has not, or that peft adapts in no model of the family.
    """
    peft = _peft()
    maps = linear_maps(model)
    weights = [name for name, parameter in model.named_parameters() if name not in maps and parameter.ndim > 1]
    chosen: list[str] = []
    parameters: list[str] = []
    for target in targets:
        if any(_ends(name, target) for name in maps):
            chosen.append(target)
        elif any(_ends(name, target) for name in weights):
            parameters.append(target)
        else:
            ends = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in maps}))
            raise CapabilityMissing(f"the language model has no {target}", hint=f"Its linear maps are {ends}: name these as `targets`.")
    if not targets:
        whole = any(".experts." in name for name in weights)  # peft takes the short names of experts' weights too
        chosen = _short_names([name for name, expert in maps.items() if not expert], () if whole else [n for n, _ in model.named_modules()])
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=chosen,
        target_parameters=parameters or None,
        task_type="CAUSAL_LM",
    )
    try:
        return _with_peft(model, config)
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        detail = f"LoRA does not begin on language models of the family {model.config.model_type} ({' '.join(str(error).split())[:160]})"
        raise CapabilityMissing(detail, hint="Name other linear maps as `targets`, or train the projector alone.") from error


def describe_adapter(model: Any) -> str:
    """Say which linear maps an adapter adapts, and how many: "LoRA adapts 4 linear maps: 2 q_proj, 2 v_proj"."""
    names = [name for name, module in model.named_modules() if hasattr(module, "lora_A")]
    count = Counter(next(part for part in reversed(name.split(".")) if not part.isdigit()) for name in names)
    listed = ", ".join(f"{number} {name}" for name, number in sorted(count.items()))
    return f"LoRA adapts {len(names)} linear maps: {listed}"


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _short_names(chosen: Sequence[str], modules: Sequence[str]) -> list[str]:
    """The last parts of names, where no module is so called that is not meant; whole names where the modules are not known."""
    ends = {name.rsplit(".", 1)[-1] for name in chosen}
    other = {name.rsplit(".", 1)[-1] for name in modules if name not in set(chosen)}
    return sorted(ends if modules and not ends & other else chosen)


def _with_peft(model: Any, config: Any) -> Any:
    """Adapt what is named. Whole names are taken as they are: peft takes a shared expert's for those of experts in older files."""
    exact = set(config.target_modules or ()) <= {name for name, _ in model.named_modules() if "." in name}
    family = model.config.model_type
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what peft and transformers say to each other of names that change
        try:
            if exact:
                model.config.model_type = f"{family}, names as they are"
            return _peft().get_peft_model(model, config)
        finally:
            if exact:
                del model.config.model_type


def _peft() -> Any:
    try:
        return import_module("peft")
    except ImportError as error:
        raise ExtraMissing("peft is not installed", hint=EXTRA) from error
