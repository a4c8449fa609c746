"""Describe the report classifier, and infer the sizes of any BERT-shaped text encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from thoracle.config_reader import config_from_mapping
from thoracle.errors import CheckpointIncomplete, InputError
from thoracle.models.citations import CT_CLIP
from thoracle.models.common.shapes import Shapes
from thoracle.models.common.size_inference import Values, depth_of, section_of, settle, size_of
from thoracle.models.model_spec import CT_RATE_LICENCE, ConfigGuess, ModelSpec, TextRules
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.config import TextConfig
from thoracle.types import ABNORMALITIES

#: What a BertConfig may say that changes nothing here: training, generation, bookkeeping, CXR-BERT's unused projection.
IGNORED: Final = frozenset({
    "_name_or_path", "add_cross_attention", "architectures", "attn_implementation", "auto_map", "bos_token_id",
    "chunk_size_feed_forward", "classifier_dropout", "cross_attention_hidden_size", "dtype", "eos_token_id", "finetuning_task",
    "gradient_checkpointing", "id2label", "initializer_range", "is_encoder_decoder", "label2id", "model_type",
    "output_attentions", "output_hidden_states", "output_past", "prefix", "problem_type", "projection_size", "pruned_heads",
    "return_dict", "sep_token_id", "task_specific_params", "tie_word_embeddings", "tokenizer_class", "torch_dtype", "torchscript",
    "transformers_version", "use_bfloat16", "use_cache",
})  # fmt: skip
#: What it may say only in one way, because the published models are built in that way.
FIXED: Final = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}


_TRANSFORMERS: Final = TextConfig()


def infer_text(
    shapes: Shapes, prefix: str, settings: Values, notes: list[str], *, positions: str, published: TextConfig = _TRANSFORMERS
) -> Values:
    """Infer the settings of the text encoder whose tensors begin with `prefix`.

    Args:
        shapes: names and shapes.
        prefix: of the encoder's names.
        settings: the user's settings, as `checked_bert_settings` returns them.
        notes: assumptions are added here.
        positions: "bert" or "roberta".
        published: has what is assumed where neither tensors nor settings say.

    Raises:
        CheckpointIncomplete: the number of heads follows from nothing.
    """
    width = size_of(shapes, f"{prefix}embeddings.word_embeddings.weight", 1)
    read = {
        "vocab_size": size_of(shapes, f"{prefix}embeddings.word_embeddings.weight", 0),
        "hidden_size": width,
        "num_hidden_layers": depth_of(shapes, f"{prefix}encoder.layer."),
        "intermediate_size": size_of(shapes, f"{prefix}encoder.layer.0.intermediate.dense.weight", 0),
        "max_position_embeddings": size_of(shapes, f"{prefix}embeddings.position_embeddings.weight", 0),
        "type_vocab_size": size_of(shapes, f"{prefix}embeddings.token_type_embeddings.weight", 0),
    }
    assumed: Values = {
        "num_attention_heads": width // 64,
        "layer_norm_eps": published.layer_norm_eps,
        "hidden_dropout_prob": published.hidden_dropout_prob,
        "attention_probs_dropout_prob": published.attention_probs_dropout_prob,
        "pad_token_id": 1 if positions == "roberta" else 0,
    }
    if "num_attention_heads" not in settings and width % 64:
        raise CheckpointIncomplete(
            f"the number of BERT heads is not in the tensors, and width {width} is not a multiple of 64",
            hint="Give it as bert.num_attention_heads in --config.",
        )
    return {**settle("bert", read, assumed, settings, notes), "position_scheme": positions}


def checked_bert_settings(settings: object) -> Values:
    """Drop what changes nothing from the user's BertConfig; raises InputError for a network that is not built."""
    values = section_of(settings, "bert")
    for name, value in FIXED.items():
        if values.get(name, value) != value:
            raise InputError(
                f"--config says bert.{name} is {values[name]!r}"[:120] + f", only {value!r} is built", hint="Use a model that is so built."
            )
    return {name: value for name, value in values.items() if name not in IGNORED and name not in FIXED}


def _infer_config(shapes: Shapes, settings: Mapping[str, Any]) -> ConfigGuess:
    notes: list[str] = []
    values = infer_text(shapes, "model.", checked_bert_settings(settings.get("bert", settings)), notes, positions="roberta")
    return ConfigGuess(config=_read_config(values), preprocess=None, assumptions=tuple(notes))


def _read_config(values: Mapping[str, Any]) -> TextConfig:
    return config_from_mapping(TextConfig, values, source="bert")


TEXT_CLASSIFIER: Final = ModelSpec(
    kind="text-classifier",
    name="report labeller",
    title="a report labeller (RoBERTa)",
    licence=CT_RATE_LICENCE,
    citations=(CT_CLIP,),
    read_config=_read_config,
    build=lambda config: TextClassifier(config, n_labels=len(ABNORMALITIES)),
    modules=(TextClassifier,),
    capabilities=lambda _: frozenset(),
    labels=lambda _: ABNORMALITIES,
    text_rules=TextRules(
        tokenizer="radbert",
        tokenizer_files="vocab.json, merges.txt and tokenizer_config.json of zzxslp/RadBERT-RoBERTa-4m",
        vocab_size=lambda config: config.vocab_size,
    ),
    key_pattern=re.compile(r"^model\.(embeddings|encoder)\."),
    infer_config=_infer_config,
)
