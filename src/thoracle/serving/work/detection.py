"""Detect findings in a scan, and map where they are read."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from thoracle.client.forms.scans import FindingMap, StrongestSlice
from thoracle.client.forms.service import Method
from thoracle.ct.nifti_image import to_nifti
from thoracle.errors import CapabilityMissing
from thoracle.files.atomic import write_atomic
from thoracle.inference.explain import Saliency, Slab, axial_contributions, saliency, token_affine
from thoracle.inference.explanation_json import ExplainedFinding, file_stem
from thoracle.inference.findings import Findings
from thoracle.inference.localization.measured import read_localization, slice_statement
from thoracle.inference.localization.strongest_place import strongest_place
from thoracle.inference.model import Model
from thoracle.inference.prepare import PreparedVolume, prepare
from thoracle.models.encoder import Capability
from thoracle.serving.jobs.worker import JobContext
from thoracle.serving.work.results import FindingsRead
from thoracle.serving.work.scan_folder import load_volume
from thoracle.serving.work.wording import finding_rows

#: Of scans, prepared for a model: that whose findings are asked for is mapped and talked about next.
_REMEMBERED = 2


class Detector:
    """Detect and map with one model, and with a model of regions beside it.

    Attributes:
        model: findings come from it.
        regions: maps of the method "regions" come from it; None where there is none, or `model` reads regions itself.
    """

    def __init__(self, model: Model, regions: Model | None) -> None:
        self.model, self.regions = model, regions
        self.prepared = lru_cache(_REMEMBERED)(self._prepared)
        self.findings = lru_cache(_REMEMBERED)(self._findings)

    @property
    def methods(self) -> list[Method]:
        """List the methods that the models have, the default first."""
        capabilities = self.model.capabilities
        has = {
            "regions": self.regions is not None or Capability.REGIONS in capabilities,
            "gradient": Capability.SALIENCY in capabilities,
            "similarity": Capability.PATCH_LATENTS in capabilities and Capability.ZERO_SHOT in capabilities,
            "attention": Capability.LABEL_ATTENTION in capabilities,
            "occlusion": Capability.SALIENCY in capabilities,
        }
        return [method for method, present in has.items() if present]  # type: ignore[misc]  # keys are methods

    def detect(self, context: JobContext, *, scan: str) -> FindingsRead:
        """Read all findings of a scan."""
        context.report("preparing")
        self.prepared(scan, self.model)
        context.check()
        context.report("reading findings")
        findings = self.findings(scan)
        return FindingsRead(document=findings.as_dict(), rows=finding_rows(findings, self.model.calibration))

    def map(self, context: JobContext, *, scan: str, finding: str, method: Method | None, out: str) -> FindingMap:
        """Write where a model reads a finding as a grid in the scan's millimetres, to the file `out`.

        Raises:
            CapabilityMissing: no model makes such maps, or any.
            InputError: no model knows the finding.
        """
        if not self.methods:
            raise CapabilityMissing("the model makes no maps", hint="Serve a model that does, or one of regions with --regions.")
        method = method or self._default_method(finding)
        model = self.regions if method == "regions" and self.regions is not None else self.model
        context.report("preparing")
        prepared, volume = self.prepared(scan, model), load_volume(Path(scan))

        def progress(count: int, total: int) -> None:
            context.check()
            context.report(f"box {count:,} of {total:,}")

        context.report(f"mapping by {method}")
        saliency_THW = saliency(model, prepared, abnormalities=[finding], method=method, progress=progress)[0]
        affine = token_affine(volume, model.preprocess, _grid(saliency_THW))
        write_atomic(Path(out), to_nifti(saliency_THW.transpose(1, 2, 0), affine), private=True)
        measured = read_localization(model.folder.path, weights_sha256=model.folder.weights_sha256).get(method)
        explained = ExplainedFinding(
            finding=finding,
            probability=float("nan"),
            stem=file_stem(finding, method),
            layers=tuple(axial_contributions(saliency_THW, volume, model.preprocess)),
            location=strongest_place(saliency_THW, prepared.box),
            measured=None if measured is None else measured.findings.get(finding),
        )
        where, _ = explained.statements()
        return FindingMap(
            finding=finding,
            method=method,
            slice=_strongest(explained.layers, saliency_THW, affine),
            where=where,
            sentence=slice_statement(explained.measured),
            range=[float(saliency_THW.min()), float(saliency_THW.max())],
            signed=bool(saliency_THW.min() < 0),
        )

    def _default_method(self, finding: str) -> Method:
        """Return "regions" where its model knows the finding, else the first other method."""
        reads_regions = self.regions or self.model
        methods = self.methods
        if methods[0] == "regions" and finding not in reads_regions.folder.labels and len(methods) > 1:
            return methods[1]
        return methods[0]

    def _prepared(self, scan: str, model: Model) -> PreparedVolume:
        return prepare(load_volume(Path(scan)), model.preprocess)

    def _findings(self, scan: str) -> Findings:
        return self.model.detect(self.prepared(scan, self.model))


def _grid(saliency_THW: Saliency) -> tuple[int, int, int]:
    T, h, w = saliency_THW.shape
    return T, h, w


def _strongest(layers: tuple[Slab, ...], saliency_THW: Saliency, affine: Any) -> StrongestSlice | None:
    """Locate the strongest cell of the strongest row, at the height of its middle slice, in RAS."""
    if not layers:
        return None
    layer = layers[0]
    t = round((layer.z_mm - affine[2, 3]) / affine[2, 2])
    row = min(max(t, 0), len(saliency_THW) - 1)
    h, w = np.unravel_index(int(saliency_THW[row].argmax()), saliency_THW[row].shape)
    x, y, _, _ = affine @ np.array([h, w, row, 1.0])
    return StrongestSlice(axis="axial", index=layer.middle, mm=[float(-x), float(-y), layer.z_mm], share=layer.fraction)
