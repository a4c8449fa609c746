"""Describe this machine for Thoracle: versions, codecs, devices, memory, disk."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil
import torch
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import AllTransferSyntaxes

from thoracle.cohort.pseudonyms import default_key_file
from thoracle.files.cache_folder import cache_dir
from thoracle.inference.demo.locations import demo_chat, demo_model
from thoracle.inference.model_locations import known_folders
from thoracle.models.chat.chat_folder import ABOUT

_PACKAGES = (
    "thoracle", "torch", "numpy", "scipy", "pydicom", "python-gdcm", "pylibjpeg", "pylibjpeg-openjpeg", "nibabel", "pynrrd", "isal",
    "safetensors", "tokenizers", "pyarrow", "huggingface_hub",
)  # fmt: skip
_OF_DEVELOPERS = ("bench", "dev", "services")
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
#: The first release without the WAL reset bug, which can corrupt a database that several processes write.
_SQLITE_SOUND = (3, 51, 3)
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Hold facts by topic; `warnings` are sentences.

    Attributes:
        versions: package to version, "absent" where it is not installed.
        extras: each to the packages it needs, with their versions.
        models: the demo's, its chat model, those that were used, and the site's key: where each is, or what makes it.
        codecs: DICOM transfer syntax to the libraries that decode it; empty where none does.
        devices: what can run a model.
        memory: bytes as text.
        cache: where prompt latents go when the model folder is read-only.
        disk: bytes free there, as text.
    """

    versions: dict[str, str]
    extras: dict[str, str]
    models: dict[str, str]
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
        extras=_extras(),
        models=_models(),
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


def _extras() -> dict[str, str]:
    """List the extras that people install, with their packages."""
    packages: dict[str, list[str]] = {}
    for requirement in requires("thoracle") or ():
        match = re.match(r"([\w.-]+).*\bextra == ['\"](\w+)['\"]", requirement)
        if match and match[2] not in _OF_DEVELOPERS:
            packages.setdefault(match[2], []).append(f"{match[1]} {_version(match[1])}")
    return {extra: ", ".join(names) for extra, names in packages.items()}


def _models() -> dict[str, str]:
    key = default_key_file()
    files = {
        "demo model": (demo_model() / "config.json", "none; `thoracle demo` makes it"),
        "demo chat": (demo_chat() / "model" / ABOUT, "none; `thoracle demo` makes it"),
        "site key": (key, f"none; it is made at {key} when it is first needed"),
    }
    lines = {name: str(path if path == key else path.parent) if path.is_file() else absent for name, (path, absent) in files.items()}
    used = dict.fromkeys(str(folder) for folder in known_folders() if (folder / "config.json").is_file())
    return lines | {f"model used {number}": folder for number, folder in enumerate(used, start=1)}


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
