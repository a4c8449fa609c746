"""Contrastive losses over latents that were paired: pure functions; knows no modules and no processes.

Shapes: B pairs, L latent width.
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
    """What cosines are multiplied by: the exponential of the learnt temperature, at most `MOST_SCALE`."""
    return temperature.clamp(max=math.log(MOST_SCALE)).exp()


def pair_logits(latents: tuple[Tensor, ...], scale: Tensor) -> tuple[Tensor, Tensor]:
    """Of texts against images, and of images against texts: (B, B) each, as `contrastive_loss` takes them.

    Args:
        latents: text and image, (B, L) of unit norm each; then CLOOB's second pair, if the second direction has one.
        scale: what cosines are multiplied by.
    """
    text_to_image = scale * latents[0] @ latents[1].T
    return text_to_image, scale * latents[3] @ latents[2].T if len(latents) == 4 else text_to_image.T


def contrastive_loss(text_to_image_BB: Tensor, image_to_text_BB: Tensor, *, decoupled: bool = False) -> Tensor:
    """The mean of the cross-entropies of both directions; pair i is on the diagonal.

    Args:
        text_to_image_BB: logits, a row a text.
        image_to_text_BB: logits, a row an image: the transpose of the other, unless each direction has its own projections
            (CLOOB, Fürst et al., arXiv:2110.11316).
        decoupled: the pair itself leaves the denominators (Yeh et al., arXiv:2110.06848).

    Returns:
        A scalar (van den Oord et al., arXiv:1807.03748), in log space throughout.
    """
    return (_rows(text_to_image_BB, decoupled=decoupled) + _rows(image_to_text_BB, decoupled=decoupled)) / 2


def sigmoid_loss(text_to_image_BB: Tensor, bias: Tensor) -> Tensor:
    """Each text with each image is a question of its own: do they belong together? (SigLIP, Zhai et al., arXiv:2303.15343).

    Args:
        text_to_image_BB: logits, a row a text; pair i is on the diagonal.
        bias: a learnt scalar that begins low, for almost all pairs are none.

    Returns:
        A scalar: the sum over all questions, divided by B.
    """
    logits_BB = text_to_image_BB + bias
    signs_BB = 2 * torch.eye(len(logits_BB), dtype=logits_BB.dtype, device=logits_BB.device) - 1
    return -F.logsigmoid(signs_BB * logits_BB).sum() / len(logits_BB)


def _rows(logits_BB: Tensor, *, decoupled: bool) -> Tensor:
    against = logits_BB
    if decoupled:
        pair = torch.eye(len(logits_BB), dtype=torch.bool, device=logits_BB.device)
        against = logits_BB.masked_fill(pair, -torch.inf)
    return (against.logsumexp(dim=-1) - logits_BB.diagonal()).mean()
