"""Map features linearly, with weights that may be of lower precision than their input."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """Multiply by a weight of lower precision than its input where `to_bfloat16` made it so; the output has the weight's type."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply over the last axis."""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)
