"""The sizes of a published file, read off the shapes of its tensors; what tensors do not say comes from the user or is assumed aloud.

Knows no file: shapes and the user's configuration in, a configuration and sentences out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any, Final

from thoracle.errors import CheckpointIncomplete, InputError
from thoracle.models.ctclip_config import CTCLIPConfig, CTViTConfig
from thoracle.models.kinds import Kind, ModelConfig, Shapes, config_from_dict
from thoracle.models.names import listed
from thoracle.models.text_config import TextConfig

Values = dict[str, Any]

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


def infer(kind: Kind, shapes: Shapes, given: Mapping[str, Any]) -> tuple[ModelConfig, int, tuple[str, ...]]:
    """Configuration, slices of a volume, and a sentence for each thing that was assumed.

    Args:
        kind: which model it is.
        shapes: names and shapes, prefixes of containers removed.
        given: the user's JSON, keys as in the published configuration; empty where there is none.

    Raises:
        CheckpointIncomplete: a tensor that gives a size is missing, or a size follows from nothing.
        InputError: the user's JSON contradicts the tensors or itself; names both.
    """
    notes: list[str] = []
    if kind == "text-classifier":
        config = config_from_dict(kind, _text(shapes, "model.", _bert_given(given.get("bert", given)), notes, positions="roberta"))
        return config, 0, tuple(notes)
    if kind == "chat-projector":
        values = _settle("projector", _projector(shapes), {"heads": 8}, given, notes)
        return config_from_dict(kind, values), 0, tuple(notes)
    return _with_volumes(kind, shapes, given, notes)


def _with_volumes(kind: Kind, shapes: Shapes, given: Mapping[str, Any], notes: list[str]) -> tuple[ModelConfig, int, tuple[str, ...]]:
    prefix = {"ct-clip": "", "ct-clip-classifier": "trained_model."}.get(kind)
    assumed = {"n_frames": CTCLIPConfig().n_frames}
    options = {key: value for key, value in given.items() if key not in ("ctvit", "bert")}
    if prefix is None:
        ctvit = _ctvit(shapes, "", given.get("ctvit", {}), None, notes)
        whole = CTCLIPConfig.from_dict({**_settle("config", {}, assumed, options, notes), "ctvit": ctvit})
        return whole.ctvit, whole.n_frames, tuple(notes)
    latent, dim_image = (_size(shapes, f"{prefix}to_visual_latent.weight", axis) for axis in (0, 1))
    ctvit = _ctvit(shapes, f"{prefix}visual_transformer.", given.get("ctvit", {}), dim_image, notes)
    bert = _text(shapes, f"{prefix}text_transformer.", _bert_given(given.get("bert", {})), notes, positions="bert")
    top = _settle("config", {"dim_latent": latent}, assumed, options, notes)
    config = CTCLIPConfig.from_dict({**top, "ctvit": ctvit, "bert": bert})
    return config, config.n_frames, tuple(notes)


def _ctvit(shapes: Shapes, prefix: str, given: object, dim_image: int | None, notes: list[str]) -> Values:
    """`dim_image` is the input width of the image projection; a bare encoder has none, and its image size is assumed."""
    given = _section(given, "ctvit")
    dim = _size(shapes, f"{prefix}vq._codebook.embed", 2)
    attention = f"{prefix}enc_spatial_transformer.layers.0.1"
    dim_head = _size(shapes, f"{attention}.q_scale", 0)
    area = _size(shapes, f"{prefix}to_patch_emb_first_frame.2.weight", 1)
    patch = _root(area, "patch_size", given, notes, f"patches of {area} pixels are square")
    read = {
        "dim": dim,
        "codebook_size": _size(shapes, f"{prefix}vq._codebook.embed", 1),
        "patch_size": patch,
        "temporal_patch_size": _size(shapes, f"{prefix}to_patch_emb.2.weight", 1) // area,
        "spatial_depth": _depth(shapes, f"{prefix}enc_spatial_transformer.layers."),
        "temporal_depth": _depth(shapes, f"{prefix}enc_temporal_transformer.layers."),
        "dim_head": dim_head,
        "heads": _size(shapes, f"{attention}.to_q.weight", 0) // dim_head,
    }
    assumed = {"image_size": CTViTConfig().image_size}
    if dim_image is not None:
        cells = dim_image // dim
        grid = _root(cells, "image_size", given, notes, f"the grid of {cells} patches is square")
        read["image_size"] = grid * patch
    return _settle("ctvit", read, {k: v for k, v in assumed.items() if k not in read}, given, notes)


def _text(shapes: Shapes, prefix: str, given: Values, notes: list[str], *, positions: str) -> Values:
    width = _size(shapes, f"{prefix}embeddings.word_embeddings.weight", 1)
    read = {
        "vocab_size": _size(shapes, f"{prefix}embeddings.word_embeddings.weight", 0),
        "hidden_size": width,
        "num_hidden_layers": _depth(shapes, f"{prefix}encoder.layer."),
        "intermediate_size": _size(shapes, f"{prefix}encoder.layer.0.intermediate.dense.weight", 0),
        "max_position_embeddings": _size(shapes, f"{prefix}embeddings.position_embeddings.weight", 0),
        "type_vocab_size": _size(shapes, f"{prefix}embeddings.token_type_embeddings.weight", 0),
    }
    published = TextConfig()
    assumed: Values = {
        "num_attention_heads": width // 64,
        "layer_norm_eps": published.layer_norm_eps,
        "hidden_dropout_prob": published.hidden_dropout_prob,
        "attention_probs_dropout_prob": published.attention_probs_dropout_prob,
        "pad_token_id": 1 if positions == "roberta" else 0,
    }
    if "num_attention_heads" not in given and width % 64:
        raise CheckpointIncomplete(
            f"the number of BERT heads is not in the tensors, and width {width} is not a multiple of 64",
            cure="Give it as bert.num_attention_heads in --config.",
        )
    return {**_settle("bert", read, assumed, given, notes), "positions": positions}


def _projector(shapes: Shapes) -> Values:
    return {
        "queries": _size(shapes, "attn_pool.query", 0),
        "dim": _size(shapes, "attn_pool.query", 1),
        "dim_context": _size(shapes, "attn_pool.to_kv.weight", 1),
        "inner": _size(shapes, "attn_pool.to_q.weight", 0),
        "hidden": _size(shapes, "proj.0.weight", 0),
    }


def _settle(section: str, read: Values, assumed: Values, given: Mapping[str, Any], notes: list[str]) -> Values:
    """Tensors and the user must agree; where tensors are silent the user decides; where both are, the assumption, aloud."""
    for name, value in read.items():
        if name in given and given[name] != value:
            raise InputError(
                f"--config says {section}.{name} is {given[name]!r}"[:120] + f", the tensors say {value}",
                cure="Correct --config, or give the file it belongs to.",
            )
    silent = {name: value for name, value in assumed.items() if name not in given}
    notes += [f"{section}.{name} is {value}" for name, value in silent.items()]
    return {**silent, **given, **read}


def _bert_given(given: object) -> Values:
    values = _section(given, "bert")
    for name, value in FIXED.items():
        if values.get(name, value) != value:
            raise InputError(
                f"--config says bert.{name} is {values[name]!r}"[:120] + f", only {value!r} is built", cure="Use a model that is so built."
            )
    return {name: value for name, value in values.items() if name not in IGNORED and name not in FIXED}


def _section(given: object, name: str) -> Values:
    if not isinstance(given, Mapping):
        raise InputError(f"--config says {name} is {given!r}"[:120] + ", not a mapping", cure="Correct --config.")
    return dict(given)


def _root(area: int, name: str, given: Mapping[str, Any], notes: list[str], sentence: str) -> int:
    side = isqrt(area)
    if side * side != area:
        raise CheckpointIncomplete(f"ctvit.{name} does not follow: {area} is not a square", cure="Only square patches and grids are built.")
    if name not in given:
        notes.append(f"{sentence}: {side} x {side}")
    return side


def _size(shapes: Shapes, name: str, axis: int) -> int:
    if name not in shapes:
        raise CheckpointIncomplete(f"missing {listed([name], near=shapes)}", cure="Give the whole state dict.")
    shape = shapes[name]
    if len(shape) <= axis or shape[axis] < 1:
        raise CheckpointIncomplete(f"{name} has shape {shape}, which gives no size", cure="Give an unchanged published file.")
    return shape[axis]


def _depth(shapes: Shapes, prefix: str) -> int:
    """Layers counted by their distinct numbers; a gap among them is found when names are compared."""
    pattern = re.compile(re.escape(prefix) + r"(\d{1,6})\.")
    return len({match[1] for name in shapes if (match := pattern.match(name))})
