"""What workers of the tests do: nothing of medicine, and all that goes wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from thoracle.errors import InputError, ModelFolderInvalid
from thoracle.serving.jobs.worker import JobContext, JobFunction


def echo(context: JobContext, *, text: str) -> str:
    context.report("thinking")
    context.emit({"text": text})
    return text.upper()


def sleep(context: JobContext, *, seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        context.check()
        time.sleep(0.01)
    return "slept"


def hang(context: JobContext) -> None:
    """Never asks whether it may go on."""
    time.sleep(600)


def fill(context: JobContext, *, size: int) -> None:
    block = bytearray(size)
    block[::4096] = b"x" * len(block[::4096])
    time.sleep(600)


def refuse(context: JobContext) -> None:
    raise InputError("it makes no sense", hint="Ask otherwise.", source="/home/Doe^Jane.nii")


def stumble(context: JobContext) -> None:
    raise ValueError("Doe^Jane")


def die(context: JobContext) -> None:
    os._exit(7)


def chatter(context: JobContext) -> str:
    print("Doe^Jane")
    os.write(2, b"Doe^Jane\n")
    return "said"


FUNCTIONS: dict[str, JobFunction] = {function.__name__: function for function in (echo, sleep, hang, fill, refuse, stumble, die, chatter)}


def equip() -> tuple[Mapping[str, Mapping[str, JobFunction]], Mapping[str, Any]]:
    return {"first": FUNCTIONS, "second": FUNCTIONS}, {"loaded": True}


def cannot_equip() -> Any:
    raise ModelFolderInvalid("is no model", hint="Give one.", source="/home/Doe^Jane")


def dies_at_start() -> Any:
    os._exit(9)
