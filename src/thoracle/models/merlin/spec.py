"""Describe the Merlin family, and infer sizes and recipe of a file in any of its layouts."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final

from thoracle.config_reader import config_from_mapping
from thoracle.ct.recipes.published import ASTRA_CHEST
from thoracle.ct.recipes.published import MERLIN as ABDOMEN
from thoracle.errors import InputError
from thoracle.models.citations import MERLIN as MERLIN_PAPER
from thoracle.models.common.shapes import Shapes
from thoracle.models.common.size_inference import Values, depth_of, settle, size_of
from thoracle.models.encoder import Capability
from thoracle.models.merlin.config import MerlinConfig
from thoracle.models.merlin.model import Merlin
from thoracle.models.model_spec import ConfigGuess, ModelSpec, TextRules
from thoracle.models.text.config import TextConfig
from thoracle.models.text.spec import checked_bert_settings, infer_text

#: Merlin's and Astra's; the five-year file and the packages of weights have none.
_PREFIX: Final = re.compile(r"^((visual_encoder\.model\.)?encode_image\.i3_resnet\.)")
_UNUSED: Final = ".num_batches_tracked"
#: The text encoder, in Merlin's own file; of it, what no published inference computes.
_TEXT: Final = "encode_text."
_TEXT_UNUSED: Final = re.compile(r"\.(query|key|value)_global\.|\.text_encoder\.pooler\.")
_BERT: Final = "text_side.text_encoder."
#: Clinical-Longformer's.
_LONGFORMER: Final = TextConfig(layer_norm_eps=1e-5)
_WINDOW: Final = 512
#: A run of letters and digits, or of other signs (NLTK's `wordpunct_tokenize`).
_WORDS: Final = re.compile(r"\w+|[^\w\s]+")
_CLASSIFIER: Final = "classifier.weight"
_CONTRASTIVE: Final = "contrastive_head.weight"
_FIVE_YEARS: Final = (
    "Cardiovascular disease",
    "Ischemic heart disease",
    "Hypertension",
    "Diabetes",
    "Chronic kidney disease",
    "Chronic liver disease",
)
_RECIPES: Final = {"chest": ASTRA_CHEST, "abdomen": ABDOMEN}


def _select_names(names: Collection[str], with_text: bool) -> Mapping[str, str]:
    """Select the image network, behind its prefix, where other parts of the file may stand beside it, or all of a file without one; and
    the text encoder.
    """
    inside = {name: _PREFIX.sub("", name) for name in names if _PREFIX.match(name)} or {name: name for name in names}
    texts = {
        name: f"text_side.{name.removeprefix(_TEXT)}"
        for name in names
        if with_text and name.startswith(_TEXT) and not _TEXT_UNUSED.search(name)
    }
    return {name: plain for name, plain in inside.items() if not name.endswith(_UNUSED)} | texts


def _split_words(text: str) -> str:
    """Write a text as Merlin's authors do before it is split into tokens: in lower case, with blanks around its words and signs."""
    return " ".join(_WORDS.findall(text.lower()))


def _infer_config(shapes: Shapes, settings: Mapping[str, Any]) -> ConfigGuess:
    notes: list[str] = []
    options = dict(settings)
    recipe = options.pop("recipe", None)
    if recipe is None:
        recipe = "abdomen" if _CONTRASTIVE in shapes else "chest"
        notes.append(f"recipe is {recipe!r}, as of files with{'' if recipe == 'abdomen' else 'out'} a contrastive head")
    if recipe not in _RECIPES:
        raise InputError(f"--config says recipe is {recipe!r}"[:120], hint=f"Give {' or '.join(_RECIPES)}.")
    num_labels = size_of(shapes, _CLASSIFIER, 0) if _CLASSIFIER in shapes else 0
    read: Values = {
        "width": size_of(shapes, "conv1.weight", 0),
        "layers": [_depth(shapes, f"layer{stage}.") for stage in range(1, 5)],
        "contrastive_dim": size_of(shapes, _CONTRASTIVE, 0) if _CONTRASTIVE in shapes else None,
        "num_labels": num_labels,
    }
    assumed = {"labels": [*_FIVE_YEARS]} if num_labels == len(_FIVE_YEARS) else {}
    bert = options.pop("bert", {})
    if any(name.startswith(_BERT) for name in shapes):
        sizes = infer_text(
            shapes, _BERT, {"attention_window": _WINDOW, **checked_bert_settings(bert)}, notes, positions="roberta", published=_LONGFORMER
        )
        read["bert"] = sizes
    config = config_from_mapping(MerlinConfig, settle("config", read, assumed, options, notes))
    if num_labels and not config.labels:
        notes.append("labels are numbered: Phenotype N is row N, below the header, of Merlin's documentation/phenotypes.csv")
    return ConfigGuess(config=config, preprocess=_RECIPES[recipe], assumptions=tuple(notes))


def _depth(shapes: Shapes, stage: str) -> int:
    size_of(shapes, f"{stage}0.conv1.weight", 0)  # or the stage is missing
    return depth_of(shapes, stage)


def _capabilities(config: MerlinConfig | None) -> frozenset[Capability]:
    labels = {Capability.LABELS} if config is None or config.num_labels else set()
    texts = {Capability.TEXT} if config is None or config.bert else set()
    return frozenset({Capability.VOLUMES, Capability.LATENTS, Capability.TOKEN_GRID, *labels, *texts})


MERLIN: Final = ModelSpec(
    kind="merlin",
    name="Merlin",
    title="a model of the Merlin family (I3ResNet; Merlin, Astra)",
    licence="MIT if this is Merlin's or Astra's published file; otherwise what the author of the file says",
    read_config=partial(config_from_mapping, MerlinConfig),
    build=Merlin,
    modules=(Merlin,),
    capabilities=_capabilities,
    labels=lambda config: config.label_names,
    text_rules=TextRules(
        tokenizer="longformer",
        tokenizer_files="vocab.json, merges.txt and tokenizer_config.json of yikuan8/Clinical-Longformer",
        vocab_size=lambda config: config.bert.vocab_size,
        normalize=_split_words,
    ),
    key_pattern=re.compile(rf"{_PREFIX.pattern}?layer4\.0\.conv3\.weight$"),
    select_names=_select_names,
    infer_config=_infer_config,
    citations=(MERLIN_PAPER,),
)
