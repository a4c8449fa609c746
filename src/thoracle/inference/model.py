"""Encode volumes and texts and detect findings by a loaded model.

Shapes: B batch, K abnormalities, L latent width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thoracle.config_reader import config_to_mapping
from thoracle.ct.volume import Volume
from thoracle.errors import CapabilityMissing, InputError
from thoracle.inference.calibration import Calibration, read_calibration
from thoracle.inference.detection import detect_scans
from thoracle.inference.findings import Findings
from thoracle.inference.model_locations import locate
from thoracle.inference.modules import device_of, exact_inference, load_encoder
from thoracle.inference.prepare import PreparedVolume, prepare, prepared_array, stack_inputs
from thoracle.inference.requested_findings import Finding, resolve_findings
from thoracle.inference.text.text_latents import TextLatents
from thoracle.models.bundle.model_folder import ModelFolder, open_model
from thoracle.models.common.zero_shot import zero_shot_probabilities
from thoracle.models.encoder import Capability, RegionEncoder, RegionReading, VolumeEmbedding, VolumeTextEncoder
from thoracle.models.registry import capability_hint
from thoracle.models.weights.precision import PrecisionReport, compare_precision
from thoracle.types import RESEARCH_USE, ModelInput

Precision = Literal["float32", "bf16"]
#: What a model can be shown: a scan, what `prepare` made of one, or a preprocessed array or tensor (z, x, y) in units of 1000 HU.
VolumeInput = Volume | PreparedVolume | ModelInput | Tensor

#: Of findings: in any words, or in those that the model was fitted to.
_OWN_LABELS = frozenset({Capability.LABELS, Capability.REGIONS})
_FINDINGS = (Capability.ZERO_SHOT, *sorted(_OWN_LABELS, key=lambda capability: capability.name))
_NO_LATENTS = "latents, which need CT-CLIP's projection; `encode_tokens` gives what it has"


def load(folder: str | Path, *, device: str = "auto", dtype: Precision = "float32") -> Model:
    """Open a model folder, as `thoracle import` writes it.

    Args:
        folder: holds config.json and model.safetensors; or the catalogue's name of the file that was imported, such as "colipri".
        device: "auto" takes CUDA where it is there; or "cpu", "cuda", "cuda:1", …
        dtype: "float32" is exact; "bf16" is faster and flips some codes (`Model.check_precision` says how many).

    Raises:
        ModelError: the folder is damaged or of an unknown kind.
        InputError: a device this machine does not have, or another dtype.
    """
    if dtype not in ("float32", "bf16"):
        raise InputError(f"dtype must be float32 or bf16, is {dtype!r}", hint="Give one of the two.")
    return Model(open_model(locate(folder), verify=True), device=device_of(device), precision=dtype)


class Model:
    """Run a loaded model. Weights stay in evaluation mode, without gradient.

    Attributes:
        folder: what the model says of itself: kind, sizes, labels, preprocessing, hash, licence.
        device: where it runs.
        precision: "float32" or "bf16".
        preprocess: how scans become its input.
        encoder: its module, for what looks inside.
        capabilities: what it can do.
    """

    def __init__(self, folder: ModelFolder, *, device: torch.device, precision: Precision) -> None:
        self.folder = folder
        self.device = device
        self.precision = precision
        self.capabilities = folder.capabilities
        self.encoder = load_encoder(folder, device=device, precision=precision)
        assert folder.preprocess is not None, "models that take volumes have it"
        self.preprocess = folder.preprocess
        self._texts = TextLatents(folder, cast(VolumeTextEncoder, self.encoder), device=device, precision=precision)

    def detect(self, volume: VolumeInput, *, abnormalities: Sequence[str | Finding] | None = None, calibrated: bool = True) -> Findings:
        """Compute probabilities of abnormalities in one scan, which is encoded once for all of them; as `detect_batch` of it alone."""
        return self.detect_batch([volume], abnormalities=abnormalities, calibrated=calibrated)[0]

    def detect_batch(
        self, volumes: Sequence[VolumeInput], *, abnormalities: Sequence[str | Finding] | None = None, calibrated: bool = True
    ) -> list[Findings]:
        """Compute probabilities of abnormalities in several scans that are encoded at once: those of each alone, up to rounding (1e-5).

        Args:
            volumes: each a `Volume`, what `prepare` made of one, or a preprocessed array or tensor.
            abnormalities: what to look for; the model's own labels if absent. A zero-shot model takes any words, and prompts (`Finding`).
            calibrated: use what the folder keeps of what probabilities mean, if it does; of its own labels alone.

        Raises:
            CapabilityMissing: the model has no findings.
            TokenizerMissing: it is prompted, and its tokenizer is not there.
            InputError: a label that a classifier was not trained on, or an array of another size.
            OutsideIntendedUse: a model that reads by region, and a scan in which no lungs were found.
        """
        findings, calibration = self.resolve_abnormalities(abnormalities), self.calibration if calibrated else None
        self.warm_up(findings)
        scans = [self.to_model_input(volume) for volume in volumes]
        probabilities_of = self._encoded_once(scans)
        return detect_scans(scans, findings, probabilities_of, folder=self.folder, precision=self.precision, calibration=calibration)

    @cached_property
    def calibration(self) -> Calibration | None:
        """Return the folder's calibration; None where it has none.

        Raises:
            ModelFolderInvalid: damaged, or another model's.
        """
        return read_calibration(self.folder.path, weights_sha256=self.folder.weights_sha256, prompts=self.folder.prompts)

    def settings(self) -> dict[str, Any]:
        """Return the settings that its numbers depend on, as JSON values, kept beside tables of them."""
        return {
            "model": self.folder.weights_sha256,
            "kind": self.folder.kind,
            "trained": self.folder.trained,
            "caution": self.folder.disclaimer,
            "precision": self.precision,
            "preprocess": config_to_mapping(self.preprocess),
            "licence": self.folder.licence,
            "citations": list(self.folder.citations),
            "notice": RESEARCH_USE,
        }

    def warm_up(self, abnormalities: Sequence[str | Finding] | None = None) -> None:
        """Do what is done once, and say what is missing, before the first scan.

        Raises:
            As `detect`, but for the scan.
        """
        _ = self.calibration
        findings = self.resolve_abnormalities(abnormalities)
        if self.capabilities.isdisjoint(_OWN_LABELS):
            self.prompt_latents(findings)

    @property
    def dim_latent(self) -> int:
        """Return L.

        Raises:
            CapabilityMissing: the model has no latents.
        """
        self.require(Capability.LATENTS, wording=_NO_LATENTS)
        return cast(int, self.encoder.outputs.latent_dim)

    def encode_volume(self, volume: VolumeInput) -> VolumeEmbedding:
        """Encode one scan: its tokens, its latent of unit norm (1, L), and codes and logits where the model has them.

        Raises:
            CapabilityMissing: the model has no latents; `encode_tokens` gives what it has.
            InputError: an array of another size than `preprocess.size`.
        """
        return self.encode_batch([volume])

    def encode_batch(self, volumes: Sequence[VolumeInput]) -> VolumeEmbedding:
        """Encode several scans at once: what `encode_volume` gives of each, up to rounding (1e-5), a row each. Raises like it."""
        self.require(Capability.LATENTS, wording=_NO_LATENTS)
        return self._encode(volumes)

    def volume_latent(self, volume: VolumeInput) -> NDArray[np.float32]:
        """Encode one scan as its latent of unit norm (L,), float32, on the CPU. Raises like `encode_volume`."""
        latent_1L = cast(Tensor, self.encode_volume(volume).latent_BL)
        return cast("NDArray[np.float32]", latent_1L[0].float().cpu().numpy())

    def encode_tokens(self, volume: VolumeInput) -> VolumeEmbedding:
        """Encode one scan as tokens on a regular grid, and codes where the model has them; a bare image encoder has no latent beside them.

        Raises:
            CapabilityMissing: its tokens are on no regular grid.
            InputError: an array of another size than `preprocess.size`.
        """
        self.require(Capability.TOKEN_GRID)
        return self._encode([volume])

    def read_regions(self, volume: VolumeInput) -> RegionReading:
        """Read findings place by place in one scan.

        Args:
            volume: a `Volume`, or prepared with the box of its chest; an array alone does not say where that is.

        Raises:
            CapabilityMissing: the model reads no regions.
            OutsideIntendedUse: no lungs were found.
            InputError: as `encode_volume`.
        """
        self.require(Capability.REGIONS)
        return self._read_regions([self.to_model_input(volume)])

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as latents of unit norm (len(texts), L), float32, on the model's device; long ones are cut, as published, and said.

        Raises:
            CapabilityMissing: the model reads no text.
            TokenizerMissing: its tokenizer is not there, or is another model's.
            InputError: no list of texts.
        """
        self.require(Capability.TEXT)
        return self._texts.encode(texts)

    def prompt_latents(self, abnormalities: Sequence[str | Finding] | None = None) -> Tensor:
        """Return (2 K, L): row 2k states abnormality k, row 2k + 1 denies it. Computed once, then cached beside the model.

        Raises:
            CapabilityMissing: the model is not prompted.
            TokenizerMissing: its tokenizer is not there.
        """
        return self._texts.of_prompts(self.resolve_abnormalities(abnormalities))

    def similarity(self, volumes: Sequence[VolumeInput], texts: Sequence[str]) -> NDArray[np.float32]:
        """Compare scans with texts: cosines of their latents times `logit_scale`, (len(volumes), len(texts)), as the contrastive loss does.

        Raises:
            CapabilityMissing: the model has no text, or no temperature.
            InputError: no scan, or as `encode_volume`.
        """
        scale = self.logit_scale()
        if not volumes:
            raise InputError("no scan to compare texts with", hint="Give one at least.")
        latents_VL = torch.from_numpy(np.stack([self.volume_latent(volume) for volume in volumes])).to(self.device)
        return cast("NDArray[np.float32]", (scale * latents_VL @ self.encode_text(texts).T).cpu().numpy())

    def check_precision(self, volume: VolumeInput) -> PrecisionReport:
        """Compare this model's precision with float32 on one scan: the weights are loaded once more for it.

        Raises:
            As `encode_volume`.
        """
        self.require(Capability.LATENTS, wording="latents to compare")
        exact = load_encoder(self.folder, device=self.device, precision="float32")
        with exact_inference():
            return compare_precision(exact, self.encoder, self._input([volume]))

    def logit_scale(self) -> Tensor:
        """Return the scalar that multiplies cosine similarities; raises CapabilityMissing where there is none."""
        self.require(Capability.ZERO_SHOT)
        return cast(Tensor, cast(VolumeTextEncoder, self.encoder).logit_scale)

    @property
    def temperature(self) -> float:
        """Return the learned temperature, the natural logarithm of `logit_scale`; raises as it."""
        return math.log(self.logit_scale().item())

    def require(self, *capabilities: Capability, wording: str | None = None) -> None:
        """Raise CapabilityMissing where the model has none of these capabilities; `wording` completes "it does not have …"."""
        if self.capabilities.isdisjoint(capabilities):
            detail = f"is {self.folder.spec.title}; it does not have {wording or capabilities[0].value}"
            hint = capability_hint(self.folder.spec, self.folder.config, *capabilities)
            raise CapabilityMissing(detail, hint=hint, source=self.folder.path)

    def _encode(self, volumes: Sequence[VolumeInput]) -> VolumeEmbedding:
        with exact_inference():
            return self.encoder.encode_volume(self._input(volumes))

    def _read_regions(self, volumes: Sequence[PreparedVolume]) -> RegionReading:
        boxes = [volume.lungs_box().along(self.preprocess.axes) for volume in volumes]
        with exact_inference():
            return cast(RegionEncoder, self.encoder).read_regions(self._input(volumes), boxes)

    def _encoded_once(self, volumes: Sequence[PreparedVolume]) -> Callable[[tuple[Finding, ...]], Tensor]:
        """Encode scans, and return what computes probabilities (B, K) of findings in them."""
        by_region = Capability.REGIONS in self.capabilities
        encoded = self._read_regions(volumes) if by_region else self._encode(volumes)

        def probabilities(findings: tuple[Finding, ...]) -> Tensor:
            with exact_inference():
                if encoded.logits_BK is not None:
                    return encoded.logits_BK.sigmoid()[:, self.label_columns(findings)]
                latent_BL = cast(Tensor, encoded.latent_BL)
                return zero_shot_probabilities(self.prompt_latents(findings), latent_BL, self.logit_scale())

        return probabilities

    def resolve_abnormalities(self, abnormalities: Sequence[str | Finding] | None) -> tuple[Finding, ...]:
        """Resolve the requested abnormalities; all labels of the model by default. Raises like `detect`."""
        self.require(*_FINDINGS, wording="findings")
        return resolve_findings(abnormalities, labels=self.folder.labels, is_prompted=self.capabilities.isdisjoint(_OWN_LABELS))

    def label_columns(self, abnormalities: Sequence[str | Finding] | None) -> list[int]:
        """List which of the model's labels these abnormalities are. Raises like `detect`."""
        return [self.folder.labels.index(finding.name) for finding in self.resolve_abnormalities(abnormalities)]

    def to_model_input(self, volume: VolumeInput) -> PreparedVolume:
        """Prepare the model's input from whatever `volume` is."""
        if isinstance(volume, PreparedVolume):
            return volume
        return prepare(volume, self.preprocess) if isinstance(volume, Volume) else prepared_array(volume)

    def _input(self, volumes: Sequence[VolumeInput]) -> Tensor:
        """(B, 1, *size) on the model's device."""
        return stack_inputs([self.to_model_input(volume) for volume in volumes], self.preprocess, device=self.device)
