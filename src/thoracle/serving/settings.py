"""Hold what a server is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thoracle.errors import InputError

GIB: Final = 1 << 30
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Name the models and the index that a server's workers load.

    Attributes:
        detector: model folder that findings come from.
        regions: folder of a model that reads by region, for maps; None for none.
        index: a folder, or a server's address; None for none.
        index_model: the index's model, where this machine has not seen it.
        read_only_index: whether nobody may add to it or delete from it.
        scans: folder in which the files of the index's records are; None for none.
        chat: folder of a chat model; None for none.
        chat_encoder, chat_base: of that folder, where they have moved to.
        llm_url: an OpenAI-compatible server that answers from findings, in place of a chat model.
        llm_model: which of that server's models; "" for the only one.
    """

    detector: Path
    regions: Path | None = None
    index: str | None = None
    index_model: Path | None = None
    read_only_index: bool = False
    scans: Path | None = None
    chat: Path | None = None
    chat_encoder: Path | None = None
    chat_base: Path | None = None
    llm_url: str | None = None
    llm_model: str = ""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Hold how a server works.

    Attributes:
        models: what is loaded.
        work: folder of uploads and results; it is emptied at start and at exit.
        token: that a request must have.
        allowed_hosts: names under which the server may be asked for.
        devices: one worker process each holds the models.
        upload_bytes: that one upload may have.
        disk_bytes: that all uploads and results together may have.
        open_scans: at once.
        waiting: jobs in each queue.
        job_seconds: that a job may take.
        job_bytes: of memory that a job may take beyond what its process had.
        idle_seconds: without a byte, after which an upload is given up.
        expires_after: seconds without use, after which a scan and its results are deleted.
        proxy: address of a proxy whose `user_header` is believed; "" for none.
        user_header: names the proxy's user.
        secure: whether people reach the server by https.
        audit_log: file of what was done; None for `audit.jsonl` in `work`.

    Raises:
        InputError: a limit that makes no sense.
    """

    models: ModelSettings
    work: Path
    token: str
    allowed_hosts: tuple[str, ...] = LOOPBACK
    devices: tuple[str, ...] = ("auto",)
    upload_bytes: int = 4 * GIB
    disk_bytes: int = 64 * GIB
    open_scans: int = 50
    waiting: int = 32
    job_seconds: float = 600.0
    job_bytes: int = 16 * GIB
    idle_seconds: float = 30.0
    expires_after: float = 8 * 3600.0
    proxy: str = ""
    user_header: str = ""
    secure: bool = False
    audit_log: Path | None = None

    def __post_init__(self) -> None:
        limits = ("upload_bytes", "disk_bytes", "open_scans", "waiting", "job_seconds", "job_bytes", "idle_seconds", "expires_after")
        for name in limits:
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, is {getattr(self, name)}", hint="Give a larger limit.")
        if not self.token:
            raise InputError("the token is empty", hint="Give one of 32 letters or more.")
        if bool(self.proxy) != bool(self.user_header):
            raise InputError("a proxy's user is believed of one proxy", hint="Give --trust-proxy and --proxy-user-header, or neither.")
