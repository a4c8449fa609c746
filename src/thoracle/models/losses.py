"""Contrastive losses over latents that were paired: pure functions; knows no modules and no processes.

Shapes: B pairs, L latent width.
"""

from __future__ import annotations

import torch
from torch import Tensor


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


def _rows(logits_BB: Tensor, *, decoupled: bool) -> Tensor:
    against = logits_BB
    if decoupled:
        pair = torch.eye(len(logits_BB), dtype=torch.bool, device=logits_BB.device)
        against = logits_BB.masked_fill(pair, -torch.inf)
    return (against.logsumexp(dim=-1) - logits_BB.diagonal()).mean()
