"""Map features linearly, with weights that may be of lower precision than their input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """Multiply by a weight of lower precision than its input where `to_bfloat16` made it so; the output has the weight's type."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply over the last axis. Autocast, where it is on, casts both itself: a cast before it would be kept for nothing."""
        return F.linear(x if torch.is_autocast_enabled(x.device.type) else x.to(self.weight.dtype), self.weight, self.bias)
