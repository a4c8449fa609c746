"""Describe MedFinder."""

from __future__ import annotations

from functools import partial
from typing import Final

from thoracle.config_reader import config_from_mapping
from thoracle.models.citations import MEDFINDER as MEDFINDER_PAPER
from thoracle.models.common.prompts import PROMPTS
from thoracle.models.encoder import Capability
from thoracle.models.medfinder.config import MedFinderConfig
from thoracle.models.medfinder.model import MedFinder
from thoracle.models.model_spec import ModelSpec, TextRules
from thoracle.types import ABNORMALITIES

MEDFINDER: Final = ModelSpec(
    kind="medfinder",
    name="MedFinder",
    title="MedFinder (volume and text encoder)",
    licence="that of the data it was trained on",
    citations=(MEDFINDER_PAPER,),
    read_config=partial(config_from_mapping, MedFinderConfig),
    build=MedFinder,
    modules=(MedFinder,),
    capabilities=lambda _: frozenset(
        {Capability.VOLUMES, Capability.LATENTS, Capability.TOKEN_GRID, Capability.TEXT, Capability.ZERO_SHOT}
    ),
    labels=lambda _: ABNORMALITIES,
    prompts=PROMPTS,
    text_rules=TextRules(
        tokenizer="cxr-bert",
        tokenizer_files="vocab.txt and tokenizer_config.json of microsoft/BiomedVLP-CXR-BERT-specialized",
        vocab_size=lambda config: config.bert.vocab_size,
    ),
)
