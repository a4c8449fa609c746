"""Map features linearly, with weights that may be of lower precision than their input."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """A linear map whose weight may be of lower precision than its input (`precision.lower`); the result is of the weight's type."""

    def forward(self, x: Tensor) -> Tensor:
        """Over the last axis."""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)
