"""Open a labeler backend by its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thoracle.errors import InputError
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.inference.labeler.runner import LabelerBackend
from thoracle.inference.labeler.vocabulary import Vocabulary

if TYPE_CHECKING:
    from thoracle.inference.llm.openai_client import OpenAIClient

BACKENDS = ("auto", "rules", "classifier", "llm")


def open_labeller(
    backend: str = "auto",
    *,
    model: Path | None = None,
    client: OpenAIClient | None = None,
    max_tokens: int = 1024,
    journal: Path | None = None,
    vocabulary: Vocabulary | None = None,
) -> LabelerBackend:
    """Open a labeler backend by name.

    Args:
        backend: "rules"; "classifier", which needs `model`; "llm", which needs `client`; "auto", which is rules, and with `model` for each
            label the better of both on the classifier's validation reports.
        model: folder of a report classifier.
        client: an OpenAI-compatible server.
        max_tokens: of an answer of the server.
        journal: file that gets each of its answers as it comes.
        vocabulary: abnormalities of one's own, for the rules alone.

    Raises:
        InputError: another name, something missing, or `vocabulary` with a backend that knows the 18 abnormalities only.
        ModelError: the folder is no report classifier.
    """
    if backend not in BACKENDS:
        raise InputError(f"no backend {backend!r}", hint=f"Choose {', '.join(BACKENDS)}.")
    if vocabulary is not None and (backend not in ("auto", "rules") or model is not None):
        raise InputError("only rules read abnormalities of one's own", hint="Give --rules without --model, and --backend rules.")
    if backend == "llm":
        if client is None:
            raise InputError("llm needs a server", hint="Give --llm-url http://localhost:8000/v1, and --llm-model NAME if it has several.")
        from thoracle.inference.labeler.llm import LlmLabeller

        return LlmLabeller(client, max_tokens=max_tokens, journal=journal)
    if backend == "rules" or (backend == "auto" and model is None):
        return RuleLabeller(vocabulary)
    if model is None:
        raise InputError("classifier needs a trained model", hint="Give its folder as --model.")
    from thoracle.inference.labeler.classifier import AutoLabeller, ClassifierLabeller

    classifier = ClassifierLabeller(model)
    return classifier if backend == "classifier" else AutoLabeller(classifier)
