"""A model's whole detection as one ONNX graph, for machines without torch: a preprocessed volume in, probabilities out.

Prompts' latents are in it as numbers, and so is a calibration that the model keeps: it answers what `detect` answers. What a reader of the
file must know is in its metadata: labels, preprocessing, caution, notice. `quantize_onnx` makes its linear maps compute in int8.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from thoracle.config_reader import config_to_mapping
from thoracle.errors import CapabilityMissing, ExtraMissing
from thoracle.inference.calibration import EDGE
from thoracle.inference.model import Model
from thoracle.models.common.zero_shot import zero_shot_probabilities
from thoracle.models.encoder import Capability
from thoracle.types import RESEARCH_USE, ModelInput

INPUT: Final = "volume"
OUTPUT: Final = "probabilities"
#: Of the graph; onnxruntime reads it since 1.14.
_OPSET: Final = 18
#: Of one file (a limit of protobuf).
_MOST_BYTES: Final = 2**31 - 1


def onnx_model(model: Model) -> bytes:
    """Export the file's content. Input `volume` (1, 1, *size) float32 as `preprocess` gives it, output `probabilities` (1, K) float32.

    Args:
        model: a CT-CLIP or a classifier on one, on the CPU.

    Raises:
        CapabilityMissing: a model without findings, one that reads by region, or one too large for one file.
        ExtraMissing: onnx, onnxruntime or onnxscript is not installed.
    """
    onnx = _extra("onnx")
    _extra("onnxscript")
    if Capability.REGIONS in model.capabilities:
        detail = "reads by region, for which it is told where each scan's lungs are: that is no graph of a volume alone"
        raise CapabilityMissing(detail, hint="Use `thoracle detect`, or export its encoder.", source=model.folder.path)
    detector = _Detector(model).eval().requires_grad_(False)
    example = torch.zeros(1, 1, *model.preprocess.size)
    # Gradients are on, for which the encoder computes in the plain way: nothing in place, nothing kept from pass to pass.
    with _quiet(), torch.enable_grad():
        program: Any = torch.onnx.export(
            detector, (example,), dynamo=True, opset_version=_OPSET, input_names=[INPUT], output_names=[OUTPUT], verbose=False
        )
    proto = program.model_proto
    if proto.ByteSize() > _MOST_BYTES:
        raise CapabilityMissing("is too large for one ONNX file", hint="Use `thoracle detect`.", source=model.folder.path)
    onnx.helper.set_model_props(proto, _facts(model))
    return cast(bytes, proto.SerializeToString())


def quantize_onnx(content: bytes) -> bytes:
    """Make linear maps of `onnx_model`'s file compute in int8: weights are rounded once, their inputs in each pass, by scales of their own.

    All else stays float32: norms, attention, convolutions, and products that decide, with the codebook and with prompts.

    Raises:
        ExtraMissing: onnx or onnxruntime is not installed.
    """
    onnx = _extra("onnx")
    quantization = _extra("onnxruntime.quantization")
    prepare = _extra("onnxruntime.quantization.shape_inference").quant_pre_process
    proto = onnx.load_model_from_string(content)
    with tempfile.TemporaryDirectory() as work, _quiet():
        exact, folded, rounded = (str(Path(work) / f"{name}.onnx") for name in ("exact", "folded", "rounded"))
        Path(exact).write_bytes(content)
        # Folding makes constants of weights that are split or transposed first; what is no constant is not rounded.
        prepare(exact, folded, skip_symbolic_shape=True, skip_onnx_shape=True)
        quantization.quantize_dynamic(
            folded,
            rounded,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=[node.name for node in proto.graph.node if not _is_linear(node)],
        )
        return Path(rounded).read_bytes()


def add_caution(content: bytes, sentence: str) -> bytes:
    """Add a sentence to the caution in a file's metadata."""
    proto = _extra("onnx").load_model_from_string(content)
    (caution,) = (entry for entry in proto.metadata_props if entry.key == "caution")
    caution.value = f"{caution.value} {sentence}".strip()
    return cast(bytes, proto.SerializeToString())


def onnx_detect(content: bytes) -> Callable[[ModelInput], tuple[float, ...]]:
    """Compute probabilities of a preprocessed volume, by onnxruntime on the CPU.

    Raises:
        ExtraMissing: onnxruntime is not installed.
    """
    runtime = _extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda volume: tuple(session.run([OUTPUT], {INPUT: volume[None, None]})[0][0].tolist())


class _Detector(nn.Module):
    """What `Model.detect` computes."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        model.warm_up()
        self.encoder = model.encoder
        labels = Capability.LABELS in model.capabilities
        self.calibration_weights_KK: Tensor | None
        self.calibration_offset_K: Tensor | None
        self.prompts_2KL: Tensor | None
        self.logit_scale: Tensor | None
        self.register_buffer("prompts_2KL", None if labels else model.prompt_latents().clone())
        self.register_buffer("logit_scale", None if labels else model.logit_scale().clone())
        names, calibration = model.folder.labels, model.calibration
        weights, offsets = (None, None) if calibration is None else map(torch.tensor, calibration.weights(names))
        self.register_buffer("calibration_weights_KK", weights)
        self.register_buffer("calibration_offset_K", offsets)

    def forward(self, volume_B1ZHW: Tensor) -> Tensor:
        """Return probabilities (B, K)."""
        embedding = self.encoder.encode_volume(volume_B1ZHW)
        if embedding.logits_BK is not None:
            probabilities_BK = embedding.logits_BK.sigmoid()
        else:
            prompts_2KL, latent_BL = cast(Tensor, self.prompts_2KL), cast(Tensor, embedding.latent_BL)
            probabilities_BK = zero_shot_probabilities(prompts_2KL, latent_BL, cast(Tensor, self.logit_scale))
        if self.calibration_weights_KK is None or self.calibration_offset_K is None:
            return probabilities_BK
        logits_BK = probabilities_BK.clamp(EDGE, 1 - EDGE).logit()
        # A sum of products and no linear map, which `quantize_onnx` would round where it was folded with the offset.
        return ((logits_BK[:, None] * self.calibration_weights_KK).sum(dim=-1) + self.calibration_offset_K).sigmoid()


def _facts(model: Model) -> Mapping[str, str]:
    return {
        "notice": RESEARCH_USE,
        "caution": model.folder.disclaimer,
        "trained": json.dumps(model.folder.trained),
        "labels": json.dumps(model.folder.labels),
        "preprocess": json.dumps(config_to_mapping(model.preprocess)),
        "calibration": "" if model.calibration is None else model.calibration.fitted_on,
        "weights_sha256": model.folder.weights_sha256,
        "licence": model.folder.licence,
        "citations": json.dumps(model.folder.citations),
    }


def _is_linear(node: Any) -> bool:
    """Tell whether a node computes part of a linear map: the exporter names it after torch's function, and lists where it was called."""
    scopes = [prop.value for prop in node.metadata_props if prop.key == "pkg.torch.onnx.name_scopes"]
    return bool(scopes) and literal_eval(scopes[0])[-1].startswith("linear")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch, which warns of what it does without, such as torchvision, and onnxruntime, which asks for what was done."""
    logs = [logging.getLogger("torch.onnx"), logging.getLogger()]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


def _extra(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ExtraMissing(f"{name} is not installed", hint="Install it with `pip install 'thoracle[onnx]'`.") from error
