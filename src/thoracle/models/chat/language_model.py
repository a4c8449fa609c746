"""A causal language model of `transformers` with a projector before it: words and scans in, logits out.

Folders are read from the disk alone: no hub, no code of a model's repository, tensors from safetensors or `weights_only` pickles.

Shapes: B rows, N ids of a row, I scans of all rows in their order, Q rows that stand for a scan, H width, V words.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from thoracle.errors import CapabilityMissing, CheckpointIncomplete, ExtraMissing, InputError, ModelFolderInvalid
from thoracle.models.chat.causal_model import CausalModel, linear_maps, text_config
from thoracle.models.chat.prompt import IMAGE_TOKEN_INDEX
from thoracle.models.ctchat.projector import ANSWER_WORDS, Projector, embed_findings
from thoracle.models.weights.checkpoint import read_checkpoint

ADAPTER_CONFIG: Final = "adapter_config.json"
#: What published training leaves beside an adapter: the projector, and words where it trained them.
TRAINED_BESIDE: Final = "non_lora_trainables.bin"
_ADAPTER_WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin")
_DTYPES: Final = {"float32": torch.float32, "bf16": torch.bfloat16}
_EXTRA: Final = "Install it with `pip install 'thoracle[chat]'`."
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """Hold a base model, adapted or not, with its tokenizer."""

    model: Any
    tokenizer: Any

    @property
    def hidden(self) -> int:
        """Return H."""
        return int(self.model.get_input_embeddings().embedding_dim)

    @property
    def context(self) -> int:
        """Return the most ids of a conversation."""
        return CausalModel(self.model).context


def load_language_model(
    base: Path, *, adapter: Path | None = None, device: torch.device | str = "cpu", dtype: str = "float32"
) -> LanguageModel:
    """Load a base model's folder, with the LoRA adapter of another. Of a model that reads images too, the language part is read.

    Raises:
        InputError: no such folder.
        ExtraMissing: transformers or peft are not installed.
        CapabilityMissing: a model whose language part is no causal model by itself.
        ModelFolderInvalid, CheckpointIncomplete: no causal language model, damaged, or an adapter of another model.
    """
    transformers = _transformers()
    if not (base / "config.json").is_file():
        raise InputError("holds no language model (no config.json)", hint="Give the folder of a causal model of transformers.", source=base)
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=_DTYPES[dtype], **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(base, **options)
        if adapter is not None and (adapter / "tokenizer_config.json").is_file():
            template = tokenizer.chat_template
            tokenizer = transformers.AutoTokenizer.from_pretrained(adapter, **options)
            tokenizer.chat_template = tokenizer.chat_template or template
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        detail = f"is no causal language model that transformers opens ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
        raise ModelFolderInvalid(detail, hint="Copy or download the folder again.", source=base) from error
    model = _language_part(model, transformers, source=base)
    model.requires_grad_(False)
    if adapter is not None:
        model = load_lora_adapter(model, adapter, words=len(tokenizer))
    return LanguageModel(model=model.eval().to(device), tokenizer=tokenizer)


def _language_part(model: Any, transformers: Any, *, source: Path) -> Any:
    """The causal model around the decoder of a model that reads images too, which stay unread; another model as it is."""
    config = text_config(model.config)
    if config is model.config:
        return model
    with torch.device("meta"):
        causal = transformers.AutoModelForCausalLM.from_config(config)
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    if type(decoder) is not type(causal.base_model) or head is None:
        detail = f"is of the family {model.config.model_type}, whose language part is no causal model by itself"
        raise CapabilityMissing(detail, hint="Give a language model without images.", source=source)
    setattr(causal, causal.base_model_prefix, decoder)
    causal.set_output_embeddings(head)
    causal.generation_config, causal.name_or_path = model.generation_config, model.name_or_path
    return causal


def load_lora_adapter(model: Any, adapter: Path, *, words: int | None = None) -> Any:
    """Return the model with a LoRA adapter's weights, and the words' embeddings where these were trained with it, frozen.

    Args:
        model: the base model.
        adapter: folder of the adapter.
        words: of the tokenizer that is used.

    Raises:
        InputError, ModelFolderInvalid, CheckpointIncomplete: as `load_language_model`.
    """
    peft = _peft()
    file = next((adapter / name for name in _ADAPTER_WEIGHTS if (adapter / name).is_file()), None)
    if file is None or not (adapter / ADAPTER_CONFIG).is_file():
        raise InputError(f"holds no LoRA adapter ({ADAPTER_CONFIG} with {_ADAPTER_WEIGHTS[0]})", hint="Give its folder.", source=adapter)
    tensors = dict(read_checkpoint(file))
    beside = read_checkpoint(adapter / TRAINED_BESIDE) if (adapter / TRAINED_BESIDE).is_file() else {}
    _load_words(model, {**beside, **tensors}, words=words, source=adapter)
    tensors = {name: tensor for name, tensor in tensors.items() if not any(name.endswith(word) for word in _word_names(model))}
    try:
        config = peft.LoraConfig.from_pretrained(str(adapter))
        config.inference_mode, config.base_model_name_or_path, config.modules_to_save = True, model.name_or_path, None
        model = _with_peft(model, config)
        loaded = peft.set_peft_model_state_dict(model, tensors)
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        detail = f"is not an adapter of this language model ({' '.join(str(error).split())[:200]})"
        raise CheckpointIncomplete(detail, hint="Give the base model that it was trained on.", source=adapter) from error
    missing = [name for name in loaded.missing_keys if "lora_" in name]
    if loaded.unexpected_keys or missing:
        detail = f"has {len(loaded.unexpected_keys)} tensors that this language model has not, and lacks {len(missing)}"
        raise CheckpointIncomplete(detail, hint="Give the base model that it was trained on.", source=adapter)
    return model


def _word_names(model: Any) -> dict[str, Tensor]:
    """The weights of words' embeddings, going in and coming out, by name."""
    ends = {id(module) for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module is not None}
    return {f"{name}.weight": module.weight for name, module in model.named_modules() if id(module) in ends}


@torch.no_grad()
def _load_words(model: Any, tensors: Mapping[str, Tensor], *, words: int | None, source: Path) -> None:
    """Copy the words' embeddings that were trained with an adapter, of as many words as its tokenizer has."""
    names = _word_names(model)
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
        if len(trained) < len(_word_names(model)) and not model.config.tie_word_embeddings:
            detail = f"holds added words in {', '.join(trained)} alone"
            raise CheckpointIncomplete(detail, hint="Give the folder as it was published.", source=source)
    for name, tensor in trained.items():
        _word_names(model)[name].copy_(tensor)
    _log.info("words' embeddings were trained with the adapter: %s", ", ".join(trained))


def add_lora_adapter(model: Any, *, rank: int, alpha: int, targets: Sequence[str] = ()) -> Any:
    """Add a LoRA adapter (Hu et al., arXiv:2106.09685) that changes nothing yet, and is trainable.

    Args:
        model: the base model.
        rank, alpha: of the adapter.
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
        r=rank, lora_alpha=alpha, target_modules=chosen, target_parameters=parameters or None, task_type="CAUSAL_LM", lora_dropout=0.0
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


def fingerprint(base: Path) -> str:
    """Hash a base model's configuration and the names and sizes of its weights: 16 GB are not read for it."""
    digest = hashlib.sha256((base / "config.json").read_bytes())
    for path in sorted(base.glob("*.safetensors")) or sorted(base.glob("*.bin")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


class GroundTruthFindingTokens(nn.Module):
    """Embed ground-truth findings in the language model's current word embeddings, in place of a projector; has no weights.

    Args:
        language: whose words they are.
        names: of the findings.
    """

    def __init__(self, language: LanguageModel, names: Sequence[str]) -> None:
        super().__init__()
        self.hidden = language.hidden
        self._words = (language.model.get_input_embeddings(),)  # in a tuple: they are the language model's
        self._names, self._said = (
            [language.tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
            for words in ([f" {name.lower()}" for name in names], ANSWER_WORDS)
        )

    def forward(self, told_IKA: Tensor) -> Tensor:
        """Return (I, K, H); an unknown finding (NaN) counts half."""
        return embed_findings(told_IKA.nan_to_num(0.5), *self.words())

    def words(self) -> tuple[Tensor, Tensor]:
        """Embed the names (K, H) and `ANSWER_WORDS` (S, H), as means over their ids."""
        (embedding,) = self._words
        device = embedding.weight.device
        name_KH, said_SH = (
            torch.stack([embedding(torch.tensor(ids, device=device)).mean(dim=0) for ids in many]) for many in (self._names, self._said)
        )
        return name_KH, said_SH


class ChatModel(nn.Module):
    """Put a projector before a language model.

    Raises:
        CheckpointIncomplete: the projector is of another width.
    """

    def __init__(self, language: Any, projector: Projector | GroundTruthFindingTokens) -> None:
        super().__init__()
        width = language.get_input_embeddings().embedding_dim
        if projector.hidden != width:
            detail = f"the projector gives rows of {projector.hidden}, the language model reads {width}"
            raise CheckpointIncomplete(detail, hint="Give the base model that the projector was trained for.")
        self.language, self.projector = language, projector
        self._causal = CausalModel(language)

    def embed(self, ids_BN: Tensor, tokens_ITHWC: Tensor | None) -> Tensor:
        """Return (B, N, H): embeddings of ids, and the scans' tokens where ids are `IMAGE_TOKEN_INDEX`, in order."""
        words_BNH = cast(Tensor, self.language.get_input_embeddings()(ids_BN.clamp(min=0)))
        if tokens_ITHWC is None:
            return words_BNH
        rows_IQH = self.projector(tokens_ITHWC).to(words_BNH.dtype)
        return words_BNH.masked_scatter((ids_BN == IMAGE_TOKEN_INDEX)[..., None], rows_IQH)

    def forward(
        self,
        ids_BN: Tensor,
        tokens_ITHWC: Tensor | None,
        scored_BN: Tensor,
        *,
        mask_B1NN: Tensor | None = None,
        positions_BN: Tensor | None = None,
    ) -> Tensor:
        """Return (S, V) logits at the S positions that `scored_BN` marks; those that no row marks are not computed.

        Args:
            ids_BN, tokens_ITHWC: as in `embed`.
            scored_BN: bool.
            mask_B1NN: bool, which id sees which; None where each row is one conversation, padded at its end.
            positions_BN: of each id in its own conversation; None as above.
        """
        embedded_BNH = self.embed(ids_BN, tokens_ITHWC)
        packed: dict[str, Any] = {}
        if mask_B1NN is not None and positions_BN is not None:
            packed = {"attention_mask": self._causal.masks(mask_B1NN, positions_BN, embedded_BNH.dtype), "position_ids": positions_BN}
        kept_K = scored_BN.any(dim=0).nonzero().flatten()
        logits_BKV = self._causal.logits(ids_BN, embedded_BNH, keep=kept_K, **packed)
        return logits_BKV[scored_BN[:, kept_K]]


def _transformers() -> Any:
    try:
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise ExtraMissing("transformers is not installed", hint=_EXTRA) from error
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _peft() -> Any:
    try:
        return import_module("peft")
    except ImportError as error:
        raise ExtraMissing("peft is not installed", hint=_EXTRA) from error
