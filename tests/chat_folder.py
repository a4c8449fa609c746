"""A chat folder of random weights, whose adapter changes what it answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import torch

from thoracle.inference.demo.assets import write_model
from thoracle.models.chat.adapters import add_lora_adapter
from thoracle.models.chat.chat_folder import save_chat
from thoracle.models.chat.language_model import load_language_model
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.training.chat.phantom_lm import build_phantom_lm, save_phantom_lm
from thoracle.training.chat.task import SmallLanguageConfig

SIZES = ProjectorConfig(num_queries=4, dim=8, dim_context=64, attention_dim=8, hidden_size=32)
SMALL = SmallLanguageConfig(vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)


def write_chat(folder: Path, *, adapted: bool = True, context: int = 1024) -> Path:
    """Write encoder, language model and chat folder side by side."""
    torch.manual_seed(0)
    made = build_phantom_lm(replace(SMALL, max_position_embeddings=context), ["Is there an effusion?", "Yes.", "No."])
    save_phantom_lm(folder / "base", made, dict(made.model.named_parameters()))
    adapter: dict[str, Any] | None = None
    tensors: dict[str, torch.Tensor] = {}
    if adapted:
        model = add_lora_adapter(load_language_model(folder / "base").model, rank=2, alpha=4)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        adapter = json.loads(json.dumps(model.peft_config["default"].to_dict(), default=sorted))
        tensors = peft.get_peft_model_state_dict(model)
    save_chat(
        folder / "chat",
        encoder=write_model(folder / "encoder").path,
        base=folder / "base",
        projector=SIZES,
        projector_tensors=Projector(SIZES).state_dict(),
        adapter=adapter,
        adapter_tensors=tensors,
        caution="Knows only noise.",
        notes=(),
    )
    return folder / "chat"
