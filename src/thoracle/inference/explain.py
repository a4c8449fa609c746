"""Explain findings by saliency on a model's token grid, and locate it in the scan.

Evidence for a finding is a logit: of the prompt that it is present against the one that it is not, or a classifier's. A token has seen its
neighbours through attention, so that saliency says where the evidence was read, which need not be where it lies.

Shapes: K findings, T h w token grid, D width, L latent, O boxes at once; x y z voxels of a scan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thoracle.ct.preprocess import Preprocessing, input_affine, to_input_units
from thoracle.ct.recipes.orientation import ZXY, reorder, view_as
from thoracle.ct.recipes.run import foreground_box
from thoracle.ct.volume import Volume
from thoracle.errors import CapabilityMissing, InputError
from thoracle.inference.model import Model, VolumeInput
from thoracle.inference.modules import exact_inference
from thoracle.inference.regions import region_maps
from thoracle.models.encoder import AttentiveLabelEncoder, Capability, LabelEncoder, PatchEmbeddings, PatchEncoder
from thoracle.models.registry import models_with
from thoracle.types import Affine

Method = Literal["gradient", "occlusion", "similarity", "attention", "regions"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
#: What a box is filled with, in HU, one after the other: lung, soft tissue. What is odd in one is not in the other.
OCCLUSION_HU: Final = (-850.0, 40.0)
#: A grid of more tokens is occluded by boxes of several.
_MOST_BOXES: Final = 512
#: Tokens of boxes that are encoded together.
_BYTES_AT_ONCE: Final = 1 << 23

Saliency = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Slab:
    """Hold one row of tokens along z, and its fraction of the evidence for a finding.

    Attributes:
        fraction: of the positive saliency of the scan.
        first, last: slices of the scan that it covers, from 0, feet first.
        middle: the slice in its middle.
        z_mm: where that is, towards the head in the scan's own frame.
    """

    fraction: float
    first: int
    last: int
    middle: int
    z_mm: float


def saliency(
    model: Model,
    volume: VolumeInput,
    *,
    abnormalities: Sequence[str],
    method: Method,
    progress: Callable[[int, int], None] = lambda count, of: None,
) -> Saliency:
    """Compute (K, T, h, w): positive for evidence of each finding, negative against it; in logits, except for attention and regions.

    Maps lie along (z, x, y), whatever the axes of the model's input are.

    Args:
        model: has `Capability.SALIENCY`, or for "similarity" `Capability.PATCH_LATENTS`, or for "regions" `Capability.REGIONS`.
        volume: as `Model.detect` takes it.
        abnormalities: what is asked for; a zero-shot model takes any words.
        method: "gradient" multiplies each token by the gradient of the logit to it: one pass, and the encoder is not looked into.
            "occlusion" fills one box of the scan after the other, and says by how much the logit falls, the mean over `OCCLUSION_HU`.
            "similarity" compares each patch's own latent with the prompts, one pass: a patch's logit, not the scan's.
            "attention" says where a classifier's labels look, a share of 1, whatever they make of it.
            "regions" says where a scan differs from others as scans with the finding do, on a grid of its own (`region_maps`).
        progress: told how many of how many boxes are done.

    Raises:
        CapabilityMissing: a model without findings, or, asked for attention, without a head of label-attention, or, asked for regions, that
            reads none, or, asked for similarity, whose patches have no latents.
        InputError: no such method, or as `Model.detect`.
        OutsideIntendedUse: asked for regions, where no lungs were found.
    """
    if method not in METHODS:
        raise InputError(f"no method {method!r}", hint=f"There are {', '.join(METHODS)}.")
    if method == "regions":
        return region_maps(model, volume, abnormalities=abnormalities)
    if method == "similarity":
        maps = _similarity(model, volume, tuple(abnormalities))
    elif method == "attention":
        maps = _attention(model, volume, tuple(abnormalities))
    else:
        evidence = _evidence(model, tuple(abnormalities))
        maps = _gradient(model, volume, evidence) if method == "gradient" else _occlusion(model, volume, evidence, progress)
    return view_as(maps, model.preprocess.axes, ZXY)


def token_affine(volume: Volume, preprocess: Preprocessing, grid: tuple[int, int, int]) -> Affine:
    """Compute (4, 4): from an index (x, y, z) of the token grid to LPS millimetres of the scan; `grid` is (T, h, w)."""
    tokens, size_zxy = np.eye(4), reorder(preprocess.size, preprocess.axes, ZXY)
    for position, axis in enumerate((1, 2, 0)):
        width = size_zxy[axis] / grid[axis]
        tokens[position, position], tokens[position, 3] = width, (width - 1) / 2
    foreground = foreground_box(volume, preprocess)
    affine: Affine = volume.affine @ input_affine(volume.array.shape, volume.spacing, preprocess, foreground=foreground) @ tokens
    return affine


def resample_to_scan(saliency_THW: Saliency, volume: Volume, preprocess: Preprocessing) -> Saliency:
    """Interpolate (x, y, z) on the scan's own voxels, linearly between middles of patches; 0 outside the model's input.

    Between them it is no finer than a patch: smooth to look at, and not known better.
    """
    T, h, w = saliency_THW.shape
    token_index = np.linalg.inv(token_affine(volume, preprocess, (T, h, w))) @ volume.affine
    x, y, z = (_hat(token_index[a, a], token_index[a, 3], volume.array.shape[a], tokens) for a, tokens in enumerate((h, w, T)))
    heat: Saliency = np.einsum("tij,xi,yj,zt->xyz", saliency_THW, x, y, z, optimize=True).astype(np.float32)
    return heat


def axial_contributions(saliency_THW: Saliency, volume: Volume, preprocess: Preprocessing) -> list[Slab]:
    """List rows of tokens along z that lie in the scan and speak for the finding, the strongest first."""
    T, h, w = saliency_THW.shape
    affine = token_affine(volume, preprocess, (T, h, w))
    token_index, slices = np.linalg.inv(volume.affine) @ affine, volume.array.shape[2]
    positive = np.maximum(saliency_THW, 0).sum(axis=(1, 2), dtype=np.float64)
    slabs = []
    for t in np.argsort(-positive, kind="stable").tolist():
        low, high = (token_index[2, 2] * (t + side) + token_index[2, 3] for side in (-0.5, 0.5))
        first, last = max(0, math.ceil(low)), min(slices - 1, math.ceil(high) - 1)
        if positive[t] > 0 and first <= last:
            middle = (first + last) // 2
            z_mm = float(volume.affine[2, 2] * middle + volume.affine[2, 3])
            slabs.append(Slab(fraction=float(positive[t] / positive.sum()), first=first, last=last, middle=middle, z_mm=z_mm))
    return slabs


_Evidence = Callable[[Tensor], Tensor]


def _evidence(model: Model, names: tuple[str, ...]) -> _Evidence:
    """Return a function from the tokens that a model reads (B, T, h, w, D) to logits (B, K)."""
    if Capability.SALIENCY not in model.capabilities:
        hint = (
            f"Give a {models_with(Capability.SALIENCY)} model{', or --method regions' if Capability.REGIONS in model.capabilities else ''}."
        )
        raise CapabilityMissing(f"has no {Capability.SALIENCY.value}", hint=hint, source=model.folder.path)
    if Capability.LABELS in model.capabilities:
        columns, classifier = model.label_columns(names), cast(LabelEncoder, model.encoder)
        return lambda tokens_BTHWD: classifier.classify_tokens(tokens_BTHWD)[:, columns]
    axis_KL, encoder = _prompt_axes(model, names), cast(PatchEncoder, model.encoder)
    return lambda tokens_BTHWD: encoder.project_tokens(tokens_BTHWD).float() @ axis_KL.T


def _prompt_axes(model: Model, names: tuple[str, ...]) -> Tensor:
    """(K, L): a latent's product with row k is the logit of finding k."""
    prompts_2KL = model.prompt_latents(names).clone()  # of inference mode, which no gradient passes
    return (prompts_2KL[0::2] - prompts_2KL[1::2]) * model.logit_scale()


def _similarity(model: Model, volume: VolumeInput, names: tuple[str, ...]) -> Saliency:
    model.require(Capability.PATCH_LATENTS)
    axes_KL = _prompt_axes(model, names)
    with exact_inference():
        patches_THWL = cast(Tensor, model.encode_volume(volume).patch_latents)[0].float()
        return (patches_THWL @ axes_KL.T).movedim(-1, 0).cpu().numpy()


def _gradient(model: Model, volume: VolumeInput, evidence: _Evidence) -> Saliency:
    tokens_BTHWD = model.encode_volume(volume).tokens.clone().requires_grad_(True)
    with torch.enable_grad():
        logits_K = evidence(tokens_BTHWD)[0]
        gradients = [torch.autograd.grad(logit, tokens_BTHWD, retain_graph=True)[0] for logit in logits_K]
    products = [(gradient * tokens_BTHWD.detach()).sum(dim=-1)[0] for gradient in gradients]
    return torch.stack(products).float().cpu().numpy()


def _attention(model: Model, volume: VolumeInput, names: tuple[str, ...]) -> Saliency:
    if Capability.LABEL_ATTENTION not in model.capabilities:
        hint = "Give a classifier that was trained with `head: label-attention`, or another method."
        raise CapabilityMissing(f"has no {Capability.LABEL_ATTENTION.value}", hint=hint, source=model.folder.path)
    columns = model.label_columns(names)
    with torch.inference_mode():
        attention_BKTHW = cast(AttentiveLabelEncoder, model.encoder).attend_labels(model.encode_volume(volume).tokens)
    return attention_BKTHW[0, columns].cpu().numpy()


def _occlusion(model: Model, volume: VolumeInput, evidence: _Evidence, progress: Callable[[int, int], None]) -> Saliency:
    """Occlude boxes of whole patches. A patch is embedded alone: each filling is embedded once, and put in place of patches."""
    encoder, array = cast(PatchEncoder, model.encoder), model.to_model_input(volume).array
    with exact_inference():
        volume_1ZHW = torch.from_numpy(array)[None, None].to(model.device)
        patches_1THWD = encoder.embed_patches(volume_1ZHW).patch_embeddings
        values = [to_input_units(hu, model.preprocess) for hu in OCCLUSION_HU]
        fillings = [encoder.embed_patches(torch.full_like(volume_1ZHW, value)).patch_embeddings for value in values]
        logits_K = evidence(encoder.encode_patches(PatchEmbeddings(patch_embeddings=patches_1THWD)))[0]
        _, T, h, w, _ = patches_1THWD.shape
        boxes = _boxes((T, h, w))
        at_once = max(1, _BYTES_AT_ONCE // patches_1THWD.nbytes)
        saliency_KThw = torch.zeros(len(logits_K), T, h, w)
        for start in range(0, len(boxes), at_once):
            chunk = boxes[start : start + at_once]
            for filling_1THWD in fillings:
                occluded_OTHWD = patches_1THWD.repeat(len(chunk), 1, 1, 1, 1)
                for occluded, box in zip(occluded_OTHWD, chunk, strict=True):
                    occluded[box] = filling_1THWD[0][box]
                logits_OK = evidence(encoder.encode_patches(PatchEmbeddings(patch_embeddings=occluded_OTHWD)))
                for falls_K, box in zip((logits_K - logits_OK).cpu() / len(OCCLUSION_HU), chunk, strict=True):
                    saliency_KThw[(slice(None), *box)] += falls_K[:, None, None, None]
            progress(start + len(chunk), len(boxes))
    return saliency_KThw.numpy()


def _boxes(grid: tuple[int, int, int]) -> list[tuple[slice, ...]]:
    """Cubes of tokens, as small as leaves no more than `_MOST_BOXES` of them."""
    edge = 1
    while math.prod(-(-tokens // edge) for tokens in grid) > _MOST_BOXES:
        edge += 1
    corners = np.ndindex(*(-(-tokens // edge) for tokens in grid))
    return [tuple(slice(at * edge, min((at + 1) * edge, most)) for at, most in zip(corner, grid, strict=True)) for corner in corners]


def _hat(scale: float, offset: float, voxels: int, tokens: int) -> NDArray[np.float64]:
    """(voxels, tokens) weights of linear interpolation; the outer half of the outer tokens is flat, and there is nothing beyond."""
    at = scale * np.arange(voxels) + offset
    inside = (at >= -0.5) & (at <= tokens - 0.5)
    near = np.clip(at, 0, tokens - 1)[:, None]
    weights: NDArray[np.float64] = np.maximum(1 - np.abs(near - np.arange(tokens)), 0) * inside[:, None]
    return weights
