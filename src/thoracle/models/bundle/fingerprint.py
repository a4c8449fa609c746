"""Hash what a model's answers depend on, for what is kept of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256

from thoracle.models.bundle.model_folder import ModelFolder


def model_fingerprint(folder: ModelFolder) -> str:
    """Hash all that a model gives of voxels depends on: weights do not tell heads, windows or the recipe."""
    assert folder.preprocess is not None, "models that take volumes have it"
    parts = [folder.kind, folder.weights_sha256, asdict(folder.config), asdict(folder.preprocess)]
    return sha256(json.dumps(parts).encode()).hexdigest()
