"""Describe this machine for Thoracle: versions, codecs, devices, memory, disk."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import AllTransferSyntaxes

from thoracle.files.cache_folder import cache_dir

_PACKAGES = (
    "thoracle", "torch", "numpy", "scipy", "pydicom", "python-gdcm", "pylibjpeg", "pylibjpeg-openjpeg", "nibabel", "pynrrd", "isal",
    "safetensors", "tokenizers", "pyarrow", "huggingface_hub",
)  # fmt: skip
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
#: The first release without the WAL reset bug, which can corrupt a database that several processes write.
_SQLITE_SOUND = (3, 51, 3)
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Hold facts by topic; `warnings` are sentences.

    Attributes:
        versions: package to version, "absent" where it is not installed.
        codecs: DICOM transfer syntax to the libraries that decode it; empty where none does.
        devices: what can run a model.
        memory: bytes as text.
        cache: where prompt latents go when the model folder is read-only.
        disk: bytes free there, as text.
    """

    versions: dict[str, str]
    codecs: dict[str, tuple[str, ...]]
    devices: dict[str, str]
    memory: str
    cache: str
    disk: str
    warnings: tuple[str, ...]


def examine() -> Environment:
    """Look at this machine."""
    versions = {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}, "sqlite": sqlite3.sqlite_version}
    memory = psutil.virtual_memory()
    cache = cache_dir()
    free = shutil.disk_usage(_existing(cache)).free
    return Environment(
        versions=versions,
        codecs=_codecs(),
        devices=_devices(),
        memory=f"{memory.available / _GIB:.1f} GiB free of {memory.total / _GIB:.1f} GiB",
        cache=str(cache),
        disk=f"{free / _GIB:.1f} GiB free",
        warnings=tuple(_sqlite_warnings()),
    )


def _sqlite_warnings() -> list[str]:
    if sqlite3.sqlite_version_info >= _SQLITE_SOUND:
        return []
    sound = ".".join(map(str, _SQLITE_SOUND))
    return [f"SQLite {sqlite3.sqlite_version} can corrupt a WAL database that several processes write; {sound} mends it."]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _codecs() -> dict[str, tuple[str, ...]]:
    extras: dict[str, tuple[str, ...]] = {}
    for syntax in AllTransferSyntaxes:
        if syntax.is_private:
            continue
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:  # video and other syntaxes that hold no slices
            continue
        extras[syntax.name] = decoder.available_plugins if syntax.is_encapsulated else ("pydicom",)
    return extras


def _devices() -> dict[str, str]:
    name, flags = _cpu()
    supported = ", ".join(flag for flag in _CPU_FLAGS if flag in flags) or "unknown"
    devices = {"cpu": f"{name}; {torch.get_num_threads()} threads; {supported}"}
    if not torch.cuda.is_available():
        devices["cuda"] = "none"
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{card.name}; {card.total_memory / _GIB:.0f} GiB"
    return devices


def _cpu() -> tuple[str, frozenset[str]]:
    """Model name and instruction sets, from Linux's own file where there is one."""
    fields: dict[str, str] = {}
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    return fields.get("model name", platform.processor() or platform.machine()), frozenset(fields.get("flags", "").split())


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    return next(parent for parent in (path.absolute(), *path.absolute().parents) if os.path.lexists(parent))
