"""Encode texts and prompts by a loaded model's text encoder.

Shapes: K findings, L latent width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from thoracle.errors import CapabilityMissing, InputError
from thoracle.inference.modules import load_tokenizer
from thoracle.inference.requested_findings import Finding
from thoracle.inference.text.prompt_cache import cached_prompt_latents, prompt_key
from thoracle.models.bundle.model_folder import ModelFolder
from thoracle.models.encoder import Capability, EncodedText, VolumeTextEncoder
from thoracle.models.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)
_TEXTS_AT_ONCE = 64


class TextLatents:
    """Encode texts, and prompts once.

    Args:
        folder: whose tokenizer and prompts hold.
        encoder: its module, on `device`, in `precision`.
        device: where it runs.
        precision: "float32" or "bf16".
    """

    def __init__(self, folder: ModelFolder, encoder: VolumeTextEncoder, *, device: torch.device, precision: str) -> None:
        self._folder, self._encoder, self._device, self._precision = folder, encoder, device, precision
        self._prompts: dict[tuple[Finding, ...], Tensor] = {}

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """Opened when words come; a LiPro model detects without one."""
        return load_tokenizer(self._folder)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as latents of unit norm (len(texts), L), float32; raises TokenizerMissing, and InputError for no list of texts."""
        if isinstance(texts, str):  # whose letters would be encoded
            raise InputError("one text where several are expected", hint="Put it into a list.")
        texts = list(texts)
        wrong = next((text for text in texts if not isinstance(text, str)), "")  # of a table's empty cell "nan" would be encoded
        if wrong != "":
            raise InputError(f"{wrong!r:.40} where a text was expected", hint="Leave out what has none.")
        rules, limit = self._folder.spec.text_rules, self._encoder.max_text_tokens
        texts = [text if rules is None else rules.normalize(text) for text in texts]
        encoded = self._tokenizer.encode(texts, max_length=limit)
        if cut := self._tokenizer.count_cut(texts, max_length=limit):
            _log.warning("%d of %d texts are longer than %d tokens: their ends are not read", cut, len(texts), limit)
        ids, mask = (torch.split(tensor.to(self._device), _TEXTS_AT_ONCE) for tensor in (encoded.input_ids_BN, encoded.attention_mask_BN))
        with torch.inference_mode():
            batches = (EncodedText(input_ids_BN=i, attention_mask_BN=m) for i, m in zip(ids, mask, strict=True))
            return torch.cat([self._encoder.encode_text(batch) for batch in batches]).float()

    def of_prompts(self, findings: tuple[Finding, ...]) -> Tensor:
        """Return (2 K, L): row 2k states finding k, row 2k + 1 denies it. Computed once, then cached beside the model.

        Raises:
            CapabilityMissing: the model is not prompted.
            TokenizerMissing: its tokenizer is not there.
        """
        folder = self._folder
        if Capability.ZERO_SHOT not in folder.capabilities or not folder.prompts:
            detail = f"is {folder.spec.title}, and not prompted"
            raise CapabilityMissing(detail, hint="Ask it for its own labels.", source=folder.path)
        if findings not in self._prompts:
            prompts = [text for finding in findings for text in finding.texts(folder.prompts)]
            texts = [text for finding in findings for text in (finding.name, *(finding.prompts or ()))]
            fingerprint = self._tokenizer.fingerprint
            key = prompt_key(weights_sha256=folder.weights_sha256, tokenizer=fingerprint, prompts=prompts, precision=self._precision)
            shape = (len(prompts), cast(int, self._encoder.outputs.latent_dim))
            latents = cached_prompt_latents(folder.path, key=key, shape=shape, texts=texts, compute=lambda: self.encode(prompts))
            self._prompts[findings] = latents.to(self._device)
        return self._prompts[findings]
