"""The generators that dropout draws from: read, and set again, so that a run goes on or a forward pass repeats to the bit."""

from __future__ import annotations

import torch

Generators = list[torch.Tensor]


def get_rng_state(device: torch.device) -> Generators:
    """Return the states of all generators that dropout draws from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_rng_state(states: Generators, device: torch.device) -> None:
    """Restore the states that `get_rng_state` returned."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
