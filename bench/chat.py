"""Time to the first word and words a second, with the scan's codes cached and without, on random weights.

    python bench/chat.py            # a phantom-sized language model, and a Llama-shaped one of 1 B
    python bench/chat.py --only phantom

On a GPU, an 8 B in bf16 too. The encoder is the demo's size before the small model, and the published one before the large ones.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from thoracle.inference.llm.decoding import SamplingOptions, generate_ids
from thoracle.models.chat.causal_model import CausalModel
from thoracle.models.chat.language_model import ChatModel
from thoracle.models.chat.prompt import IMAGE_TOKEN_INDEX
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.models.ctclip.config import PRESETS, CTViTConfig
from thoracle.models.ctclip.ctvit import CTViT
from thoracle.training.chat.task import ChatConfig
from thoracle.training.engine.config import load_config

WORDS = 32
SIZES = {
    "phantom": asdict(load_config(Path("phantom-chat"), ChatConfig).phantom_lm),
    "1B": {
        "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    "8B": {
        "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8,
    },
}  # fmt: skip


def measure(name: str, device: torch.device, dtype: torch.dtype) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = SIZES[name]
    vit = PRESETS["tiny"].ctvit if name == "phantom" else CTViTConfig()
    frames = 60 if name == "phantom" else 240
    with torch.device(device):
        encoder = CTViT(vit).eval()
        projector = Projector(ProjectorConfig(dim_context=vit.dim, dim=vit.dim, attention_dim=vit.dim, hidden_size=sizes["hidden_size"]))
        language: Any = LlamaForCausalLM(LlamaConfig(**(sizes | {"max_position_embeddings": 4096}), dtype=dtype))
        language = language.to(dtype).eval()
        ids = torch.cat([torch.randint(0, 1000, (1, 60)), torch.full((1, 256), IMAGE_TOKEN_INDEX), torch.randint(0, 1000, (1, 20))], dim=1)
        volume = torch.zeros(1, 1, frames, vit.image_size, vit.image_size)
    model, causal = ChatModel(language, projector).to(device), CausalModel(language)

    def ask(tokens: torch.Tensor) -> tuple[float, float]:
        start = time.perf_counter()
        with torch.inference_mode():
            embedded = model.embed(ids, tokens)
        options = SamplingOptions(max_tokens=WORDS)
        drawn = generate_ids(causal, ids, embedded, past=causal.new_cache(), read=0, ends=frozenset(), sampling=options)
        next(drawn)
        first = time.perf_counter() - start
        rest = sum(1 for _ in drawn)
        return first, rest / (time.perf_counter() - start - first)

    with torch.inference_mode():
        start = time.perf_counter()
        tokens = encoder.encode_volume(volume).tokens
        if device.type == "cuda":
            torch.cuda.synchronize()
        encoding = time.perf_counter() - start
    ask(tokens)
    first, rate = ask(tokens)
    print(f"{name}, {device}, {dtype}: first word {first:.3f} s cached, {first + encoding:.3f} s not; {rate:.1f} words a second")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=tuple(SIZES))
    only = parser.parse_args().only
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    for name in SIZES:
        if (only is None or name == only) and (name != "8B" or cuda):
            measure(name, device, torch.bfloat16 if name == "8B" else torch.float32)


if __name__ == "__main__":
    main()
