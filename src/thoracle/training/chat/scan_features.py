"""Encode a cohort's scans for a chat model once, beside the cohort; every rank encodes its part."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from thoracle.cohort.manifest import Cohort
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.errors import InputError
from thoracle.files.visible import wait_until_visible
from thoracle.models.bundle.model_folder import open_model
from thoracle.models.chat.components import load_image_encoder
from thoracle.models.chat.scan_tokens import ScanTokens, TokenCache
from thoracle.training.engine.distributed import World


@dataclass(frozen=True, kw_only=True, eq=False)
class ScanFeatures:
    """Serve scans of a cohort, as a chat model is trained on them.

    Attributes:
        tokens: how they are kept and read.
        compressed: gives one as it is kept, by its volume's name.
    """

    tokens: ScanTokens
    compressed: Callable[[str], Tensor]


def encode_cohort_scans(
    cohort: Cohort, names: Collection[str], world: World, *, encoder: Path, progress: Callable[[int, int], None] = lambda count, total: None
) -> ScanFeatures:
    """Encode the requested scans of a cohort once.

    Args:
        cohort: prepared for the encoder.
        names: names of volumes.
        world: as `join` gives it.
        encoder: its model folder.
        progress: told how many of this rank's scans are done, and of how many.

    Raises:
        InputError: a volume that the cohort has not, or another preprocessing than the encoder's.
        ModelError: the encoder is damaged, or encodes no scan.
        CacheDamaged: a cached volume is not what was written.
    """
    folder = open_model(encoder)
    if folder.preprocess != cohort.preprocess:
        hint = "Prepare the cohort with the encoder's config.json."
        raise InputError("the encoder was made for another preprocessing than the cohort's", hint=hint, source=cohort.folder)
    tokens = ScanTokens(folder)
    store = TokenCache(cohort.folder, tokens)
    entries = {entry.volume: entry for entry in cohort.entries}
    unknown = [name for name in names if name not in entries]
    if unknown:
        detail = f"{len(unknown)} of {len(names)} volumes in the questions are not in the cohort"
        raise InputError(detail, hint="Give the cohort's own questions.", source=cohort.folder)
    keys = {name: entries[name].cache_sha256 for name in names}
    local_names = sorted(names)[world.rank :: world.size]
    todo = [name for name in local_names if store.get(keys[name]) is None]
    network = load_image_encoder(folder, device=world.device) if todo else None
    for count, name in enumerate(todo, start=1):
        assert network is not None, "there is something to do"
        volume = torch.from_numpy(read_volume(cohort.folder / entries[name].cache))[None, None]
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # as where it is asked about
            store.put(keys[name], tokens.compress(network.encode_volume(volume.to(world.device))))
        progress(count, len(todo))
    world.barrier()
    wait_until_visible(store.path(key) for key in keys.values())

    def kept(name: str) -> Tensor:
        cached = store.get(keys[name])
        if cached is None:
            raise InputError("tokens were taken away while they were needed", hint="Begin again with --resume.", source=cohort.folder)
        return cached

    return ScanFeatures(tokens=tokens, compressed=kept)
