"""Choose what is served and who may ask, then serve it until a signal comes."""

from __future__ import annotations

import os
import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn

from thoracle.errors import InputError
from thoracle.files.cache_folder import cache_dir
from thoracle.files.lock import exclusive_lock
from thoracle.inference.demo.default_model import Notify, model_or_demo
from thoracle.inference.demo.locations import demo_chat, demo_regions, demo_search, demo_search_scans
from thoracle.serving.app import create_app
from thoracle.serving.server import Server
from thoracle.serving.settings import LOOPBACK, ModelSettings, ServerSettings

_TOKEN: Final = "THORACLE_TOKEN"
_SHORTEST_TOKEN: Final = 32
_GRACEFUL_SECONDS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Address:
    """Hold where a server listens, and under which names people reach it.

    Attributes:
        host: an address of this machine.
        port: 0 for a free one.
        names: beside those of this machine.
        tls_cert, tls_key: PEM files; None for http.
    """

    host: str
    port: int
    names: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def is_loopback(self) -> bool:
        """Tell whether only this machine can reach it."""
        return self.host in ("127.0.0.1", "localhost", "::1")

    @property
    def shown_host(self) -> str:
        """Return what people type: the first of its names where others reach it, for 0.0.0.0 is no address to open."""
        if not self.is_loopback and self.names:
            return self.names[0]
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def scheme(self) -> str:
        """Return https or http."""
        return "http" if self.tls_cert is None else "https"


def default_models(*, detector: Path | None, notify: Notify, **options: Any) -> ModelSettings:
    """Take the models that are named; beside the demo's model, all that the demo made and that is not named.

    Args:
        detector: model folder; the demo's by default.
        notify: takes a sentence that says so where the demo's is used.
        options: of `ModelSettings`; None where one is not named.

    Raises:
        InputError: no model is named, and the demo has not run here.
    """
    folder = model_or_demo(detector, notify=notify)
    if detector is None:
        search = demo_search()
        if options["regions"] is None and (demo_regions() / "config.json").is_file():
            options["regions"] = demo_regions()
        if options["index"] is None and (search / "index").is_dir():
            options["index"] = str(search / "index")
            options["index_model"] = options["index_model"] or search / "model"
            options["scans"] = options["scans"] or demo_search_scans()
        if options["chat"] is None and options["llm_url"] is None and demo_chat().is_dir():
            options["chat"] = demo_chat() / "model"
            options |= {"chat_encoder": demo_chat() / "encoder", "chat_base": demo_chat() / "base"}
    return ModelSettings(detector=folder, **options)


def server_settings(
    models: ModelSettings, address: Address, *, token_file: Path | None, work: Path | None, **options: Any
) -> ServerSettings:
    """Decide who may ask: this machine alone, by a token that is made here; or others too, by a token and names that are given.

    Args:
        models: that are served.
        address: where.
        token_file: holds the token; THORACLE_TOKEN of the environment in its place.
        work: folder of uploads and results.
        options: of `ServerSettings`.

    Raises:
        InputError: others can reach it, and no token or no name is given; a token that is too short.
    """
    token = _token(token_file)
    if not address.is_loopback and not (token and address.names):
        hint = f"Give --token-file FILE (or {_TOKEN}) and --allow-host NAME, or listen at 127.0.0.1."
        raise InputError(f"other machines reach {address.host}: that needs a token and the server's names", hint=hint)
    return ServerSettings(
        models=models,
        work=work or cache_dir() / "serve",
        token=token or secrets.token_urlsafe(32),
        allowed_hosts=(*LOOPBACK, *(name.lower() for name in address.names)),
        secure=address.tls_cert is not None or bool(options.get("proxy")),
        **options,
    )


def run(settings: ServerSettings, address: Address, *, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Serve until a signal comes; prints the address with the token once.

    Raises:
        InputError: another server uses the work folder, or the port is taken.
    """
    if not address.is_loopback and address.tls_cert is None:
        warn("others can read what is sent: give --tls-cert and --tls-key, or put a proxy with TLS in front.")
    detail = "another server uses this folder of uploads and results"
    with exclusive_lock(settings.work, refusal=InputError, detail=detail), _listen(address) as listener:
        server = Server(settings, on_problem=lambda problem: warn(f"what needs models is refused. {problem.kind}: {problem.message}"))
        app = create_app(server)
        if lost := server.lost:
            jobs = ", ".join(f"{job.kind} of scan {job.scan}" for job in lost)
            warn(f"{len(lost)} jobs of the server before were lost: {jobs}.")
        port = listener.getsockname()[1]
        say(f"{address.scheme}://{address.shown_host}:{port}/?token={settings.token}")
        say("Research use only. Not a medical device. Ctrl-C ends it, and deletes uploads and results.")
        config = uvicorn.Config(
            app,
            access_log=False,  # addresses have tokens and ids
            log_level="critical",  # tracebacks may have names
            server_header=False,
            proxy_headers=False,
            limit_concurrency=200,
            timeout_graceful_shutdown=_GRACEFUL_SECONDS,
            ssl_certfile=address.tls_cert,
            ssl_keyfile=address.tls_key,
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _listen(address: Address) -> socket.socket:
    """Open the socket before anything is loaded, so that a port that is taken is said at once."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise InputError(
            f"cannot listen at {address.host}:{address.port} ({error.strerror})", hint="Give another --port or --host."
        ) from error


def _token(file: Path | None) -> str:
    """Return the token that is given, or ""."""
    text = os.environ.get(_TOKEN, "")
    if file is not None:
        try:
            text = file.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise InputError("the token cannot be read", hint="Give a text file with nothing but the token.", source=file) from error
    token = text.strip()
    if token and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise InputError(f"the token has {len(token)} characters", hint=f"Give {_SHORTEST_TOKEN} or more letters, digits, - and _.")
    return token
