"""Choose how many volumes a model encodes at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from thoracle.inference.model import Model

#: Of a device's free memory, what a batch may take.
_SHARE: Final = 0.8
#: Beyond, nothing gets faster, and a stop costs more.
_MOST: Final = 32


def fitting_batch_size(model: Model) -> int:
    """Return 1 on a processor, where a batch gains little and costs memory, and for inputs of the scans' own sizes; on a card, how many
    volumes its free memory holds.

    An empty volume is encoded for it.
    """
    if model.device.type != "cuda" or model.preprocess.varies:
        return 1
    before = torch.cuda.memory_allocated(model.device)
    torch.cuda.reset_peak_memory_stats(model.device)
    with torch.inference_mode():
        model.encoder.encode_volume(torch.from_numpy(np.zeros((1, 1, *model.preprocess.size), np.float32)).to(model.device))
    each = max(torch.cuda.max_memory_allocated(model.device) - before, 1)
    free, _ = torch.cuda.mem_get_info(model.device)
    return volumes_in(free, each)


def volumes_in(free: int, each: int) -> int:
    """Return how many volumes of `each` bytes a share of `free` bytes holds: at least one, at most `_MOST`."""
    return max(1, min(_MOST, int(_SHARE * free // each)))
