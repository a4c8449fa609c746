"""Classify reports by the first token of a text encoder.

Shapes: B batch, N tokens.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from thoracle.models.text.config import TextConfig
from thoracle.models.text.encoder import BertEncoder


class TextClassifier(nn.Module):
    """Label reports by logits from the first token, as the config reads it."""

    def __init__(self, config: TextConfig, *, n_labels: int) -> None:
        super().__init__()
        self.model = BertEncoder(config)
        self.classifier = nn.Linear(config.hidden_size, n_labels)
        self._pooled = config.cls_source == "pooled"
        self.model.pooler.requires_grad_(self._pooled)

    def forward(self, input_ids_BN: Tensor, attention_mask_BN: Tensor) -> Tensor:
        """Return logits (B, labels); ids and mask are as in `TextEncoder`."""
        read = self.model(input_ids_BN, attention_mask_BN)
        return cast(Tensor, self.classifier(read.pooled_BD if self._pooled else read.hidden_BND[:, 0]))
