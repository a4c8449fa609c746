"""What chat runs are made of, small: an encoder, a cohort of noise, questions about its scans, a language model."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.training import steps
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.models.bundle.model_folder import ModelFolder, save_model
from thoracle.models.chat.language_model import LanguageModel
from thoracle.models.ctclip.model import CTCLIP
from thoracle.training.chat.phantom_lm import build_phantom_lm
from thoracle.training.chat.task import SmallLanguageConfig
from thoracle.types import ABNORMALITIES

LANGUAGE = SmallLanguageConfig(vocab_size=600, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)


def write_encoder(folder: Path) -> ModelFolder:
    """Write a random CT-CLIP of 8 tokens, each one of 32 codes of width 16."""
    torch.manual_seed(0)
    tensors = CTCLIP(steps.MODEL).state_dict()
    facts = {"labels": ABNORMALITIES, "tokenizer": None, "licence": "", "trained": True, "caution": "Knows only noise."}
    return save_model(folder, kind="ct-clip", config=steps.MODEL, preprocess=steps.CONFIG.preprocess, tensors=tensors, **facts)


def question(number: int, *volumes: str, answer: str = "Yes.") -> QuestionSet:
    """Ask about these volumes."""
    pair = QuestionAnswer(question="Is lung nodule present?", answer=answer, task="short_answer", type="short_answer")
    return QuestionSet(id=f"q{number}", images=volumes, pairs=(pair,))


def language() -> LanguageModel:
    """Build a language model that has a word for each abnormality."""
    torch.manual_seed(0)
    return build_phantom_lm(LANGUAGE, ["Is lung nodule present? Yes. No."], whole_words=[name.lower() for name in ABNORMALITIES])
