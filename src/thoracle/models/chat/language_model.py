"""A causal language model of `transformers` with a projector before it: words and scans in, logits out.

Folders are read from the disk alone: no hub, no code of a model's repository, tensors from safetensors or `weights_only` pickles.

Shapes: B rows, N ids of a row, I scans of all rows in their order, Q rows that stand for a scan, H width, V words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from thoracle.errors import CapabilityMissing, CheckpointIncomplete, ExtraMissing, InputError, ModelFolderInvalid
from thoracle.models.chat.prompt import IMAGE_TOKEN_INDEX
from thoracle.models.ctchat.projector import ANSWER_WORDS, Projector, embed_findings
from thoracle.models.weights.checkpoint import read_checkpoint

ADAPTER_CONFIG: Final = "adapter_config.json"
_ADAPTER_WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin")
_DTYPES: Final = {"float32": torch.float32, "bf16": torch.bfloat16}
_EXTRA: Final = "Install it with `pip install 'thoracle[chat]'`."


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
        return int(self.model.config.max_position_embeddings)


def load_language_model(
    base: Path, *, adapter: Path | None = None, device: torch.device | str = "cpu", dtype: str = "float32"
) -> LanguageModel:
    """Load a base model's folder, with the LoRA adapter of another.

    Raises:
        InputError: no such folder.
        ExtraMissing: transformers or peft are not installed.
        ModelFolderInvalid, CheckpointIncomplete: no causal language model, damaged, or an adapter of another model.
    """
    transformers = _transformers()
    if not (base / "config.json").is_file():
        raise InputError("holds no language model (no config.json)", hint="Give the folder of a causal model of transformers.", source=base)
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=_DTYPES[dtype], **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(base, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        detail = f"is no causal language model that transformers opens ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
        raise ModelFolderInvalid(detail, hint="Copy or download the folder again.", source=base) from error
    model.requires_grad_(False)
    if adapter is not None:
        model = load_lora_adapter(model, adapter)
    return LanguageModel(model=model.eval().to(device), tokenizer=tokenizer)


def load_lora_adapter(model: Any, adapter: Path) -> Any:
    """Return the model with a LoRA adapter's weights, frozen.

    Raises:
        InputError, ModelFolderInvalid, CheckpointIncomplete: as `load_language_model`.
    """
    peft = _peft()
    file = next((adapter / name for name in _ADAPTER_WEIGHTS if (adapter / name).is_file()), None)
    if file is None or not (adapter / ADAPTER_CONFIG).is_file():
        raise InputError(f"holds no LoRA adapter ({ADAPTER_CONFIG} with {_ADAPTER_WEIGHTS[0]})", hint="Give its folder.", source=adapter)
    tensors = read_checkpoint(file)
    try:
        config = peft.LoraConfig.from_pretrained(str(adapter))
        config.inference_mode, config.base_model_name_or_path = True, model.name_or_path
        model = peft.get_peft_model(model, config)
        loaded = peft.set_peft_model_state_dict(model, tensors)
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        detail = f"is not an adapter of this language model ({' '.join(str(error).split())[:200]})"
        raise CheckpointIncomplete(detail, hint="Give the base model that it was trained on.", source=adapter) from error
    missing = [name for name in loaded.missing_keys if "lora_" in name]
    if loaded.unexpected_keys or missing:
        detail = f"has {len(loaded.unexpected_keys)} tensors that this language model has not, and lacks {len(missing)}"
        raise CheckpointIncomplete(detail, hint="Give the base model that it was trained on.", source=adapter)
    return model


def add_lora_adapter(model: Any, *, rank: int, alpha: int, targets: Sequence[str]) -> Any:
    """Add a LoRA adapter (Hu et al., arXiv:2106.09685) that changes nothing yet, and is trainable.

    Raises:
        CapabilityMissing: none of its linear maps is so named.
    """
    peft = _peft()
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), task_type="CAUSAL_LM")
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise CapabilityMissing(f"the language model has no {', '.join(targets)}", hint="Name its linear maps as `targets`.") from error


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

    def embed(self, ids_BN: Tensor, tokens_ITHWC: Tensor | None) -> Tensor:
        """Return (B, N, H): embeddings of ids, and the scans' tokens where ids are `IMAGE_TOKEN_INDEX`, in order."""
        words_BNH = cast(Tensor, self.language.get_input_embeddings()(ids_BN.clamp(min=0)))
        if tokens_ITHWC is None:
            return words_BNH
        rows_IQH = self.projector(tokens_ITHWC).to(words_BNH.dtype)
        return words_BNH.masked_scatter((ids_BN == IMAGE_TOKEN_INDEX)[..., None], rows_IQH)

    def forward(self, ids_BN: Tensor, tokens_ITHWC: Tensor | None, scored_BN: Tensor, *, mask_B1NN: Tensor, positions_BN: Tensor) -> Tensor:
        """Return (S, V) logits at the S positions that `scored_BN` marks; no others are computed.

        Args:
            ids_BN, tokens_ITHWC: as in `embed`.
            scored_BN: bool.
            mask_B1NN: bool, which id sees which.
            positions_BN: of each id in its own conversation.
        """
        embedded_BNH = self.embed(ids_BN, tokens_ITHWC)
        causal = getattr(self.language, "get_base_model", lambda: self.language)()
        least = torch.finfo(embedded_BNH.dtype).min
        added = torch.zeros(mask_B1NN.shape, dtype=embedded_BNH.dtype, device=mask_B1NN.device).masked_fill_(~mask_B1NN, least)
        hidden_BNH = causal.base_model(
            inputs_embeds=embedded_BNH, attention_mask=added, position_ids=positions_BN, use_cache=False
        ).last_hidden_state
        return cast(Tensor, causal.get_output_embeddings()(hidden_BNH[scored_BN]))


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
