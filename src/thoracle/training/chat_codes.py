"""The codes of a cohort's scans, computed once and kept beside the cohort; every rank encodes its share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch import Tensor

from thoracle.cohort.cache import read_volume
from thoracle.cohort.manifest import Cohort
from thoracle.errors import InputError
from thoracle.models.chat_codes import CodeStore
from thoracle.models.chat_parts import grid, image_encoder
from thoracle.models.folder import open_model
from thoracle.training.distributed import World


def cohort_codes(
    cohort: Cohort, wanted: Collection[str], world: World, *, encoder: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Callable[[str], Tensor]:
    """Codes (T, h, w) by the volume's name.

    Args:
        cohort: prepared for the encoder.
        wanted: names of volumes.
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
        cure = "Prepare the cohort with the encoder's config.json."
        raise InputError("the encoder was made for another preprocessing than the cohort's", cure=cure, source=cohort.folder)
    store = CodeStore(cohort.folder, encoder_sha256=folder.weights_sha256, grid=grid(folder))
    entries = {entry.volume: entry for entry in cohort.entries}
    unknown = [name for name in wanted if name not in entries]
    if unknown:
        fact = f"{len(unknown)} of {len(wanted)} volumes in the questions are not in the cohort"
        raise InputError(fact, cure="Give the cohort's own questions.", source=cohort.folder)
    keys = {name: entries[name].cache_sha256 for name in wanted}
    own = sorted(wanted)[world.rank :: world.size]
    todo = [name for name in own if store.get(keys[name]) is None]
    network = image_encoder(folder).to(world.device) if todo else None
    for done, name in enumerate(todo, start=1):
        assert network is not None, "there is something to do"
        volume = torch.from_numpy(read_volume(cohort.folder / entries[name].cache))[None, None]
        with torch.inference_mode():
            store.put(keys[name], network(volume.to(world.device)).indices_BN[0])
        progress(done, len(todo))
    world.wait()

    def codes(name: str) -> Tensor:
        found = store.get(keys[name])
        if found is None:
            raise InputError("codes were taken away while they were needed", cure="Begin again with --resume.", source=cohort.folder)
        return found

    return codes
