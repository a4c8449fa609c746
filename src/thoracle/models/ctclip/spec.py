"""Describe the kinds of the CT-CLIP family: CT-CLIP, classifiers on it, and its image encoder alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from thoracle.config_reader import config_from_mapping
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.models.citations import CT_CLIP as CT_CLIP_PAPER
from thoracle.models.common.prompts import PROMPTS
from thoracle.models.common.shapes import Shapes
from thoracle.models.common.size_inference import Values, depth_of, section_of, settle, size_of, square_root
from thoracle.models.ctclip.classifier import LatentCTCLIPClassifier, TokenCTCLIPClassifier, build_classifier
from thoracle.models.ctclip.config import CTCLIPConfig, CTViTConfig, published_ctclip_config
from thoracle.models.ctclip.ctvit import CTViT
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.encoder import Capability
from thoracle.models.model_spec import CT_RATE_LICENCE, ConfigGuess, ModelSpec, TextRules
from thoracle.models.text.spec import checked_bert_settings, infer_text
from thoracle.types import ABNORMALITIES

_TEXT: Final = TextRules(
    tokenizer="cxr-bert",
    tokenizer_files="vocab.txt and tokenizer_config.json of microsoft/BiomedVLP-CXR-BERT-specialized",
    vocab_size=lambda config: config.bert.vocab_size,
)
_LATENTS: Final = frozenset({Capability.LATENTS, Capability.TEXT, Capability.SALIENCY})


def _token_capabilities(config: CTCLIPConfig | CTViTConfig | None) -> frozenset[Capability]:
    quantized = config is None or config.image_encoder.quantize
    return frozenset({Capability.VOLUMES, Capability.TOKEN_GRID} | ({Capability.CODES} if quantized else set()))


def _classifier_capabilities(config: CTCLIPConfig | None) -> frozenset[Capability]:
    attention = config is None or config.head == "label-attention"
    return _token_capabilities(config) | _LATENTS | {Capability.LABELS} | ({Capability.LABEL_ATTENTION} if attention else set())


def _read_classifier(values: Mapping[str, Any]) -> CTCLIPConfig:
    """Read sizes; in folders of before `label_self_attention` was a setting labels that look at tokens attend to each other."""
    before = {"label_self_attention": True} if values.get("head") == "label-attention" else {}
    return config_from_mapping(CTCLIPConfig, {**before, **values})


def _infer_clip(shapes: Shapes, settings: Mapping[str, Any], *, prefix: str) -> ConfigGuess:
    notes: list[str] = []
    latent, dim_image = (size_of(shapes, f"{prefix}to_visual_latent.weight", axis) for axis in (0, 1))
    ctvit = _infer_ctvit(shapes, f"{prefix}visual_transformer.", settings.get("ctvit", {}), dim_image, notes)
    bert = infer_text(
        shapes,
        f"{prefix}text_transformer.",
        checked_bert_settings(settings.get("bert", {})),
        notes,
        positions="bert",
        published=CTCLIPConfig().bert,
    )
    top = settle("config", {"dim_latent": latent}, _assumed(), _options(settings), notes)
    config = published_ctclip_config({**top, "ctvit": ctvit, "bert": bert})
    return ConfigGuess(config=config, preprocess=_preprocess(config), assumptions=tuple(notes))


def _infer_bare(shapes: Shapes, settings: Mapping[str, Any]) -> ConfigGuess:
    notes: list[str] = []
    ctvit = _infer_ctvit(shapes, "", settings.get("ctvit", {}), None, notes)
    config = published_ctclip_config({**settle("config", {}, _assumed(), _options(settings), notes), "ctvit": ctvit})
    return ConfigGuess(config=config.ctvit, preprocess=_preprocess(config), assumptions=tuple(notes))


def _options(settings: Mapping[str, Any]) -> Values:
    return {key: value for key, value in settings.items() if key not in ("ctvit", "bert")}


def _assumed() -> Values:
    return {"n_frames": CTCLIPConfig().n_frames}


def _preprocess(config: CTCLIPConfig) -> PreprocessConfig:
    return PreprocessConfig(size=(config.n_frames, config.ctvit.image_size, config.ctvit.image_size))


def _infer_ctvit(shapes: Shapes, prefix: str, settings: object, dim_image: int | None, notes: list[str]) -> Values:
    """Infer the image encoder. `dim_image` is the input width of the image projection; without one the image size is assumed."""
    settings = section_of(settings, "ctvit")
    dim = size_of(shapes, f"{prefix}vq._codebook.embed", 2)
    attention = f"{prefix}enc_spatial_transformer.layers.0.1"
    dim_head = size_of(shapes, f"{attention}.q_scale", 0)
    area = size_of(shapes, f"{prefix}to_patch_emb_first_frame.2.weight", 1)
    patch = square_root(area, "patch_size", settings, notes, f"patches of {area} pixels are square")
    read = {
        "dim": dim,
        "codebook_size": size_of(shapes, f"{prefix}vq._codebook.embed", 1),
        "patch_size": patch,
        "temporal_patch_size": size_of(shapes, f"{prefix}to_patch_emb.2.weight", 1) // area,
        "spatial_depth": depth_of(shapes, f"{prefix}enc_spatial_transformer.layers."),
        "temporal_depth": depth_of(shapes, f"{prefix}enc_temporal_transformer.layers."),
        "dim_head": dim_head,
        "heads": size_of(shapes, f"{attention}.to_q.weight", 0) // dim_head,
    }
    assumed = {"image_size": CTViTConfig().image_size}
    if dim_image is not None:
        cells = dim_image // dim
        grid = square_root(cells, "image_size", settings, notes, f"the grid of {cells} patches is square")
        read["image_size"] = grid * patch
    return settle("ctvit", read, {k: v for k, v in assumed.items() if k not in read}, settings, notes)


CT_CLIP: Final = ModelSpec(
    kind="ct-clip",
    name="CT-CLIP",
    title="CT-CLIP (volume and text encoder; VocabFine files are the same)",
    licence=CT_RATE_LICENCE,
    citations=(CT_CLIP_PAPER,),
    read_config=partial(config_from_mapping, CTCLIPConfig),
    build=CTCLIP,
    modules=(CTCLIP,),
    capabilities=lambda config: _token_capabilities(config) | _LATENTS | {Capability.ZERO_SHOT},
    labels=lambda _: ABNORMALITIES,
    prompts=PROMPTS,
    text_rules=_TEXT,
    key_pattern=re.compile(r"^(visual|text)_transformer\."),
    infer_config=lambda shapes, settings: _infer_clip(shapes, settings, prefix=""),
)
CLASSIFIER: Final = ModelSpec(
    kind="ct-clip-classifier",
    name="LiPro",
    title="a classifier on CT-CLIP: LiPro, or one whose labels look at its tokens",
    licence=CT_RATE_LICENCE,
    citations=(CT_CLIP_PAPER,),
    read_config=_read_classifier,
    build=build_classifier,
    modules=(LatentCTCLIPClassifier, TokenCTCLIPClassifier),
    capabilities=_classifier_capabilities,
    labels=lambda _: ABNORMALITIES,
    text_rules=_TEXT,
    key_pattern=re.compile(r"^trained_model\."),
    infer_config=lambda shapes, settings: _infer_clip(shapes, settings, prefix="trained_model."),
)
CTVIT: Final = ModelSpec(
    kind="ctvit",
    name="CTViT",
    title="CTViT, CT-CLIP's volume encoder alone",
    licence=CT_RATE_LICENCE,
    citations=(CT_CLIP_PAPER,),
    read_config=partial(config_from_mapping, CTViTConfig),
    build=CTViT,
    modules=(CTViT,),
    capabilities=_token_capabilities,
    labels=lambda _: (),
    key_pattern=re.compile(r"^(enc_(spatial|temporal)_transformer|vq|to_patch_emb)\."),
    infer_config=_infer_bare,
)
#: Kinds that hold a whole CT-CLIP.
CTCLIP_KINDS: Final = (CT_CLIP.kind, CLASSIFIER.kind)
