"""A causal language model of `transformers` as its family wants to be called: inputs, masks, caches.

Training and answering both go through the causal model itself, so that what stands between its last layer and its words (scales, soft caps)
is computed in both.

Shapes: B rows, N ids of a row, H width, V words.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from thoracle.errors import CapabilityMissing
from thoracle.models.chat.prompt import IMAGE_TOKEN_INDEX

#: Layers of a cache that can be cut back to any earlier word.
_CROPPABLE: Final = frozenset({"DynamicLayer", "DynamicSlidingWindowLayer", "DummyLayer"})
#: What a family may raise that is called as others are.
RAISED: Final = (CapabilityMissing, ValueError, TypeError, RuntimeError, AttributeError, LookupError)
#: Of the largest logit, in bfloat16 too: what is wrong differs by far more.
_TOLERANCE: Final = 0.05
_FULL, _SLIDING, _CHUNKED = "full_attention", "sliding_attention", "chunked_attention"


class CausalModel:
    """Run a causal model, adapted or not, on words and scans.

    Args:
        model: of `transformers`, or of peft around one.
    """

    def __init__(self, model: Any) -> None:
        self.base = base_model(model)
        self._names = frozenset(inspect.signature(self.base.forward).parameters)
        self._decoder = self.base.get_decoder() if hasattr(self.base, "get_decoder") else self.base.base_model

    @property
    def config(self) -> Any:
        """Return the configuration of the language part."""
        return text_config(self.base.config)

    @property
    def family(self) -> str:
        """Return the family's name, as config.json has it."""
        return str(self.config.model_type)

    def logits(
        self, ids_BN: Tensor, embedded_BNH: Tensor | None = None, *, keep: Tensor | int = 0, past: Any = None, **inputs: Any
    ) -> Tensor:
        """Return (B, K, V).

        Args:
            ids_BN: words, `IMAGE_TOKEN_INDEX` where a scan's rows stand.
            embedded_BNH: what is read in their place; None for the words' own embeddings.
            keep: positions whose logits are wanted, or how many at the end; 0 for all.
            past: a cache, which grows.
            inputs: what else the model takes.
        """
        if embedded_BNH is None:
            inputs["input_ids"] = ids_BN
        else:
            inputs |= {"inputs_embeds": embedded_BNH, **self._per_layer(ids_BN)}
        if past is not None:
            inputs[self._cache_name] = past
        if "position_ids" not in self._names:
            inputs.pop("position_ids", None)
        if "logits_to_keep" in self._names:
            return cast(Tensor, self.base(**inputs, use_cache=past is not None, logits_to_keep=keep).logits)
        logits_BNV = self.base(**inputs, use_cache=past is not None).logits
        return cast(Tensor, logits_BNV[:, -keep:] if isinstance(keep, int) else logits_BNV[:, keep])

    def embed(self, ids_BN: Tensor) -> Tensor:
        """Return the words' embeddings, (B, N, H)."""
        return cast(Tensor, self.base.get_input_embeddings()(ids_BN))

    def new_cache(self) -> Any:
        """Return an empty cache.

        Raises:
            CapabilityMissing: the family has a cache of its own kind.
        """
        from transformers import DynamicCache

        if self._cache_name not in self._names:
            detail = f"language models of the family {self.family} have a cache of their own kind"
            raise CapabilityMissing(detail, hint="Give another language model, or a server with --llm-url.")
        return DynamicCache() if self.can_crop else DynamicCache(config=self.config)

    @torch.inference_mode()
    def check_cache(self) -> None:
        """Check that the family reads from embeddings, and word by word what it reads at once.

        Raises:
            CapabilityMissing: it does not, or has a cache of its own kind.
        """
        ids_1N = torch.arange(3, device=self.base.device)[None]
        past = self.new_cache()
        try:
            at_once = self.logits(ids_1N, self.embed(ids_1N), keep=1, position_ids=ids_1N).float()
            self.logits(ids_1N[:, :2], self.embed(ids_1N[:, :2]), keep=1, past=past, position_ids=ids_1N[:, :2])
            last = self.logits(ids_1N[:, 2:], keep=1, past=past, position_ids=ids_1N[:, 2:]).float()
        except RAISED as error:
            detail = f"language models of the family {self.family} do not answer here ({' '.join(str(error).split())[:160]})"
            raise CapabilityMissing(detail, hint="Give another language model, or a server with --llm-url.") from error
        if not (last - at_once).abs().max() <= _TOLERANCE * at_once.abs().max():
            detail = f"language models of the family {self.family} read word by word what they do not read at once"
            raise CapabilityMissing(detail, hint="Give another language model, or a server with --llm-url.")

    @property
    def context(self) -> int:
        """Return the most ids of a conversation; where the family knows no limit, more than there ever are."""
        limits = (getattr(self.config, name, None) for name in ("max_position_embeddings", "seq_length"))
        return int(next(filter(None, limits), sys.maxsize))

    @property
    def can_crop(self) -> bool:
        """Tell whether a cache can be cut back: recurrent layers have no earlier states."""
        from transformers import DynamicCache

        return all(type(layer).__name__ in _CROPPABLE for layer in DynamicCache(config=self.config).layers)

    @property
    def rereads_at(self) -> int | None:
        """Return the length beyond which rotary factors are others, so that all that was read is read again; None if there is none."""
        return self._original_length if self._rope_type == "longrope" else None

    def can_go_on(self, before: int, after: int) -> bool:
        """Tell whether a cache of so many words still holds when so many are read: rotary factors may change with the length."""
        if self._rope_type not in ("longrope", "dynamic"):
            return True
        limit = self._original_length
        return max(before, after) <= limit or (self._rope_type == "longrope" and min(before, after) > limit)

    @property
    def _rope(self) -> Mapping[str, Any]:
        return getattr(self.config, "rope_parameters", None) or getattr(self.config, "rope_scaling", None) or {}

    @property
    def _rope_type(self) -> str:
        return str(self._rope.get("rope_type", self._rope.get("type")))

    @property
    def _original_length(self) -> int:
        length = getattr(self.config, "original_max_position_embeddings", None) or self._rope.get("original_max_position_embeddings")
        return int(length or self.config.max_position_embeddings)

    def masks(self, mask_B1NN: Tensor, positions_BN: Tensor, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
        """Return what is added to attention scores, by kind of layer where the family has several kinds.

        Args:
            mask_B1NN: bool, which id sees which in a layer without a window.
            positions_BN: of each id in its own conversation.
            dtype: of the embeddings.
        """
        kinds = set(self._layer_types())
        by_kind = {kind: _added(mask_B1NN & self._near(kind, positions_BN), dtype) for kind in kinds}
        return by_kind if getattr(self.config, "layer_types", None) else by_kind[kinds.pop()]

    def _layer_types(self) -> Sequence[str]:
        if getattr(self.config, "layer_types", None):
            return cast(Sequence[str], self.config.layer_types)
        return [_SLIDING if getattr(self.config, "sliding_window", None) else _FULL]

    def _near(self, kind: str, positions_BN: Tensor) -> Tensor:
        """(B, 1, N, N) bool: which ids are in reach of a layer of this kind."""
        query, key = positions_BN[:, None, :, None], positions_BN[:, None, None, :]
        reach = {_FULL: torch.ones_like(query == key)}
        if kind == _SLIDING:
            reach[kind] = query - key < int(self.config.sliding_window)
        if kind == _CHUNKED:
            chunk = int(self.config.attention_chunk_size)
            reach[kind] = query // chunk == key // chunk
        if kind not in reach:
            detail = f"language models of the family {self.family} have layers of {kind}"
            raise CapabilityMissing(detail, hint="Give another language model.")
        return reach[kind]

    @property
    def _cache_name(self) -> str:
        return "cache_params" if "cache_params" in self._names else "past_key_values"

    def _per_layer(self, ids_BN: Tensor) -> Mapping[str, Tensor]:
        """Embeddings that each layer adds of its own; for a scan's rows those of padding, as for images in the family's own code."""
        if not getattr(self.config, "hidden_size_per_layer_input", None) or not hasattr(self._decoder, "get_per_layer_inputs"):
            return {}
        padding = self.config.pad_token_id or 0
        return {"per_layer_inputs": self._decoder.get_per_layer_inputs(ids_BN.where(ids_BN != IMAGE_TOKEN_INDEX, padding))}


def base_model(model: Any) -> Any:
    """Return the causal model within peft's, or the model itself."""
    return getattr(model, "get_base_model", lambda: model)()


def text_config(config: Any) -> Any:
    """Return the configuration of the language part of one that may read images too."""
    return config.get_text_config(decoder=True)


def decoder_layers(model: Any) -> Sequence[nn.Module]:
    """Return the layers of the decoder: its longest list of modules, by whatever name.

    Raises:
        CapabilityMissing: it has none.
    """
    causal = base_model(model)
    lists = [module for module in causal.base_model.modules() if isinstance(module, nn.ModuleList)]
    layers = max(lists, key=len, default=None)
    if layers is None or len(layers) != text_config(causal.config).num_hidden_layers:
        detail = f"language models of the family {causal.config.model_type} keep their layers where they are not found"
        raise CapabilityMissing(detail, hint="Give another language model.")
    return list(layers)


def linear_maps(model: Any) -> dict[str, bool]:
    """List the linear maps of a causal model but its head and routers, by name, and whether each is of an expert; GPT-2's are `Conv1D`."""
    from transformers.pytorch_utils import Conv1D

    causal = base_model(model)
    head = causal.get_output_embeddings()
    maps = {name: module for name, module in causal.named_modules() if isinstance(module, nn.Linear | Conv1D) and module is not head}
    return {name: ".experts." in name for name, module in maps.items() if "Router" not in type(module).__name__}


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)
