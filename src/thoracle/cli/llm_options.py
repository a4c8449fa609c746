"""Word the options of language models' servers, once, and open one before anything else is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from thoracle.inference.llm.openai_client import OpenAIClient
    from thoracle.models.chat.layout import EvidencePlacement

LlmModel = Annotated[str | None, typer.Option(metavar="NAME", help="Which of the server's models; the only one by default.")]
Timeout = Annotated[float, typer.Option(metavar="S", help="Of a server: seconds for the connection, and without a word.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Of an answer; a model's thoughts have 4,096 beside them.")]


def open_server(url: str, *, model: str | None, timeout: float, evidence: EvidencePlacement = "user") -> OpenAIClient:
    """Ask a server for its models, and warn of plain http.

    Raises:
        InputError: no address, or a key that is none.
        EndpointFailed: the server is not there, refuses, or has no such model.
    """
    from thoracle.inference.llm.openai_client import OpenAIClient

    client = OpenAIClient(url, model=model or "", timeout=timeout, evidence=evidence, notify=_warn)
    if client.connection.warning:
        _warn(client.connection.warning)
    client.check()
    if model is None:
        typer.echo(f"The server's model is {client.model}.", err=True)
    return client


def _warn(sentence: str) -> None:
    typer.echo(f"Warning: {sentence}", err=True)
