"""A pretrained text encoder by its folder or its name on the hub."""

from __future__ import annotations

from pathlib import Path


def fetched(encoder: str) -> str:
    """Return an encoder's folder; download a hub's name into the cache once."""
    if not encoder or Path(encoder).exists() or encoder.count("/") != 1:
        return encoder
    from thoracle.files.cache_folder import cache_dir
    from thoracle.models.hub.download import fetch_encoder

    return str(fetch_encoder(encoder, out=cache_dir() / "encoders" / encoder.replace("/", "--")))
