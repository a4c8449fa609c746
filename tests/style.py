"""Count what the style and the layout of the sources come to; `test_style.py` and `test_layout.py` judge it."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SOURCES: Final = ROOT / "src" / "thoracle"

#: Participles, pronouns and places: not names of variables.
VAGUE: Final = frozenset({
    "aside", "asked", "begun", "done", "each", "found", "given", "held", "kept", "known", "made", "one", "ones", "other", "own",
    "place", "places", "said", "seen", "share", "spoken", "told", "unlike", "wanted", "whole",
})  # fmt: skip
#: Nouns that name nothing.
DULL: Final = frozenset(["result", "item", "data", "obj", "value", "tmp"])
#: Verbs that open docstrings; a docstring with another verb adds it here.
VERBS: Final = frozenset({
    "abstain", "accept", "add", "align", "allow", "annotate", "answer", "append", "apply", "archive", "ask", "assign", "attach", "attend",
    "average", "begin", "bind", "blend", "bound", "build", "cache", "calibrate", "cancel", "cast", "centre", "change", "check", "choose",
    "clamp", "classify", "clip", "close", "cluster", "coarsen", "collate", "collect", "combine", "compare", "compile", "compress",
    "compute", "configure", "connect", "convert", "correct", "convolve", "copy", "count", "create", "crop", "cut", "decide", "decode",
    "define", "delete", "derive", "describe", "detach", "detect", "detokenize", "distribute", "divide", "do", "download", "draw",
    "drive", "drop", "embed", "emit", "enable", "encode", "end", "ensure", "enumerate", "escape", "estimate", "evaluate", "exclude",
    "exit", "expand", "export", "extract", "feed", "fetch", "fill", "filter", "find", "finish", "fit", "flag", "flush", "fold",
    "follow", "forget", "format", "freeze", "fuse", "gather", "generate", "give", "grade", "group", "guess", "grow", "hash", "hide",
    "highlight", "hold", "identify", "ignore", "implement", "import", "index", "infer", "inflate", "initialize", "insert", "interpolate",
    "invert", "iterate", "join", "judge", "keep", "label", "learn", "leave", "let", "link", "list", "load", "locate", "log", "look", "make",
    "map", "mark", "mask", "match", "maximize", "measure", "mend", "merge", "minimize", "mirror", "mix", "model", "move",
    "multiply", "name", "normalize", "note", "notify", "number", "offer", "open", "order", "pack", "pad", "paint", "parse", "pass",
    "patch", "pause", "permute", "pick", "place", "plan", "poll", "pool", "pop", "post", "predict", "prepare", "preprocess",
    "print", "probe", "project", "propose", "prune", "pseudonymize", "push", "put", "quantize", "query", "quote", "raise", "rank",
    "read", "recognize", "reconstruct", "record", "redact", "refuse", "register", "release", "remove", "rename", "render", "repeat",
    "replace", "reply", "report", "request", "require", "resample", "rescale", "reset", "resolve", "restore", "resume", "retry",
    "return", "reverse", "rotate", "round", "run", "sample", "save", "say", "scale", "scan", "schedule", "score", "search", "seek",
    "select", "send", "serve", "set", "shift", "show", "shuffle", "silence", "simulate", "skip", "smooth", "solve", "sort", "split",
    "stack",
    "stamp", "start", "stop", "store", "stream", "subtract", "suggest", "sum", "summarize", "supply", "swap", "sweep", "sync",
    "tag", "take", "tell", "test", "throw", "tokenize", "train", "transform", "translate", "transpose", "truncate", "try", "turn",
    "undo", "unpack", "update", "upload", "use", "validate", "verify", "visit", "wait", "walk", "warn", "weigh", "weight", "wrap",
    "write", "yield", "zip",
})  # fmt: skip


@cache
def trees() -> dict[Path, ast.Module]:
    """Parse every module of the package."""
    return {path: ast.parse(path.read_text()) for path in sorted(SOURCES.rglob("*.py"))}


def bindings() -> Counter[str]:
    """Count the names that parameters and assignments bind."""
    names: Counter[str] = Counter()
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.arg):
                names[node.arg] += 1
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names[node.id] += 1
    return names


def definitions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """List public classes and functions, methods too."""
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                yield path, node


def fragments() -> tuple[list[str], int]:
    """List public docstrings that open with no verb, and count all public docstrings; an error's says what is at fault."""
    poor, total = [], 0
    for path, node in definitions():
        text = ast.get_docstring(node)
        if text is None or path.name == "errors.py":
            continue
        total += 1
        first = re.match(r"\w+", text)
        if first is None or first[0].lower() not in VERBS:
            poor.append(f"{path.relative_to(SOURCES)}:{node.lineno} {node.name}: {text[:40]!r}")
    return poor, total


def repeated_classes() -> dict[str, list[str]]:
    """List public class names that stand in several places."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path, node in definitions():
        if isinstance(node, ast.ClassDef):
            homes[node.name].append(f"{path.relative_to(SOURCES)}:{node.lineno}")
    return {name: paths for name, paths in homes.items() if len(paths) > 1}


def modules() -> list[Path]:
    """List modules by their path below the package, folders' own `__init__.py` left out."""
    return [path.relative_to(SOURCES) for path in trees() if path.name != "__init__.py"]


def imports() -> dict[str, set[str]]:
    """Map each module to the modules of the package that it imports anywhere, within functions and for types too."""
    names = {_dotted(path) for path in trees()}
    graph: dict[str, set[str]] = {}
    for path, tree in trees().items():
        targets: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= {name if name in names else node.module for name in inner}
        graph[_dotted(path)] = (targets & names) - {_dotted(path)}
    return graph


def circles() -> list[list[str]]:
    """List groups of modules that import each other, by Tarjan's algorithm."""
    graph, order, low, stack, groups = imports(), {}, {}, [], []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in graph[name]:
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            start = stack.index(name)
            group = stack[start:]
            del stack[start:]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return groups


def _dotted(path: Path) -> str:
    parts = ("thoracle", *path.relative_to(SOURCES).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
