"""Keep what a network learns by other means than gradients."""

from __future__ import annotations

from torch import nn


def keep_statistics(network: nn.Module) -> None:
    """Put layers with running statistics into evaluation mode, so that a volume's output does not depend on those beside it."""
    for module in network.modules():
        if hasattr(module, "running_mean"):
            module.eval()
