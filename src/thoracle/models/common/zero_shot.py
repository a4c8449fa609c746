"""Detect findings by pairs of prompts.

Shapes: B batch, K findings, L latent width.
"""

from __future__ import annotations

from torch import Tensor


def zero_shot_probabilities(text_latents_2KL: Tensor, image_latents_BL: Tensor, logit_scale: Tensor) -> Tensor:
    """Compare each finding's prompt that it is present with the one that it is not.

    Args:
        text_latents_2KL: row 2k says finding k is present, row 2k + 1 that it is not.
        image_latents_BL: one row a volume.
        logit_scale: multiplies cosine similarities.

    Returns:
        (B, K): softmax over each pair, first entry.
    """
    logits_BK2 = (logit_scale * image_latents_BL @ text_latents_2KL.T).reshape(len(image_latents_BL), -1, 2)
    return logits_BK2.softmax(dim=-1)[..., 0]
