"""What a server does, and what is made of it: an answer that is whole, another attempt, or an error that names the address."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.http_server import serving
from tests.language_server import LanguageServer
from thoracle.errors import AnswerFailed, AnswerIncomplete, EndpointFailed
from thoracle.inference.llm import answer_stream, openai_client
from thoracle.inference.llm.connection import KEY
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.openai_client import THOUGHT_TOKENS, OpenAIClient
from thoracle.models.chat.prompt import Message

TURNS = [Message(role="user", content="Hello")]
SCHEMA = {"type": "object"}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the client would have waited for."""
    seconds: list[float] = []
    monkeypatch.setattr(openai_client, "time", type("Clock", (), {"sleep": seconds.append}))
    return seconds


def generate(address: str, timeout: float = 5.0) -> str:
    return "".join(OpenAIClient(address, model="m", timeout=timeout).generate(TURNS, sampling=SamplingOptions()))


def generate_with(client: OpenAIClient) -> str:
    return "".join(client.generate(TURNS, sampling=SamplingOptions()))


def generate_whole(address: str, timeout: float = 5.0) -> str:
    return "".join(OpenAIClient(address, model="m", timeout=timeout).generate_whole(TURNS, sampling=SamplingOptions()))


def generate_json(address: str, timeout: float = 5.0) -> str:
    client = OpenAIClient(address, model="m", timeout=timeout)
    return "".join(client.generate_whole(TURNS, sampling=SamplingOptions(), json_schema=SCHEMA))


EVERY = pytest.mark.parametrize("ask", [generate, generate_whole, generate_json])


@EVERY
def test_a_server_that_is_absent_is_asked_three_times_with_pauses(ask, pauses: list[float]) -> None:
    with pytest.raises(EndpointFailed, match=r"http://127.0.0.1:1/v1/chat/completions: does not answer \(URLError"):
        ask("http://127.0.0.1:1/v1")
    assert pauses == [1.0, 2.0]


@EVERY
@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_a_server_that_refuses_is_asked_once(status: int, ask, language_server: LanguageServer, pauses: list[float]) -> None:
    language_server.say = lambda _: (status, "")
    with pytest.raises(EndpointFailed, match=f"answers {status}"):
        ask(language_server.address)
    assert (len(language_server.asked), pauses) == (1, [])


@EVERY
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_three_times(status: int, ask, language_server: LanguageServer, pauses: list[float]) -> None:
    language_server.say = lambda _: (status if len(language_server.asked) < 3 else 200, "yes")
    assert ask(language_server.address) == "yes"
    assert (len(language_server.asked), pauses) == (3, [1.0, 2.0])
    language_server.asked.clear()
    language_server.say = lambda _: (status, "")
    with pytest.raises(EndpointFailed, match=f"answers {status}"):
        ask(language_server.address)
    assert len(language_server.asked) == 3


@EVERY
def test_an_answer_that_breaks_off_is_asked_for_three_times(ask, language_server: LanguageServer, pauses: list[float]) -> None:
    language_server.say, language_server.cuts = lambda _: (200, "yes"), 2
    assert ask(language_server.address) == "yes"
    assert (len(language_server.asked), pauses) == (3, [1.0, 2.0])
    language_server.asked.clear()
    language_server.cuts = 3
    with pytest.raises(EndpointFailed, match="sends an answer that is not whole"):
        ask(language_server.address)
    assert len(language_server.asked) == 3


@EVERY
@pytest.mark.parametrize("body", [b'{"choices": [{"message": {"content": "ye', b"\xff", b"\n"])
def test_a_body_that_ends_before_the_answer_does_is_asked_for_three_times(body: bytes, ask, language_server: LanguageServer) -> None:
    language_server.raw = body
    with pytest.raises(AnswerFailed, match="sends an answer that is not whole"):
        ask(language_server.address)
    assert len(language_server.asked) == 3


@EVERY
@pytest.mark.parametrize("cut", [False, True])
def test_a_server_that_does_not_stream_is_read_too(cut: bool, ask, language_server: LanguageServer) -> None:
    language_server.whole, language_server.words, language_server.cuts = True, ["There ", "is none."], 3 * cut
    if cut:
        with pytest.raises(AnswerFailed, match="not whole"):
            ask(language_server.address)
    else:
        assert ask(language_server.address) == "There is none."
    assert all(body["stream"] for body in language_server.asked)


@EVERY
def test_null_deltas_and_chunks_that_count_tokens_are_no_words(ask, language_server: LanguageServer) -> None:
    language_server.words, language_server.nulls, language_server.finish = ["yes"], True, "stop"
    assert ask(language_server.address) == "yes"


@EVERY
@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "out of slots", "code": 1}}',
        b'data: {"error": {"message": "out of slots"}}\n\n',
        b'data: {"error": "out of slots"}\n\n',
        b'{"object": "error", "error": {"message": "\\u001b[2Jout of\\n slots"}}',
    ],
)
def test_an_error_in_place_of_an_answer_is_quoted(body: bytes, ask, language_server: LanguageServer) -> None:
    language_server.raw = body
    with pytest.raises(AnswerFailed, match=r"sends (\[2J)?out of slots"):
        ask(language_server.address)
    assert len(language_server.asked) == 1


@EVERY
def test_a_login_page_is_no_answer(ask, language_server: LanguageServer) -> None:
    language_server.raw = b"<!doctype html>\n<html><head><title>Sign in</title></head>" + b"<p>x</p>\n" * 500
    with pytest.raises(AnswerFailed, match=r"sends a web page in place of an answer: Sign in\."):
        ask(language_server.address)


@EVERY
def test_an_answer_without_a_word_says_so(ask, language_server: LanguageServer) -> None:
    with pytest.raises(AnswerIncomplete, match="an answer holds no words"):
        ask(language_server.address)


def test_the_limit_is_said_after_the_words(language_server: LanguageServer) -> None:
    language_server.words, language_server.finish = ["There ", "is no"], "length"
    client, pieces = OpenAIClient(language_server.address, model="m"), []
    with pytest.raises(AnswerIncomplete, match=r"an answer is cut off: it reached the limit of 7 tokens. Give a larger --max-tokens"):
        pieces.extend(client.generate(TURNS, sampling=SamplingOptions(max_tokens=7)))
    with pytest.raises(AnswerIncomplete, match="limit of 512 tokens"):
        next(client.generate_whole(TURNS, sampling=SamplingOptions()))
    assert len(language_server.asked) == 2, "it would end there again"


@EVERY
@pytest.mark.parametrize("finish", ["content_filter", "eos", "stop"])
def test_other_reasons_to_finish_end_an_answer(finish: str, ask, language_server: LanguageServer) -> None:
    language_server.words, language_server.finish = ["yes"], finish
    assert ask(language_server.address) == "yes"


@EVERY
def test_an_answer_that_the_server_gave_up_is_not_whole(ask, language_server: LanguageServer) -> None:
    language_server.words, language_server.finish = ["yes"], "abort"
    with pytest.raises(AnswerFailed, match="not whole"):
        ask(language_server.address)


@EVERY
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            b'{"error": {"message": "This model\'s maximum context length is 4096 tokens, and the prompt contains 4097."}}',
            "answers 400 Bad Request: This model's maximum context length is 4096 tokens, and the prompt contains 4097. Check",
        ),
        (b'{"object": "error", "message": "The model `x` does not exist."}', "Bad Request: The model `x` does not exist. Check"),
        (b'{"detail": [{"msg": "field required"}, {"msg": "too long"}]}', "Bad Request: field required; too long. Check"),
        (b"<html><title>nginx</title><body>no</body></html>", "Bad Request: nginx. Check"),
        (b"plain \x1b[31mwords\xff", "Bad Request: plain [31mwords\ufffd. Check"),
        (b'{"error": "' + b"a" * 1000 + b'"}', f"Bad Request: {'a' * 300}…. Check"),
        (b"", "answers 400 Bad Request. Check"),
    ],
)
def test_the_servers_own_reason_is_quoted(body: bytes, words: str, ask, language_server: LanguageServer) -> None:
    language_server.say, language_server.refusal = lambda _: (400, ""), body
    with pytest.raises(AnswerFailed) as refused:
        ask(language_server.address)
    assert words in str(refused.value)
    assert len(language_server.asked) == 1


def test_a_key_that_the_server_repeats_is_not_shown(language_server: LanguageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-secret")
    language_server.say, language_server.refusal = lambda _: (401, ""), b'{"error": {"message": "Incorrect key sk-secret."}}'
    with pytest.raises(EndpointFailed, match="Incorrect key …") as refused:
        generate(language_server.address)
    assert "sk-secret" not in str(refused.value)


@pytest.mark.parametrize(("header", "expected"), [("3", [3.0, 3.0]), ("0.5", [1.0, 2.0]), ("soon", [1.0, 2.0]), ("600", [])])
def test_a_server_says_when_it_wants_to_be_asked_again(
    header: str, expected: list[float], language_server: LanguageServer, pauses: list[float]
) -> None:
    language_server.say, language_server.more = lambda _: (429, ""), {"Retry-After": header}
    with pytest.raises(EndpointFailed, match="answers 429"):
        generate(language_server.address)
    assert pauses == expected, "longer than the timeout is not waited for"


def test_a_date_is_a_time_to_be_asked_again(language_server: LanguageServer, pauses: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    language_server.say, language_server.more = lambda _: (503, ""), {"Retry-After": later}
    with pytest.raises(AnswerFailed, match="answers 503"):
        generate(language_server.address, timeout=120)
    assert len(pauses) == 2
    assert all(80 < seconds <= 100 for seconds in pauses)


@EVERY
def test_a_server_that_wants_another_name_for_the_limit_gets_it(ask, language_server: LanguageServer) -> None:
    reason = b'{"error": {"message": "Unsupported parameter: \'max_tokens\'. Use \'max_completion_tokens\' instead."}}'
    language_server.say = lambda body: (400 if "max_tokens" in body else 200, "yes")
    language_server.refusal = reason
    assert ask(language_server.address) == "yes"
    assert "max_tokens" not in language_server.asked[-1]
    assert language_server.asked[-1]["max_completion_tokens"] == 512


def test_what_a_server_does_not_take_is_left_out_and_said_once(language_server: LanguageServer) -> None:
    notes: list[str] = []
    client = OpenAIClient(language_server.address, model="m", notify=notes.append)
    language_server.say = lambda body: (400 if "temperature" in body else 200, "yes")
    language_server.refusal = b'{"error": {"message": "Unsupported value: \'temperature\' does not support 0 with this model."}}'
    for _ in range(2):
        assert "".join(client.generate(TURNS, sampling=SamplingOptions())) == "yes"
    assert len(language_server.asked) == 3
    assert len(notes) == 1
    assert "takes no temperature" in notes[0]


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (422, b'{"detail": [{"loc": ["body", "response_format", "type"], "msg": "Input should be \'text\' or \'json_object\'"}]}'),
        (
            500,
            b'{"error": {"message": "1 validation error: {\'loc\': (\'body\', \'response_format\', \'type\'),'
            b' \'msg\': \\"Input should be \'text\' or \'json_object\'\\"}"}}',
        ),
    ],
    ids=["FastAPI", "llama_cpp.server"],
)  # fmt: skip
def test_answers_that_are_asked_for_at_once_all_go_on_without_what_is_not_taken(
    status: int, refusal: bytes, language_server: LanguageServer
) -> None:
    all_asked, notes = threading.Barrier(4), list[str]()

    def say(body: dict[str, Any]) -> tuple[int, str]:
        if "response_format" not in body:
            return 200, "{}"
        all_asked.wait(20)
        return status, ""

    language_server.say, language_server.refusal = say, refusal
    client = OpenAIClient(language_server.address, model="m", notify=notes.append)
    with ThreadPoolExecutor(4) as pool:
        answers = [
            pool.submit(lambda: "".join(client.generate_whole(TURNS, sampling=SamplingOptions(), json_schema=SCHEMA))) for _ in range(4)
        ]
    assert [answer.result() for answer in answers] == ["{}"] * 4
    assert len(notes) == 1
    assert "takes no response_format" in notes[0]


def test_a_server_that_stops_an_answer_for_the_next_is_asked_for_one_at_a_time(language_server: LanguageServer) -> None:
    all_asked, notes, numbers = threading.Barrier(4), list[str](), itertools.count()
    alone, together = threading.Lock(), list[int]()

    def say(_: dict[str, Any]) -> tuple[int, str]:
        if (number := next(numbers)) < 4:
            all_asked.wait(20)
        elif alone.acquire(blocking=False):
            threading.Event().wait(0.1)  # for who asks meanwhile
            alone.release()
        else:
            together.append(number)
        return 200, "yes"

    language_server.say, language_server.finish, language_server.interrupts = say, "stop", True
    client = OpenAIClient(language_server.address, model="m", notify=notes.append)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            answers = [pool.submit(lambda: "".join(client.generate_whole(TURNS, sampling=SamplingOptions()))) for _ in range(4)]
            assert [answer.result() for answer in answers] == ["yes"] * 4
    assert together == []
    assert [note[:45] for note in notes] == ["The server stops an answer when the next is a"]


@EVERY
def test_thoughts_are_not_the_answer(ask, language_server: LanguageServer) -> None:
    language_server.thoughts, language_server.words = ["Is it?", " It is."], ["yes"]
    assert ask(language_server.address) == "yes"
    for words in (["<think>Is it?", "</th", "ink>\n\nyes"], ["Is it? It is.\n</think>\n\n", "yes"], ["[THINK]a[/THINK]yes"]):
        language_server.thoughts, language_server.words = [], words
        assert ask(language_server.address) == "yes"


def test_a_model_that_thinks_gets_room_for_it(language_server: LanguageServer) -> None:
    language_server.say = lambda body: (200, "yes" if body["max_tokens"] > 1000 else "")
    language_server.thoughts, language_server.finish = ["Hm."], "length"
    client = OpenAIClient(language_server.address, model="m")
    with pytest.raises(AnswerIncomplete, match="is cut off"):
        list(client.generate(TURNS, sampling=SamplingOptions(max_tokens=20)))
    assert [body["max_tokens"] for body in language_server.asked] == [20, 20 + THOUGHT_TOKENS]
    language_server.finish = "stop"
    assert "".join(client.generate(TURNS, sampling=SamplingOptions(max_tokens=20))) == "yes"
    assert language_server.asked[-1]["max_tokens"] == 20 + THOUGHT_TOKENS, "it is known to think"


def test_the_answer_of_a_model_that_thinks_ends_at_its_own_limit(language_server: LanguageServer) -> None:
    language_server.thoughts, language_server.words, language_server.finish = ["Hm."], ["a "] * 50, "stop"
    client, pieces = OpenAIClient(language_server.address, model="m"), []
    list(client.generate(TURNS, sampling=SamplingOptions(max_tokens=60)))
    with pytest.raises(AnswerIncomplete, match="is cut off"):
        pieces.extend(client.generate(TURNS, sampling=SamplingOptions(max_tokens=10)))


@EVERY
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_an_answer_that_was_only_thought_says_so(finish: str, ask, language_server: LanguageServer) -> None:
    language_server.thoughts, language_server.finish = ["Hm."], finish
    with pytest.raises(AnswerIncomplete, match="an answer was only thought"):
        ask(language_server.address)


def test_the_first_answer_comes_whole_and_later_ones_word_by_word(language_server: LanguageServer) -> None:
    language_server.words = ["a ", "b ", "c"]
    client = OpenAIClient(language_server.address, model="m")
    assert [list(client.generate(TURNS, sampling=SamplingOptions())) for _ in range(2)] == [["a b c"], ["a ", "b ", "c"]]


def test_a_model_whose_thoughts_begin_in_the_prompt_is_always_read_to_their_end(language_server: LanguageServer) -> None:
    client = OpenAIClient(language_server.address, model="m")
    for _ in range(2):
        language_server.words = ["Is ", "it?", "</think>", "ye", "s"]
        assert "".join(client.generate(TURNS, sampling=SamplingOptions())) == "yes"


def test_silence_between_words_is_a_failure(language_server: LanguageServer) -> None:
    language_server.words, language_server.stall = ["a", "b", "c"], 0.6
    with pytest.raises(AnswerFailed, match=r"does not answer .*Give a larger --timeout"):
        generate(language_server.address, timeout=0.2)


def test_the_systems_words_are_in_the_users_first_turn(language_server: LanguageServer) -> None:
    language_server.words = ["yes"]
    turns = [Message(role=role, content=text) for role, text in zip(("system", "user", "assistant", "user"), "sabc", strict=True)]
    list(OpenAIClient(language_server.address, model="m").generate(turns, sampling=SamplingOptions()))
    sent = [(turn["role"], turn["content"]) for turn in language_server.asked[0]["messages"]]
    assert sent == [("user", "s\n\na"), ("assistant", "b"), ("user", "c")]


@pytest.mark.parametrize(("models", "name", "words"), [
    (["a", "b"], "a", ""), (["a:latest"], "a", ""), (["openai/*"], "openai/x", ""), (["a"], "", ""),
    (["a", "b"], "c", "has no model 'c'; it has a, b"), (["a", "b"], "", r"has 2 models \(a, b\)"), ([], "a", "it has none"),
    (None, "", "does not list its models"), (None, "a", ""),
])  # fmt: skip
def test_a_server_is_asked_for_its_models(models: list[str] | None, name: str, words: str, language_server: LanguageServer) -> None:
    language_server.models, language_server.words = models, ["Hello"]
    client = OpenAIClient(language_server.address, model=name)
    if words:
        with pytest.raises(EndpointFailed, match=words):
            client.check()
    else:
        client.check()
        assert client.model == (name or "a")
    assert len(language_server.asked) == (models is None and bool(name)), "one that lists none is asked for a word"


@pytest.mark.parametrize("busy", [2, 3])
def test_a_server_that_loads_its_model_is_waited_for(busy: int, language_server: LanguageServer, pauses: list[float]) -> None:
    language_server.loading = busy
    client = OpenAIClient(language_server.address)
    if busy < 3:
        client.check()
        assert (client.model, pauses) == ("m", [1.0, 2.0])
    else:
        with pytest.raises(AnswerFailed, match="answers 503 Service Unavailable: Loading model"):
            client.check()


def test_an_answer_that_is_not_read_on_ends_on_the_server(language_server: LanguageServer) -> None:
    client = OpenAIClient(language_server.address, model="m")
    language_server.words = ["a"]
    generate_with(client)
    language_server.words, language_server.stall = ["a " * 1000] * 2000, 0.5
    answer = client.generate(TURNS, sampling=SamplingOptions())
    next(answer)
    answer.close()
    for _ in range(200):
        if language_server.hung_up:
            break
        threading.Event().wait(0.05)
    assert language_server.hung_up == 1


def test_a_server_that_is_absent_or_another_is_named_before_anything_is_sent(language_server: LanguageServer) -> None:
    with pytest.raises(EndpointFailed, match="does not answer"):
        OpenAIClient("http://127.0.0.1:1/v1", model="m").check()
    language_server.models = None
    language_server.say, language_server.refusal = lambda _: (404, ""), b'{"error": "File Not Found"}'
    with pytest.raises(EndpointFailed, match="answers 404 Not Found: File Not Found"):
        OpenAIClient(language_server.address, model="m").check()
    language_server.say, language_server.raw = lambda _: (200, ""), b"<html><title>Sign in</title></html>"
    with pytest.raises(EndpointFailed, match="a web page"):
        OpenAIClient(language_server.address, model="m").check()


def test_a_closed_client_ends_its_answers_on_the_server(language_server: LanguageServer) -> None:
    begun, gone = threading.Event(), threading.Event()

    def say(_: object) -> tuple[int, str]:
        begun.set()
        gone.wait(10)
        return 200, "a" * (1 << 22)

    language_server.say = say
    client, failures = OpenAIClient(language_server.address, model="m", timeout=60), []

    def ask() -> None:
        try:
            list(client.generate_whole(TURNS, sampling=SamplingOptions()))
        except EndpointFailed as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert begun.wait(10)
    client.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(failures) == len(language_server.asked) == 1
    gone.set()
    with pytest.raises(EndpointFailed, match="is not asked any more"):
        generate_with(client)


def test_a_stream_that_breaks_off_says_so_after_the_words_that_came(language_server: LanguageServer) -> None:
    language_server.words = ["a", "b", "c", "d"]
    client = OpenAIClient(language_server.address, model="m")
    assert generate_with(client) == "abcd"
    language_server.cuts = 1
    answer = client.generate(TURNS, sampling=SamplingOptions())
    assert [next(answer), next(answer)] == ["a", "b"]
    with pytest.raises(AnswerFailed, match="sends an answer that is not whole"):
        next(answer)
    assert len(language_server.asked) == 2, "words that were shown cannot be taken back"


WORD = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'


@pytest.mark.parametrize(
    "stream",
    [
        WORD + b"data: [DONE]\n\n" + WORD,
        WORD + b"data: [DONE]",
        b": a comment\n\nevent: message\n" + WORD + b'data: {"choices": []}\n\ndata:[DONE]\n\n',
        WORD + b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n',
    ],
    ids=["done", "no line end", "other lines", "finished"],
)
def test_a_stream_ends_where_it_says_so(stream: bytes, language_server: LanguageServer) -> None:
    language_server.raw = stream
    assert generate(language_server.address) == generate_whole(language_server.address) == "a"


@pytest.mark.parametrize("stream", [WORD, WORD + WORD[:20], b""], ids=["no end", "half a line", "nothing"])
def test_a_stream_without_its_end_is_not_whole(stream: bytes, language_server: LanguageServer) -> None:
    language_server.raw = stream or b"\n"
    with pytest.raises(EndpointFailed, match="not whole"):
        generate(language_server.address)


@EVERY
def test_an_answer_above_the_limit_is_refused_at_once(ask, language_server: LanguageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_stream, "_MOST_BYTES", 1000)
    language_server.say = lambda _: (200, "a" * 850)
    assert ask(language_server.address) == "a" * 850
    language_server.asked.clear()
    language_server.say = lambda _: (200, "a" * 1000)
    with pytest.raises(EndpointFailed, match="sends an answer of more than 1,000 bytes"):
        ask(language_server.address)
    assert len(language_server.asked) == 1


def test_many_short_words_are_above_the_limit_too(language_server: LanguageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_stream, "_MOST_BYTES", 1000)
    language_server.words = ["a"] * 30
    with pytest.raises(EndpointFailed, match="more than 1,000 bytes"):
        generate(language_server.address)


def test_a_stream_that_stalls_or_is_no_answer_is_an_error(language_server: LanguageServer) -> None:
    language_server.silent = 0.6
    with pytest.raises(EndpointFailed, match="does not answer"):
        generate(language_server.address, timeout=0.1)
    language_server.silent, language_server.broken = 0.0, True
    for ask in (generate, generate_whole):
        with pytest.raises(EndpointFailed, match="no answer of such a server"):
            ask(language_server.address)


@pytest.mark.parametrize("event", ['{"choices": ["a"]}', "[]", '"a"', "{}", "[" * 100_000])
def test_events_of_another_form_are_no_answer(event: str, language_server: LanguageServer) -> None:
    language_server.raw = f"data: {event}\n\n".encode()
    with pytest.raises(EndpointFailed, match="no answer of such a server"):
        generate(language_server.address)


@EVERY
@pytest.mark.parametrize("content", ["{}", '{"choices": "a"}', '{"choices": [7]}', '{"choices": ' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_a_document_of_another_form_is_no_answer(content: str, ask, language_server: LanguageServer) -> None:
    language_server.raw = content.encode()
    with pytest.raises(EndpointFailed, match="no answer of such a server"):
        ask(language_server.address)
    assert len(language_server.asked) == 1


def test_a_key_goes_into_the_header_and_nowhere_else(language_server: LanguageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    language_server.words = ["a", "b"]
    monkeypatch.delenv(KEY, raising=False)
    assert generate(language_server.address) == "ab"
    assert "Authorization" not in language_server.headers[0]
    monkeypatch.setenv(KEY, "secret")
    assert generate(language_server.address) == "ab"
    assert language_server.headers[1]["Authorization"] == "Bearer secret"
    assert "secret" not in json.dumps(language_server.asked)


def test_a_client_that_hangs_up_leaves_the_tests_server_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    server, asked, gone = LanguageServer(), threading.Event(), threading.Event()
    server.daemon_threads = False  # so that the end of the server waits for the handler

    def say(_: object) -> tuple[int, str]:
        asked.set()
        gone.wait(10)
        return 200, "a" * (1 << 22)

    server.say = say
    with serving(server):
        client = socket.create_connection(server.server_address)
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        assert asked.wait(10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a close resets the connection
        client.close()
        gone.set()
    assert capfd.readouterr().err == ""
