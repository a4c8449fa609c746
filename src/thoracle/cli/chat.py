"""`thoracle chat`: questions about a scan, or about none, and the answers as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoracle.cli.app import app
from thoracle.cli.llm_options import LlmModel, MaxTokens, Timeout, open_server
from thoracle.cli.options import Device, LanguageDtype, ReadArguments, reads_scans

if TYPE_CHECKING:
    from thoracle.ct.volume import Volume
    from thoracle.inference.batch.runner import ReadOptions
    from thoracle.inference.chat.conversation import Conversation
    from thoracle.inference.chat.grounded import CitableEvidence
    from thoracle.inference.chat.session import Chat
    from thoracle.inference.llm.decoding import SamplingOptions

Placement = Literal["user", "tool"]
Kind = Literal["long_answer", "short_answer", "multiple_choice", "report_generation"]
#: Answers a question, given `task`, in pieces.
Reply = Callable[..., Iterator[str]]


@app.command()
@reads_scans
def chat(
    scans: Annotated[list[Path] | None, typer.Argument(metavar="SCAN", help="One scan, or two of a patient in the order of time.")] = None,
    *,
    model: Annotated[Path | None, typer.Option(metavar="DIR", help="Chat folder, or a published adapter's.")] = None,
    encoder: Annotated[Path | None, typer.Option(metavar="DIR", help="Model folder of its encoder: where that has moved to.")] = None,
    base: Annotated[Path | None, typer.Option(metavar="DIR", help="Language model's folder: where it has moved to.")] = None,
    ask: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="A question; several in turn. Without, you are asked.")] = None,
    task: Annotated[Kind, typer.Option(help="What kind of answer is wanted.")] = "long_answer",
    llm_url: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible server that answers from --detector.")] = None,
    llm_model: LlmModel = None,
    timeout: Timeout = 120.0,
    detector: Annotated[Path | None, typer.Option(metavar="DIR", help="Model folder whose findings answers rest on and cite.")] = None,
    index: Annotated[str | None, typer.Option(metavar="INDEX", help="Index whose most similar cases answers may rest on too.")] = None,
    evidence: Annotated[Placement, typer.Option(help="Where findings and cases stand: in the user's turn, or in a tool's.")] = "user",
    num_similar: Annotated[int, typer.Option(min=1, max=50, help="How many of them: their reports are in the prompt.")] = 3,
    conversation: Annotated[Path | None, typer.Option(metavar="JSON", help="Continued, and written after each answer.")] = None,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest word.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="The same words again, above temperature 0.")] = 0,
    max_tokens: MaxTokens = 256,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Ends an answer.")] = None,
    read_arguments: ReadArguments,
    device: Device = "auto",
    dtype: LanguageDtype = "auto",
) -> None:
    """Ask a chat model about a scan. Research use only; not a medical device.

    With --detector the answer rests on a detector's findings, with --index on similar cases too, and each sentence cites them; the words
    are the chat model's, or with --llm-url a server's. Without a scan, questions about one are declined. An answer that breaks off says so
    and is not kept.

    Exit status: 0 all well, 1 an answer, a scan or a model failed, 2 the command was wrong.
    """
    from thoracle.cli.findings_table import notify
    from thoracle.errors import AnswerFailed
    from thoracle.inference.chat.cited_answer import cited_answer
    from thoracle.inference.chat.conversation import Conversation, continue_conversation, scan_fingerprint
    from thoracle.inference.chat.open_chat import open_chat
    from thoracle.inference.demo.default_model import model_or_demo
    from thoracle.inference.llm.decoding import SamplingOptions

    server = None if llm_url is None else open_server(llm_url, model=llm_model, timeout=timeout, evidence=evidence)
    load_model = partial(open_chat, model, encoder=encoder, base=base, device=device, dtype=dtype, evidence=evidence, notify=notify)
    sampling = SamplingOptions(max_tokens=max_tokens, temperature=temperature, seed=seed, stop=tuple(stop or ()))
    volumes = _volumes(scans or [], read_arguments.reading())
    fingerprints = tuple(map(scan_fingerprint, volumes))
    if conversation is not None and conversation.exists():
        dialog = continue_conversation(conversation, fingerprints=fingerprints)
    else:
        dialog = Conversation(fingerprints=fingerprints)
    if not (detector is None and llm_url is None and index is None):
        generate = server.generate if server is not None else load_model().complete_text
        folder = model_or_demo(detector, notify=notify)
        sources = _evidence(volumes, detector=folder, index=index, num_similar=num_similar, device=device)
        reply: Reply = partial(cited_answer, generate, evidence=sources, conversation=dialog, sampling=sampling)
    else:
        reply = _seeing(volumes, dialog, sampling, loaded=load_model())
    failed = False
    for question in ask or _asked():
        try:
            _show(reply(question, task=task))
        except AnswerFailed as error:
            typer.echo(f"{type(error).__name__}: {error}", err=True)
            failed = True
        finally:  # a server that goes down takes the answer with it, not the conversation
            if conversation is not None:
                dialog.save(conversation)
    if failed:
        raise typer.Exit(1)


def _show(pieces: Iterator[str]) -> None:
    """Write an answer as it comes; one that breaks off says so."""
    from thoracle.errors import EndpointFailed
    from thoracle.text_safety import terminal_safe

    end = "\n"
    try:
        for piece in pieces:
            sys.stdout.write(terminal_safe(piece))
            sys.stdout.flush()
    except (EndpointFailed, KeyboardInterrupt) as error:
        end = f" [broken off, not kept: {error.detail if isinstance(error, EndpointFailed) else 'interrupted'}]\n"
        raise
    finally:
        sys.stdout.write(end)
        sys.stdout.flush()


def _asked() -> Iterator[str]:
    while True:
        if sys.stdin.isatty():
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _volumes(scans: list[Path], reading: ReadOptions) -> list[Volume]:
    from thoracle.inference.batch.discover_scans import ScanLocation
    from thoracle.inference.batch.runner import read_scan

    return [read_scan(ScanLocation(name=path.name, path=path), reading) for path in scans]


def _seeing(volumes: list[Volume], conversation: Conversation, sampling: SamplingOptions, *, loaded: Chat) -> Reply:
    """Answers of a chat model that sees the scans."""
    from thoracle.inference.chat.scan_tokens import scan_tokens
    from thoracle.inference.prepare import prepare
    from thoracle.types import RESEARCH_USE

    turns = []
    for volume in volumes:
        prepared = prepare(volume, loaded.encoder.preprocess)
        for warning in prepared.warnings:
            typer.echo(f"Warning: {warning}", err=True)
        turns.append(scan_tokens(loaded.encoder, prepared))
    conversation.scans = tuple(turns)
    typer.echo(" ".join(filter(None, (loaded.caution, RESEARCH_USE))), err=True)
    return partial(loaded.answer, conversation, sampling=sampling)


def _evidence(volumes: list[Volume], *, detector: Path, index: str | None, num_similar: int, device: str) -> CitableEvidence:
    """What a detector finds in the one scan, and which cases look like it."""
    from thoracle.cli.findings_table import notify
    from thoracle.errors import InputError
    from thoracle.inference.chat.grounded import collect_evidence
    from thoracle.inference.model import load
    from thoracle.search.similar_cases import similar_cases

    if len(volumes) != 1:
        raise InputError(f"{len(volumes)} scans, where findings are of one", hint="Give one scan.")
    model, volume = load(detector, device=device), volumes[0]
    findings = model.detect(volume)
    for warning in findings.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    return collect_evidence(
        findings, [] if index is None else similar_cases(index, scan=volume, k=num_similar, detector=model, notify=notify)
    )
