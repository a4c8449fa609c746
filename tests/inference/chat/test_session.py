"""A chat model in memory: seeded answers in pieces, turns that are not read again, scans that are looked at, and limits that are said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.cli.families import MODELS, write_encoder
from thoracle.errors import CapabilityMissing, CheckpointIncomplete, InputError
from thoracle.inference.chat.conversation import Conversation, Turn
from thoracle.inference.chat.scan_question_rule import REFUSAL
from thoracle.inference.chat.session import Chat, ChatComponents, load_chat
from thoracle.inference.demo.assets import write_model
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.model import Model, load
from thoracle.inference.prepare import PreparedVolume
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.chat.adapters import ADAPTER_CONFIG
from thoracle.models.chat.language_model import LanguageModel, load_language_model
from thoracle.models.chat.prompt import Message
from thoracle.models.chat.scan_tokens import ScanTokens
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.models.ctchat.spec import PROJECTOR
from thoracle.training.chat.phantom_lm import build_phantom_lm, save_phantom_lm
from thoracle.training.chat.task import SmallLanguageConfig

SIZES = ProjectorConfig(num_queries=4, dim=8, dim_context=64, attention_dim=8, hidden_size=32)
SMALL = SmallLanguageConfig(vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
DRAWN = SamplingOptions(max_tokens=12, temperature=1.0, seed=3)
QUESTION = "Is lung nodule present?"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ChatComponents:
    """A chat model of random weights."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    language = build_phantom_lm(SMALL, ["Is there an effusion?", "Yes.", "No."])
    save_phantom_lm(folder / "base", language, dict(language.model.named_parameters()))
    facts = {"preprocess": None, "labels": (), "tokenizer": None, "licence": "", "trained": False}
    tensors = Projector(SIZES).state_dict()
    save_model(folder / "projector", kind=PROJECTOR.kind, config=SIZES, tensors=tensors, **facts)
    return ChatComponents(encoder=write_model(folder / "encoder").path, base=folder / "base", projector=folder / "projector")


@pytest.fixture(scope="module")
def encoder(parts: ChatComponents) -> Model:
    return load(parts.encoder, device="cpu")


@pytest.fixture(scope="module")
def language(parts: ChatComponents) -> LanguageModel:
    return load_language_model(parts.base)


@pytest.fixture
def chat(parts: ChatComponents) -> Chat:
    return load_chat(parts, device="cpu")


@pytest.fixture(scope="module")
def scans(encoder: Model) -> tuple[Tensor, Tensor]:
    """Two that differ."""
    size, tokens = encoder.preprocess.size, ScanTokens(encoder.folder)
    arrays = [np.random.default_rng(seed).normal(-0.5, 0.1, size).astype(np.float32) for seed in (1, 2)]
    first, second = (tokens.compress(encoder.encode_tokens(PreparedVolume(array=a, provenance=None, warnings=()))) for a in arrays)
    return first, second


def _ask(chat: Chat, talk: Conversation, question: str = QUESTION, *, sampling: SamplingOptions = DRAWN) -> list[str]:
    return list(chat.answer(talk, question, task="short_answer", sampling=sampling))


def test_an_answer_streams_repeats_with_its_seed_and_joins_the_conversation(chat: Chat, scans: tuple[Tensor, Tensor]) -> None:
    talk = Conversation(scans=scans[:1])
    pieces = _ask(chat, talk, f"  {QUESTION} ")
    assert len(pieces) > 1
    assert talk.turns == [Turn(question=QUESTION, task="short_answer", answer="".join(pieces).strip())]
    assert _ask(chat, Conversation(scans=scans[:1])) == pieces
    other = SamplingOptions(max_tokens=12, temperature=1.0, seed=4)
    assert _ask(chat, Conversation(scans=scans[:1]), sampling=other) != pieces


def test_what_was_read_before_is_not_read_again_and_changes_nothing(parts: ChatComponents, scans: tuple[Tensor, Tensor]) -> None:
    chat, fresh = load_chat(parts, device="cpu"), load_chat(parts, device="cpu")
    lengths: list[int] = []
    forward = chat._language.model.forward

    def counted(*inputs: object, **named: object) -> object:
        if (embedded := named.get("inputs_embeds")) is not None:
            lengths.append(embedded.shape[1])
        return forward(*inputs, **named)

    chat._language.model.forward = counted
    talk, again = Conversation(scans=scans[:1]), Conversation(scans=scans[:1])
    for _ in range(3):
        fresh._kept = None
        assert _ask(chat, talk) == _ask(fresh, again)
    assert len(lengths) == 3
    total = len(chat._prompter.encode(talk.messages(QUESTION, "short_answer")[:-1]))
    assert sum(lengths) < 2 * total, "each turn is read about once"
    other = Conversation(scans=scans[1:])
    _ask(chat, other)
    first = len(chat._prompter.encode(other.messages(QUESTION, "short_answer")[:2]))
    assert lengths[-1] == first, "another scan is read from its beginning"


def test_a_scan_is_looked_at(chat: Chat, scans: tuple[Tensor, Tensor]) -> None:
    messages = Conversation(scans=scans[:1]).messages(QUESTION, "short_answer")
    encoded = chat._prompter.encode(messages)
    ids = torch.tensor([encoded.ids])
    first, second = (chat._model.embed(ids, chat._tokens.expand(scan[None])) for scan in scans)
    differs = (first != second).any(dim=-1)[0]
    assert differs.tolist() == [number < 0 for number in encoded.ids], "at the scan's rows, and nowhere else"


@pytest.mark.parametrize(
    ("question", "declined"),
    [
        ("Is there a pleural effusion?", True),
        ("Describe this scan.", True),
        ("Which side is the effusion on?", True),
        ("Write the radiology report.", True),
        ("What is emphysema?", False),
        ("How is a pleural effusion treated?", False),
        ("What causes bronchiectasis?", False),
    ],
)
def test_without_a_scan_only_general_questions_reach_the_model(question: str, declined: bool, chat: Chat) -> None:
    talk = Conversation()
    answer = "".join(chat.answer(talk, question, sampling=SamplingOptions(max_tokens=4)))
    assert (answer == REFUSAL) == declined
    assert len(talk.turns) == 1


def test_a_conversation_longer_than_the_model_reads_is_said_and_kept(chat: Chat, scans: tuple[Tensor, Tensor]) -> None:
    talk = Conversation(scans=scans[:1])
    _ask(chat, talk, sampling=SamplingOptions(max_tokens=3))
    with pytest.raises(InputError, match=r"tokens and an answer up to 5,000, the language model reads 1,024"):
        _ask(chat, talk, sampling=SamplingOptions(max_tokens=5000))
    with pytest.raises(InputError, match="the question is empty"):
        _ask(chat, talk, " \n")
    assert len(talk.turns) == 1


def test_turns_without_scans_are_answered_as_any_text_generators(chat: Chat) -> None:
    messages = [Message(role="user", content="What is emphysema?")]
    answer = "".join(chat.complete_text(messages, sampling=DRAWN))
    assert answer == "".join(chat.generate(messages, (), sampling=DRAWN))
    cut = answer[3:6]
    stopped = "".join(chat.complete_text(messages, sampling=SamplingOptions(max_tokens=12, temperature=1.0, seed=3, stop=(cut,))))
    assert stopped == answer[: answer.index(cut)]


@pytest.mark.parametrize("settings", ["config", "generation_config"])
def test_an_answer_ends_where_any_of_the_models_settings_says_so(settings: str, parts: ChatComponents, encoder: Model) -> None:
    language, messages = load_language_model(parts.base), [Message(role="user", content="What is emphysema?")]
    chat = Chat(language, Projector(SIZES), encoder=encoder, caution="")
    assert "".join(chat.complete_text(messages, sampling=DRAWN))
    getattr(language.model, settings).eos_token_id = list(range(SMALL.vocab_size))
    chat = Chat(language, Projector(SIZES), encoder=encoder, caution="")
    assert "".join(chat.complete_text(messages, sampling=DRAWN)) == ""


def test_parts_that_do_not_fit_are_refused(encoder: Model, language: LanguageModel) -> None:
    with pytest.raises(InputError, match="the encoder gives tokens of 64, the projector reads 32"):
        Chat(language, Projector(ProjectorConfig(**{**vars(SIZES), "dim_context": 32})), encoder=encoder, caution="")
    with pytest.raises(CheckpointIncomplete, match="rows of 16, the language model reads 32"):
        Chat(language, Projector(ProjectorConfig(**{**vars(SIZES), "hidden_size": 16})), encoder=encoder, caution="")


def test_an_encoder_without_a_grid_is_refused_before_the_language_model_is_read(parts: ChatComponents, tmp_path: Path) -> None:
    tiles = write_encoder(tmp_path / "tiles", *MODELS["merlin-tiles"]).path
    with pytest.raises(CapabilityMissing, match="scans have no grid of tokens in common"):
        load_chat(replace(parts, encoder=tiles, base=tmp_path / "absent"), device="cpu")


def test_a_model_without_a_template_is_refused(parts: ChatComponents, encoder: Model) -> None:
    bare = load_language_model(parts.base)
    bare.tokenizer.chat_template = None
    with pytest.raises(CapabilityMissing, match="no chat template"):
        Chat(bare, Projector(SIZES), encoder=encoder, caution="")


def test_the_caution_of_parts_is_the_encoders(chat: Chat) -> None:
    assert chat.caution == chat.encoder.folder.disclaimer


def test_a_published_folder_holds_the_projector_and_the_adapter_where_there_is_one(tmp_path: Path) -> None:
    places = {"encoder": tmp_path / "e", "base": tmp_path / "b"}
    assert ChatComponents.published(tmp_path, **places) == ChatComponents(projector=tmp_path, adapter=None, **places)
    (tmp_path / ADAPTER_CONFIG).write_text("{}")
    assert ChatComponents.published(tmp_path, **places) == ChatComponents(projector=tmp_path, adapter=tmp_path, **places)


def _forgetful(chat: Chat) -> list[str]:
    """What a chat that has read nothing before answers."""
    chat._kept = None
    return list(chat.generate([Message(role="user", content="What is emphysema?")], (), sampling=DRAWN))


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 3], ids=["while it reads", "between words"])
def test_a_forward_pass_that_failed_leaves_nothing_behind(error: BaseException, after: int, chat: Chat) -> None:
    expected, (layer,) = _forgetful(chat), chat._language.model.model.layers
    passes = 0

    def fail(*_: object) -> None:
        nonlocal passes
        passes += 1
        if passes > after:
            raise error

    chat._kept = None
    handle = layer.mlp.register_forward_pre_hook(fail)  # attention has read by then
    question = [Message(role="user", content="What is emphysema?")]
    with pytest.raises(type(error)):
        list(chat.generate(question, (), sampling=DRAWN))
    handle.remove()
    assert chat._kept is None
    assert list(chat.generate(question, (), sampling=DRAWN)) == expected
    assert list(chat.generate([Message(role="user", content="What is emphasis?")], (), sampling=DRAWN))


def test_a_second_answer_of_a_chat_is_refused_until_the_first_is_read_or_closed(chat: Chat) -> None:
    question, expected = [Message(role="user", content="What is emphysema?")], _forgetful(chat)
    first = chat.generate(question, (), sampling=DRAWN)
    begun = [next(first)]
    with pytest.raises(InputError, match="another answer of this chat is not finished"):
        next(chat.generate(question, (), sampling=DRAWN))
    assert begun + list(first) == expected, "and the first goes on as if nothing had been"
    closed = chat.generate(question, (), sampling=DRAWN)
    next(closed)
    closed.close()  # type: ignore[attr-defined]
    assert chat._kept is not None, "between words its cache is whole"
    assert list(chat.generate(question, (), sampling=DRAWN)) == expected


def test_what_a_folder_says_of_answers_and_is_not_heeded_is_said_when_it_is_opened(
    encoder: Model, parts: ChatComponents, caplog: pytest.LogCaptureFixture
) -> None:
    language = load_language_model(parts.base)
    language.model.generation_config.num_beams = 4
    Chat(language, Projector(SIZES), encoder=encoder, caution="")
    assert "generation_config.json says what is not heeded here: num_beams=4" in caplog.text


def test_an_answer_that_ended_at_its_limit_says_so(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    question = [Message(role="user", content="What is emphysema?")]
    list(chat.generate(question, (), sampling=SamplingOptions(max_tokens=2)))
    assert "the answer ended at its limit of 2 tokens" in caplog.text
    caplog.clear()
    chat._ends = frozenset(range(SMALL.vocab_size))
    assert not list(chat.generate(question, (), sampling=SamplingOptions(max_tokens=2)))
    assert not caplog.text


def test_a_tokenizer_that_cannot_be_streamed_is_refused_by_name(encoder: Model, parts: ChatComponents) -> None:
    language = load_language_model(parts.base)

    class Slow:
        """As tokenizers written in Python are: without the library's own behind it."""

        def __getattr__(self, name: str) -> object:
            if name == "backend_tokenizer":
                raise AttributeError(name)
            return getattr(language.tokenizer, name)

        def __call__(self, *inputs: object, **named: object) -> object:
            return language.tokenizer(*inputs, **named)

    with pytest.raises(CapabilityMissing, match="none of the tokenizers library"):
        Chat(LanguageModel(model=language.model, tokenizer=Slow()), Projector(SIZES), encoder=encoder, caution="")
