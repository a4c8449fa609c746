"""The model card: what a folder holds, where it came from, what it may be used for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from thoracle.models.registry import REGISTRY
from thoracle.types import RESEARCH_USE


def card(*, kind: str, config: Mapping[str, Any], notes: Sequence[str], **facts: Any) -> str:
    """Write Markdown. `facts` are the other fields of config.json, `notes` what was assumed at import."""
    state = "" if facts["trained"] else "**Untrained: the weights are random, and no number they give means anything.**\n\n"
    state += f"**{facts['disclaimer']}**\n\n" if facts["disclaimer"] else ""
    preprocess = json.dumps(facts["preprocess"]) if facts["preprocess"] else "none: this model takes no volume"
    lines = {
        "Licence of the weights": facts["licence"],
        "To be cited": "; ".join(facts["citations"]) or "nothing",
        "Labels": ", ".join(facts["labels"]) or "none",
        "Preprocessing": preprocess,
        "Tokenizer": facts["tokenizer_sha256"] or "none given",
        "SHA-256 of model.safetensors": facts["weights_sha256"],
        "SHA-256 of the file it was imported from": facts["source_sha256"] or "not imported",
        "Assumed, because the file does not say": "; ".join(notes) or "nothing",
    }
    table = "\n".join(f"- {name}: {value}" for name, value in lines.items())
    return f"# {REGISTRY[kind].title}\n\n{RESEARCH_USE}\n\n{state}{table}\n\n## Sizes\n\n```json\n{json.dumps(config, indent=1)}\n```\n"
