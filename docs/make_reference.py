"""Write docs/reference/settings.md and errors.md from the dataclasses and errors that they describe: `make reference`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from typing import Any, Final, get_args

from thoracle import errors
from thoracle.config_help import Setting, describe_settings
from thoracle.config_reader import config_to_mapping, field_types
from thoracle.training.tasks import TASKS

FOLDER: Final = Path(__file__).parent / "reference"
_MARK: Final = "<!-- Written by `make reference`; do not edit. -->\n"
_SETTINGS: Final = """# Settings

{mark}
Every key of a configuration, as `--config FILE` has it and `--set key.sub=value` replaces it (`--set optimizer.lr=1e-4`, as often as
needed, before anything is checked). A key that is not listed is refused. A task has the keys of its own section and those of the sections
that it names first; a default that differs from theirs stands in its own.

"""


def settings_page() -> str:
    """Write the page of all settings."""
    verbs = {cls: f"thoracle train {verb}" for verb, cls in TASKS.items()}
    sections = [_section(cls, verbs.get(cls)) for cls in _configurations()]
    return _SETTINGS.format(mark=_MARK) + "\n".join(sections)


def errors_page() -> str:
    """Write the page of all errors, parents before children."""
    rows = "\n".join(
        f"| {'&nbsp;&nbsp;' * depth}`{cls.__name__}` | {f'`{cls.__base__.__name__}`' if depth else ''} | {meaning} | {advice} | {example} |"
        for depth, cls in _tree(errors.ThoracleError, 0)
        for meaning, advice, example in [split_docstring(cls)]
    )
    return f"""# Errors

{_MARK}
Every error that a user can cause, with its parent, so that `except` can name a whole branch. A message says what was expected, what came
and how to mend it; this table says it in general, with an example of what meets it.

| error | is a | what happened | what to do | example |
| --- | --- | --- | --- | --- |
{rows}
"""


def split_docstring(cls: type[errors.ThoracleError]) -> tuple[str, str, str]:
    """Split an error's docstring into what happened, its first sentence, what to do, the rest, and the example in its last paragraph."""
    if cls is errors.ThoracleError:
        return "Any of these.", "Read the message.", ""
    summary, _, example = inspect.cleandoc(cls.__doc__ or "").replace("\n", " ").partition("  Example: ")
    meaning, _, advice = summary.partition(". ")
    if not advice:
        raise ValueError(f"{cls.__name__} does not say what to do")
    if not example and not cls.__subclasses__():
        raise ValueError(f"{cls.__name__} has no example of what meets it")
    return f"{meaning}.", advice, example[:1].upper() + example[1:] if example else "Any of those below."


def _configurations() -> Iterator[type[Any]]:
    """Yield every dataclass that a task reaches: what it inherits from, itself, what it nests."""
    seen: set[type[Any]] = set()

    def walk(cls: type[Any]) -> Iterator[type[Any]]:
        if cls in seen or not is_dataclass(cls):
            return
        for base in cls.__bases__:
            yield from walk(base)
        seen.add(cls)
        yield cls
        for hint in field_types(cls).values():
            for part in (hint, *get_args(hint)):
                if isinstance(part, type):
                    yield from walk(part)

    for cls in TASKS.values():
        yield from walk(cls)


def _section(cls: type[Any], verb: str | None) -> str:
    bases = [f"[{base.__name__}](#{base.__name__.lower()})" for base in cls.__bases__ if is_dataclass(base)]
    about = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:")[0].strip()
    facts = [f"`{verb}`." if verb else "", f"Has the keys of {', '.join(bases)} too." if bases else "", about]
    rows = "\n".join(_row(setting) for setting in describe_settings(cls) if setting.name in cls.__annotations__)
    intro = " ".join(filter(None, facts))
    return f"## {cls.__name__}\n\n{intro}\n\n| key | takes | default | unit | meaning |\n| --- | --- | --- | --- | --- |\n{rows}\n"


def _row(setting: Setting) -> str:
    takes = setting.takes
    if setting.section is not None:
        takes = takes.replace("settings", f"[{setting.section.__name__}](#{setting.section.__name__.lower()})", 1)
    cells = (f"`{setting.name}`", takes, _default(setting.default), setting.unit, setting.meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(value: Any) -> str:
    if value is MISSING:
        return "must be given"
    if not is_dataclass(value):
        return f"`{json.dumps(value)}`"
    changed = {part.name for part in describe_settings(type(value)) if getattr(value, part.name) != part.default}
    parts = {name: part for name, part in config_to_mapping(value).items() if name in changed}
    return f"`{json.dumps(parts)}`" if parts else "its defaults"


def _tree(cls: type[errors.ThoracleError], depth: int) -> Iterator[tuple[int, type[errors.ThoracleError]]]:
    yield depth, cls
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child, depth + 1)


def main() -> None:
    """Write both pages."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "settings.md").write_text(settings_page())
    (FOLDER / "errors.md").write_text(errors_page())


if __name__ == "__main__":
    main()
