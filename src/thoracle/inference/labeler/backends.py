"""Open a labeler backend by its name."""

from __future__ import annotations

from pathlib import Path

from thoracle.errors import InputError
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.inference.labeler.runner import LabelerBackend
from thoracle.inference.labeler.vocabulary import Vocabulary

BACKENDS = ("auto", "rules", "classifier", "llm")


def open_labeller(
    backend: str = "auto",
    *,
    model: Path | None = None,
    endpoint: str | None = None,
    llm: str | None = None,
    vocabulary: Vocabulary | None = None,
) -> LabelerBackend:
    """Open a labeler backend by name.

    Args:
        backend: "rules"; "classifier", which needs `model`; "llm", which needs `endpoint` and `llm`; "auto", which is rules, and with
            `model` for each label the better of both on the classifier's validation reports.
        model: folder of a report classifier.
        endpoint: base of an OpenAI-compatible server.
        llm: the name of its model.
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
        return _llm(endpoint, llm)
    if backend == "rules" or (backend == "auto" and model is None):
        return RuleLabeller(vocabulary)
    if model is None:
        raise InputError("classifier needs a trained model", hint="Give its folder as --model.")
    from thoracle.inference.labeler.classifier import AutoLabeller, ClassifierLabeller

    classifier = ClassifierLabeller(model)
    return classifier if backend == "classifier" else AutoLabeller(classifier)


def _llm(endpoint: str | None, llm: str | None) -> LabelerBackend:
    if endpoint is None or llm is None:
        raise InputError("llm needs a server and one of its models", hint="Give --llm-url http://localhost:8000/v1 and --llm-model NAME.")
    from thoracle.inference.labeler.llm import LlmLabeller

    return LlmLabeller(endpoint, model=llm)
