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
from typing import Any, Final, Literal, cast

import torch
from torch import Tensor, nn

from thoracle.errors import CapabilityMissing, CheckpointIncomplete, ExtraMissing, InputError, ModelFolderInvalid
from thoracle.models.chat.adapters import EXTRA, load_lora_adapter, read_adapter, word_names
from thoracle.models.chat.causal_model import CausalModel, text_config
from thoracle.models.chat.prompt import IMAGE_TOKEN_INDEX
from thoracle.models.chat.published_prompt import add_published_words
from thoracle.models.ctchat.projector import ANSWER_WORDS, Projector, embed_findings

#: Numbers of a language model's weights: as its folder has them, or these.
Dtype = Literal["auto", "bf16", "float32"]
_DTYPES: Final = {"auto": "auto", "bf16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """Hold a base model, adapted or not, with its tokenizer.

    Attributes:
        model: of `transformers`, or of peft around one.
        tokenizer: its own, or the adapter's.
        published: whether the adapter is CT-CHAT's as published, which was taught another prompt than its base.
    """

    model: Any
    tokenizer: Any
    published: bool = False

    @property
    def hidden(self) -> int:
        """Return H."""
        return int(self.model.get_input_embeddings().embedding_dim)

    @property
    def context(self) -> int:
        """Return the most ids of a conversation."""
        return CausalModel(self.model).context


def load_language_model(
    base: Path, *, adapter: Path | None = None, device: torch.device | str = "cpu", dtype: Dtype = "auto"
) -> LanguageModel:
    """Load a base model's folder, with the LoRA adapter of another. Of a model that reads images too, the language part is read.

    Args:
        base: folder of the base model.
        adapter: folder of an adapter.
        device: that it is computed on.
        dtype: of the base's weights, which are read in no other; "auto" for that of its folder. An adapter that is trained is float32.

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
    published = False
    if adapter is not None:
        files = read_adapter(adapter)
        published = add_published_words(tokenizer, files.tensors, embeddings=word_names(model))
        model = load_lora_adapter(model, files, words=len(tokenizer))
    return LanguageModel(model=model.eval().to(device), tokenizer=tokenizer, published=published)


def outline_language_model(base: Path, *, dtype: Dtype = "auto") -> LanguageModel:
    """Build a base model from its configuration alone, with its tokenizer: under `FakeTensorMode`, a model of any size.

    Its weights are not read, and may be absent; "auto" is what the configuration says of their numbers, or float32.

    Raises:
        As `load_language_model`.
    """
    transformers = _transformers()
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(base, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(base, **options)
        numbers = (config.dtype or torch.float32) if dtype == "auto" else _DTYPES[dtype]
        model = transformers.AutoModelForCausalLM.from_config(text_config(config), dtype=numbers)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        detail = f"is no causal language model that transformers opens ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
        raise ModelFolderInvalid(detail, hint="Copy or download the folder again.", source=base) from error
    return LanguageModel(model=model.requires_grad_(False).eval(), tokenizer=tokenizer)


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
        kept_K: Tensor,
        scored_2S: Tensor,
        *,
        mask_B1NN: Tensor | None = None,
        positions_BN: Tensor | None = None,
    ) -> Tensor:
        """Return (S, V) logits at S positions; those of columns in which no row has one are not computed.

        Args:
            ids_BN, tokens_ITHWC: as in `embed`.
            kept_K: columns in which some row has one of the positions.
            scored_2S: row of each position, and where its column is in `kept_K`.
            mask_B1NN: bool, which id sees which; None where each row is one conversation, padded at its end.
            positions_BN: of each id in its own conversation; None as above.
        """
        embedded_BNH = self.embed(ids_BN, tokens_ITHWC)
        packed: dict[str, Any] = {}
        if mask_B1NN is not None and positions_BN is not None:
            packed = {"attention_mask": self._causal.masks(mask_B1NN, positions_BN, embedded_BNH.dtype), "position_ids": positions_BN}
        logits_BKV = self._causal.logits(ids_BN, embedded_BNH, keep=kept_K, **packed)
        row_S, kept_S = scored_2S
        return logits_BKV[row_S, kept_S]


def _transformers() -> Any:
    try:
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise ExtraMissing("transformers is not installed", hint=EXTRA) from error
    transformers.utils.logging.disable_progress_bar()
    return transformers
