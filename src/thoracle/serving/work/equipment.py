"""Load models and an index into a worker process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from thoracle.client.forms.service import AnswerKind, ChatFacts, IndexFacts, ModelFacts
from thoracle.errors import ThoracleError
from thoracle.inference.chat.grounded import CitableEvidence, build_messages
from thoracle.inference.chat.open_chat import open_chat
from thoracle.inference.chat.session import Chat
from thoracle.inference.llm.generator import TextGenerator
from thoracle.inference.llm.openai_client import OpenAIClient
from thoracle.inference.model import Model, load
from thoracle.search.model_lookup import model_of
from thoracle.search.open_index import open_index
from thoracle.search.similar_cases import similar_hits
from thoracle.serving.jobs.worker import JobFunction
from thoracle.serving.settings import ModelSettings
from thoracle.serving.work.conversation import SAMPLING, Respondent
from thoracle.serving.work.detection import Detector
from thoracle.serving.work.results import MODELS, SEARCH, Facts
from thoracle.serving.work.retrieval import SearchDesk

_SIMILAR: Final = 3
_NO_CHAT: Final = (
    "No chat model is served: start `thoracle serve` with --chat DIR, as `thoracle train chat` makes it, or with --llm-url URL;"
    " `thoracle demo` makes one of phantoms."
)


def equip_models(settings: ModelSettings, device: str) -> tuple[Mapping[str, Mapping[str, JobFunction]], Mapping[str, Any]]:
    """Load all models that are named, and return the jobs that they do.

    Raises:
        ThoracleError: a model or the index that cannot be used; a chat model that cannot be is a hint among the facts.
    """
    detector = Detector(load(settings.detector, device=device), None if settings.regions is None else load(settings.regions, device=device))
    detector.model.warm_up()
    index_model = None if settings.index is None else _index_model(settings, device, detector.model)
    desk = None if settings.index is None or index_model is None else SearchDesk(settings.index, index_model)
    chat, generate, hint = _language(settings, device)
    models: dict[str, JobFunction] = {"findings": detector.detect, "map": detector.map}
    if generate is not None:
        find_similar = (
            None if desk is None or index_model is None or settings.index is None else _Similar(settings.index, index_model, detector)
        )
        models["chat"] = Respondent(detector, chat=chat, generate=generate, find_similar=find_similar).answer
    search: dict[str, JobFunction] = {}
    if desk is not None:
        search = {"search": desk.search, "thumbnail": desk.thumbnail, "index": desk.add, "delete": desk.delete}
    facts = Facts(
        model=_model_facts(detector),
        regions="regions" in detector.methods,
        index=None if desk is None or settings.index is None else _index_facts(settings.index, desk, read_only=settings.read_only_index),
        chat=None if generate is None else _chat_facts(chat, settings, detector.model),
        chat_hint=hint,
    )
    return {MODELS: models, SEARCH: search}, {"models": facts}


@dataclass(frozen=True)
class _Similar:
    """Find cases like an open scan from the lane of models, by a view of the index of its own."""

    location: str
    model: Model
    detector: Detector

    def __call__(self, scan: str, /) -> Any:
        with open_index(self.location) as index:
            return similar_hits(index, self.model, scan=self.detector.prepared(scan, self.model), k=_SIMILAR)


def _index_model(settings: ModelSettings, device: str, detector: Model) -> Model:
    """Return the index's model, which may be the detector's too."""
    assert settings.index is not None, "there is an index"
    with open_index(settings.index) as index:
        if index.settings.get("model") == detector.folder.weights_sha256:
            return detector
        return model_of(index, folder=settings.index_model, device=device, notify=lambda _: None)


def _language(settings: ModelSettings, device: str) -> tuple[Chat | None, TextGenerator | None, str]:
    """Return a chat model, or none, the language model that words grounded answers, or none, and why there is none."""
    try:
        if settings.llm_url is not None:
            client = OpenAIClient(settings.llm_url, model=settings.llm_model)
            client.check()
            return None, client.generate, ""
        if settings.chat is None:
            return None, None, _NO_CHAT
        chat = open_chat(settings.chat, encoder=settings.chat_encoder, base=settings.chat_base, device=device, notify=lambda _: None)
    except ThoracleError as error:
        return None, None, error.redacted()
    return chat, chat.complete_text, ""


def _model_facts(detector: Detector) -> ModelFacts:
    folder = detector.model.folder
    return ModelFacts(
        name=folder.spec.title,
        kind=str(folder.kind),
        findings=list(folder.labels),
        methods=detector.methods,
        calibrated=detector.model.calibration is not None,
        trained=folder.trained,
        caution=folder.disclaimer,
    )


def _index_facts(location: str, desk: SearchDesk, *, read_only: bool) -> IndexFacts:
    with open_index(location) as index:
        return IndexFacts(records=len(index), read_only=read_only, tasks=desk.tasks)


def _chat_facts(chat: Chat | None, settings: ModelSettings, model: Model) -> ChatFacts:
    tasks: list[AnswerKind] = list(get_args(AnswerKind))
    if chat is None:
        return ChatFacts(name=settings.llm_model or "a language model's server", tasks=tasks, grounded="always", caution="")
    grounded: Literal["optional", "never"] = "optional" if _reads_findings(chat, model) else "never"
    return ChatFacts(name="the chat model", tasks=tasks, grounded=grounded, caution=chat.caution)


def _reads_findings(chat: Chat, model: Model) -> bool:
    """Tell whether a chat model reads as many words as all findings of a model take, which grounded answers rest on."""
    lines = tuple(f"F{number}: {label}: probability 0.500, cannot tell" for number, label in enumerate(model.folder.labels, 1))
    messages = build_messages("Is there any?", CitableEvidence(sources={}, lines=lines))
    return chat.fits(messages, max_tokens=SAMPLING.max_tokens)
