"""Cache a scan's tokens for chat in the user's cache.

A kept file is named by a hash of the voxels that the encoder is given, of the encoder and of its precision. The name begins with hashes
of the scan, by which `thoracle index delete` finds it.
"""

from __future__ import annotations

import hashlib
import logging
from weakref import WeakKeyDictionary

from torch import Tensor

from thoracle.cohort.samples.volume_cache import pack
from thoracle.files.cache_folder import cache_dir
from thoracle.inference.model import Model
from thoracle.inference.patient_caches import scan_origin
from thoracle.inference.prepare import PreparedVolume
from thoracle.models.chat.scan_tokens import ScanTokens, TokenCache

_log = logging.getLogger(__name__)
_TOKENS: WeakKeyDictionary[Model, ScanTokens] = WeakKeyDictionary()


def tokens_of(encoder: Model) -> ScanTokens:
    """Return how a loaded encoder's tokens are compressed, which takes a look into its weights; once an encoder.

    Raises:
        As `ScanTokens`.
    """
    if encoder not in _TOKENS:
        _TOKENS[encoder] = ScanTokens(encoder.folder)
    return _TOKENS[encoder]


def scan_tokens(encoder: Model, scan: PreparedVolume) -> Tensor:
    """Encode a scan as `ScanTokens` compresses it, on the CPU.

    Raises:
        InputError: the scan was prepared for another model.
    """
    tokens = tokens_of(encoder)
    store = TokenCache(cache_dir(), tokens)
    key = f"{encoder.precision} {hashlib.sha256(scan.array.tobytes()).hexdigest()}"
    voxels = pack(scan.array, scale=encoder.preprocess.intensity_scale, zero=encoder.preprocess.zero_hu)
    source = "" if scan.provenance is None else scan.provenance.sha256
    origin = scan_origin(source_sha256=source, voxels_sha256=hashlib.sha256(voxels).hexdigest())
    cached = store.get(key, origin=origin)
    if cached is None:
        cached = tokens.compress(encoder.encode_tokens(scan))
        try:
            store.put(key, cached, origin=origin)
        except OSError as error:  # a full disk costs time, not the answer
            _log.info("tokens are not kept: %s", error.strerror)
    return cached
