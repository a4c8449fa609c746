"""Hold a model's findings of one scan and their JSON form, without path and identifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import Preprocessing
from thoracle.ct.volume import Provenance
from thoracle.inference.calibration import Verdict
from thoracle.types import RESEARCH_USE
from thoracle.version import __version__

#: Described by `findings.schema.json` beside this file; a change that breaks readers takes the next number.
SCHEMA: Final = "thoracle.findings/2"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Hold probabilities of abnormalities in one scan. Research use only; not a medical device.

    Attributes:
        abnormalities: what was asked for, in the order of `probabilities`.
        probabilities: each in [0, 1].
        model_kind: "ct-clip" (zero-shot) or "ct-clip-classifier" (LiPro).
        model_sha256: of the weights.
        trained: False for weights that never saw a scan; their probabilities mean nothing.
        precision: "float32" or "bf16".
        preprocess: how the scan became the model's input.
        provenance: where the scan's units and geometry came from; None for a tensor.
        warnings: sentences on what is odd about the scan.
        verdicts: of each abnormality, where the model's folder keeps a calibration; the probabilities are mended by it then.
        coverage: how often a verdict is not the wrong one; None without calibration.
    """

    abnormalities: tuple[str, ...]
    probabilities: tuple[float, ...]
    model_kind: str
    model_sha256: str
    trained: bool
    precision: str
    preprocess: Preprocessing
    provenance: Provenance | None
    warnings: tuple[str, ...] = ()
    verdicts: tuple[Verdict | None, ...] = ()
    coverage: float | None = None
    notice: str = RESEARCH_USE

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types, as `findings.schema.json` describes them."""
        return {
            "schema": SCHEMA,
            "notice": self.notice,
            "thoracle": __version__,
            "model": {"kind": self.model_kind, "sha256": self.model_sha256, "trained": self.trained, "precision": self.precision},
            "preprocess": config_to_mapping(self.preprocess),
            "provenance": None if self.provenance is None else self.provenance.as_dict(),
            "calibration": None if self.coverage is None else {"coverage": self.coverage},
            "findings": [
                {"abnormality": name, "probability": probability, "verdict": verdict}
                for name, probability, verdict in zip(
                    self.abnormalities, self.probabilities, self.verdicts or (None,) * len(self.abnormalities), strict=True
                )
            ],
            "warnings": list(self.warnings),
        }
