"""What is read off latents and texts: zero-shot probabilities, LiPro's classifier, the report labeller; knows no labels' names.

Shapes: B batch, K findings, L latent width, N tokens.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.config import TextConfig
from thoracle.models.text import TextEncoder


def zero_shot_probabilities(text_latents_2KL: Tensor, image_latents_BL: Tensor, temperature: Tensor) -> Tensor:
    """How likely each finding is, by a prompt that it is present against one that it is not.

    Args:
        text_latents_2KL: row 2k says finding k is present, row 2k + 1 that it is not.
        image_latents_BL: one row a volume.
        temperature: the published parameter; cosines are multiplied by its exponential.

    Returns:
        (B, K): softmax over each pair, first entry.
    """
    logits_BK2 = (temperature.exp() * image_latents_BL @ text_latents_2KL.T).reshape(len(image_latents_BL), -1, 2)
    return logits_BK2.softmax(dim=-1)[..., 0]


class LatentClassifier(nn.Module):
    """LiPro's classifier on image latents: logits, one a label. In published files its keys lie beside `trained_model.*`, a CT-CLIP."""

    def __init__(self, dim_latent: int, *, n_labels: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(dim_latent, n_labels)

    def forward(self, latent_BL: Tensor) -> Tensor:
        """(B, labels)."""
        return cast(Tensor, self.classifier(self.dropout(F.relu(latent_BL))))


class TextClassifier(nn.Module):
    """The report labeller: logits from the first token, as the config reads it."""

    def __init__(self, config: TextConfig, *, n_labels: int) -> None:
        super().__init__()
        self.model = TextEncoder(config)
        self.classifier = nn.Linear(config.hidden_size, n_labels)
        self._pooled = config.first_token == "pooled"
        self.model.pooler.requires_grad_(self._pooled)

    def forward(self, input_ids_BN: Tensor, attention_mask_BN: Tensor) -> Tensor:
        """(B, labels); ids and mask as `TextEncoder` takes them."""
        read = self.model(input_ids_BN, attention_mask_BN)
        return cast(Tensor, self.classifier(read.pooled_BD if self._pooled else read.hidden_BND[:, 0]))
