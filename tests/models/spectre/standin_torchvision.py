"""Stand in for torchvision, which timm imports and SPECTRE does not use, and of which PyPI's build does not load beside this torch.

It is put on the path of a child process as a package of that name: every name in it is an empty class, and every name in one of those is
a text.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Empty(type):
    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


def __getattr__(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Empty(name, (), {})


class _Submodules:
    """Find and load torchvision's submodules: as empty as it is."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.startswith(f"{__name__}.") else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__getattr__ = __getattr__
        return module

    def exec_module(self, module: ModuleType) -> None: ...


__path__: list[str] = []
sys.meta_path.append(_Submodules())
