"""A model folder of fewer bytes that is opened as any: weights rounded, all else carried over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from thoracle.errors import TokenizerMissing
from thoracle.inference.calibration import save_calibration
from thoracle.inference.model import Model
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict, save_model
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.models.weights.quantization import Compression, quantize


def export_quantized(model: Model, out: Path, kind: Compression, *, summary: str) -> ModelFolder:
    """Write `out`, and beside its weights the calibration that the model keeps, which says that weights were rounded since.

    Args:
        model: whose folder is taken.
        out: a new folder.
        kind: of the weights.
        summary: goes into the new folder's caution.

    Raises:
        ModelFolderInvalid: the model's calibration is damaged, or another model's.
    """
    folder, calibration = model.folder, model.calibration
    saved = save_model(
        out,
        kind=folder.kind,
        config=folder.config,
        preprocess=folder.preprocess,
        labels=folder.labels,
        tensors=quantize(load_state_dict(folder), kind),
        tokenizer=_tokenizer(folder),
        licence=folder.licence,
        citations=folder.citations,
        trained=folder.trained,
        caution=" ".join(filter(None, [folder.disclaimer, summary])),
        source_sha256=folder.source_sha256,
    )
    if calibration is not None:
        since = f"{calibration.fitted_on}; weights rounded to {kind} since"
        save_calibration(out, replace(calibration, weights_sha256=saved.weights_sha256, fitted_on=since))
    return saved


def _tokenizer(folder: ModelFolder) -> Tokenizer | None:
    try:
        return folder.tokenizer()
    except TokenizerMissing:
        return None
