"""Initialize a contrastive run: its tokenizer, and weights that are random, a model's, or random around a pretrained text encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from thoracle.errors import CapabilityMissing, InputError
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict, open_model
from thoracle.models.bundle.pretrained_text import PretrainedText, initialize_text, load_pretrained_text
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.encoder import Capability
from thoracle.models.imagetext.config import ImageTextConfig
from thoracle.models.imagetext.model import ImageTextEncoder
from thoracle.models.registry import models_with
from thoracle.models.text.config import TextConfig
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.engine.start_model import open_start_model


def read_text_encoder(config: ContrastiveConfig) -> PretrainedText | None:
    """Load the text encoder that the configuration names; None where it names none, or a model to go on from, which has its own.

    Raises:
        InputError, ModelError: as `load_pretrained_text`.
    """
    return load_pretrained_text(Path(config.init_text_encoder)) if config.init_text_encoder and not config.init_from else None


def text_sizes(bert: TextConfig, text: PretrainedText | None) -> TextConfig:
    """Return the sizes and the dropout of the text encoder: its own config.json's, where it has one, else the configuration's."""
    return bert if text is None or text.sizes is None else replace(text.sizes, cls_source=bert.cls_source)


def select_tokenizer(config: ContrastiveConfig, text: PretrainedText | None, words: Callable[[], Sequence[str]]) -> Tokenizer:
    """Select the tokenizer of the configuration, start model or text encoder; else make a vocabulary from `words` and the prompts.

    Raises:
        TokenizerMissing: what the configuration names holds none.
    """
    if config.tokenizer:
        return Tokenizer.from_folder(Path(config.tokenizer))
    if config.init_from:
        return open_model(Path(config.init_from)).tokenizer()
    pretrained = None if text is None else text.tokenizer
    return pretrained or Tokenizer.from_words([*words(), *format_prompts()])


def open_image_encoder(config: ContrastiveConfig) -> ModelFolder | None:
    """Open the model whose image side a run begins with; None for CT-CLIP's own.

    Raises:
        CapabilityMissing: it has no latents.
        InputError: it was made for another preprocessing than the configuration's.
    """
    if not config.init_image_encoder:
        return None
    folder = open_start_model(config.init_image_encoder, config.preprocess)
    if Capability.LATENTS not in folder.capabilities or folder.kind == "image-text":
        hint = f"Give a {models_with(Capability.LATENTS)} model that is no pair already."
        raise CapabilityMissing(f"is {folder.spec.title}, whose image side gives no latents of its own", hint=hint, source=folder.path)
    return folder


def build_image_text(config: ContrastiveConfig, folder: ModelFolder, tokenizer: Tokenizer, text: PretrainedText | None) -> ImageTextEncoder:
    """Build the model of another encoder's image side; raises as `build_ctclip`."""
    check_vocab_size(tokenizer, config.model.bert)
    encoder = folder.spec.build(folder.config)
    encoder.load_state_dict(load_state_dict(folder))
    model = ImageTextEncoder(
        ImageTextConfig(bert=config.model.bert, dim_latent=config.model.dim_latent, encoder_kind=folder.kind, encoder=folder.config),
        encoder,
    )
    with torch.no_grad():
        model.temperature.fill_(config.init_log_logit_scale)
    if text is not None:
        initialize_text(model.text_transformer, text, config=config.model.bert)
    return model


def build_ctclip(config: ContrastiveConfig, tokenizer: Tokenizer, text: PretrainedText | None = None) -> CTCLIP:
    """Build the CT-CLIP that the configuration begins with, with the text encoder that it names.

    Raises:
        InputError: its sizes are not those of `init_from`, or of the tokenizer.
        ModelError: `init_from` is damaged or something else, or the text encoder is of other sizes.
    """
    check_vocab_size(tokenizer, config.model.bert)
    clip = CTCLIP(config.model)
    if config.init_from:
        folder = open_model(Path(config.init_from))
        if folder.config != config.model:
            raise InputError("is not of the sizes in the configuration", hint="Give its config.json's as `model`.", source=folder.path)
        clip.load_state_dict(load_state_dict(folder))
        return clip
    with torch.no_grad():
        clip.temperature.fill_(config.init_log_logit_scale)
    if text is not None:
        initialize_text(clip.text_transformer, text, config=config.model.bert)
    return clip


def check_vocab_size(tokenizer: Tokenizer, bert: TextConfig) -> None:
    """Raise InputError where a tokenizer has more words than the text encoder."""
    if tokenizer.vocab_size > bert.vocab_size:
        detail = f"the tokenizer has {tokenizer.vocab_size} words, the model's vocab_size is {bert.vocab_size}"
        raise InputError(detail, hint="Raise model.bert.vocab_size.", source="config")
