"""A scan's codes, computed once and kept in the user's cache; knows no question.

A kept file is named by a hash of the voxels that the encoder is given, of its weights and of its precision.
"""

from __future__ import annotations

import hashlib
import logging

import torch
from torch import Tensor

from thoracle.inference.files import cache_dir
from thoracle.inference.model import Model
from thoracle.inference.prepare import Prepared
from thoracle.models.chat_codes import CodeStore
from thoracle.models.chat_parts import grid

_log = logging.getLogger(__name__)


def scan_codes(encoder: Model, scan: Prepared) -> Tensor:
    """(T, h, w) int64, on the CPU.

    Raises:
        InputError: the scan was prepared for another model.
    """
    store = CodeStore(cache_dir(), encoder_sha256=encoder.folder.weights_sha256, grid=grid(encoder.folder))
    key = f"{encoder.precision} {hashlib.sha256(scan.array.tobytes()).hexdigest()}"
    codes = store.get(key)
    if codes is None:
        codes = encoder.encode_tokens(scan).indices_BN[0].cpu().to(torch.int64).view(grid(encoder.folder))
        try:
            store.put(key, codes)
        except OSError as error:  # a full disk costs time, not the answer
            _log.info("codes are not kept: %s", error.strerror)
    return codes
