"""Losses over latents of texts and volumes: pure functions.

Shapes: B pairs or volumes, L latent width, K abnormalities.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

#: Cosines are multiplied by this at most (Radford et al., arXiv:2103.00020).
MOST_SCALE: Final = 100.0


def logit_scale(temperature: Tensor) -> Tensor:
    """Return the multiplier of cosines: the exponential of the learned temperature, at most `MOST_SCALE`."""
    return temperature.clamp(max=math.log(MOST_SCALE)).exp()


def pair_logits(latents: tuple[Tensor, ...], scale: Tensor) -> tuple[Tensor, Tensor]:
    """Compute logits (B, B) of texts against images and of images against texts, as `contrastive_loss` takes them.

    Args:
        latents: text and image, (B, L) of unit norm each; then CLOOB's second pair, if the second direction has one.
        scale: what cosines are multiplied by.
    """
    text_to_image = scale * latents[0] @ latents[1].T
    return text_to_image, scale * latents[3] @ latents[2].T if len(latents) == 4 else text_to_image.T


def contrastive_loss(
    text_to_image_BB: Tensor, image_to_text_BB: Tensor, *, decoupled: bool = False, excluded_BB: Tensor | None = None
) -> Tensor:
    """Average the cross-entropies of both directions; pair i is on the diagonal.

    Args:
        text_to_image_BB: logits, a row a text.
        image_to_text_BB: logits, a row an image: the transpose of the other, unless each direction has its own projections
            (CLOOB, Fürst et al., arXiv:2110.11316).
        decoupled: the pair itself leaves the denominators (Yeh et al., arXiv:2110.06848).
        excluded_BB: pairs that are no negatives of each other and leave each other's denominators, symmetric; never a pair of itself.

    Returns:
        A scalar (van den Oord et al., arXiv:1807.03748), in log space throughout.
    """
    left_out_BB = torch.zeros_like(text_to_image_BB, dtype=torch.bool) if excluded_BB is None else excluded_BB
    if decoupled:
        left_out_BB = left_out_BB | torch.eye(len(left_out_BB), dtype=torch.bool, device=left_out_BB.device)
    return (_rows(text_to_image_BB, left_out_BB) + _rows(image_to_text_BB, left_out_BB)) / 2


def consistency_loss(one_BL: Tensor, other_BL: Tensor) -> Tensor:
    """Compare two views of each volume (MedFinder, Chen et al., arXiv:2403.15992).

    Args:
        one_BL, other_BL: of unit norm: what is compared then cannot be made small by being made short.

    Returns:
        A scalar, the mean squared distance, 2 - 2 cos: as published the squared error, summed over the width and not averaged.
    """
    return (one_BL - other_BL).square().sum(dim=-1).mean()


def sigmoid_loss(text_to_image_BB: Tensor, bias: Tensor, *, excluded_BB: Tensor | None = None) -> Tensor:
    """Score each text with each image as a binary question whether they belong together (SigLIP, Zhai et al., arXiv:2303.15343).

    Args:
        text_to_image_BB: logits, a row a text; pair i is on the diagonal.
        bias: a learnt scalar that begins low, for almost all pairs are none.
        excluded_BB: questions that are not asked, as in `contrastive_loss`.

    Returns:
        A scalar: the sum over all questions that are asked, divided by B.
    """
    logits_BB = text_to_image_BB + bias
    signs_BB = 2 * torch.eye(len(logits_BB), dtype=logits_BB.dtype, device=logits_BB.device) - 1
    losses_BB = -F.logsigmoid(signs_BB * logits_BB)
    return (losses_BB if excluded_BB is None else losses_BB.masked_fill(excluded_BB, 0.0)).sum() / len(logits_BB)


def prompt_loss(text_2KL: Tensor, image_BL: Tensor, labels_BK: Tensor, scale: Tensor, *, squared: bool = False) -> Tensor:
    """Compare volumes with prompts that state and deny each abnormality (VocabFine, Hamamci et al., arXiv:2403.17834).

    Args:
        text_2KL: row 2k says that abnormality k is present, row 2k + 1 that it is not; of unit norm.
        image_BL: of unit norm.
        labels_BK: 0, 1, or NaN where nobody says.
        scale: what cosines are multiplied by.
        squared: as published, the squared error of the pair's softmax; otherwise its cross-entropy.

    Returns:
        A scalar, the mean over labels that are known; 0 where none is.
    """
    logits_B2K = scale * image_BL @ text_2KL.T
    margins_BK = logits_B2K[:, 0::2] - logits_B2K[:, 1::2]
    known_BK = ~labels_BK.isnan()
    right_BK = margins_BK * (2 * labels_BK.nan_to_num() - 1)  # the margin of the prompt that agrees with the label
    losses_BK = (1 - right_BK.sigmoid()).square() if squared else -F.logsigmoid(right_BK)
    return (losses_BK * known_BK).sum() / known_BK.sum().clamp(min=1)


def positive_weights(labels_VK: Tensor) -> Tensor:
    """Return (K): negatives over positives of each label, the weight of its positives (LiPro); labels as in `prompt_loss`.

    A label without positives gets its negatives over one: there is nothing that it would be multiplied with.
    """
    positives_K = (labels_VK == 1).sum(dim=0)
    return (labels_VK == 0).sum(dim=0) / positives_K.clamp(min=1)


def weighted_label_loss(logits_BK: Tensor, labels_BK: Tensor, weights_K: Tensor) -> Tensor:
    """Compute binary cross-entropy of each label for itself, its positives weighted.

    Returns:
        A scalar, the mean over labels that are known (not NaN); 0 where none is.
    """
    known_BK = ~labels_BK.isnan()
    targets_BK = labels_BK.nan_to_num()
    losses_BK = F.binary_cross_entropy_with_logits(logits_BK, targets_BK, pos_weight=weights_K, reduction="none")
    return (losses_BK * known_BK).sum() / known_BK.sum().clamp(min=1)


def _rows(logits_BB: Tensor, left_out_BB: Tensor) -> Tensor:
    """Average over rows that are compared with anything; the others count as 0."""
    against = logits_BB.masked_fill(left_out_BB, -torch.inf)
    return (against.logsumexp(dim=-1) - logits_BB.diagonal()).masked_fill(left_out_BB.all(dim=-1), 0.0).mean()
