"""Write docs/api.md from the server's own OpenAPI description: `make reference`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from thoracle.serving.app import api

PAGE: Final = Path(__file__).parent / "api.md"
_HEAD: Final = """# REST API

<!-- Written by `make reference`; do not edit. -->
What `thoracle serve` answers ([serve.md](serve.md) starts it). Every request but `/healthz` and `/readyz` has `Authorization:
Bearer TOKEN`, or the cookie that `GET /?token=TOKEN` sets; what changes something and comes with the cookie must come from a page
of the same host. A running server has the same description as OpenAPI 3.1 at `/openapi.json`. Ids are random, last as long as the
server, and tell nothing of a patient.

A refusal is `{"error": {"kind", "message", "detail", "hint"}}`: `kind` is a class of [errors](reference/errors.md). 401 and 403 no
access, 404 no such id, 409 not there yet or not served, 413 too large, 422 makes no sense, 429 full (with `Retry-After`). Reading,
findings and maps are jobs: POST answers 202 with a job, whose state `GET /api/v1/jobs/{job}` or its events tell.
`thoracle.client.http.Client` does all of it in Python.

"""


def api_page() -> str:
    """Write the page."""
    description = api().openapi()
    forms = description["components"]["schemas"]
    operations = "\n".join(_operation(*operation) for operation in _operations(description))
    return f"{_HEAD}## Requests\n\n{operations}\n## Forms\n\n" + "\n".join(_form(name, form) for name, form in sorted(forms.items()))


def _operations(description: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    text = operation.get("description", "").strip()
    lines = [f"### `{method} {path}`", "", text, ""]
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            lines.append(f"- `{parameter['name']}`: {_type(parameter['schema'])}{_default(parameter['schema'])}")
    lines += [f"- body: {body}" for body in _contents(operation.get("requestBody", {}).get("content", {}))]
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            lines.append(f"- {status}: {', '.join(_contents(answer.get('content', {}))) or 'nothing'}")
    return "\n".join(lines) + "\n"


def _contents(content: Mapping[str, Any]) -> list[str]:
    return [_type(form["schema"]) if kind == "application/json" and form["schema"] else f"`{kind}`" for kind, form in content.items()]


def _form(name: str, form: Mapping[str, Any]) -> str:
    rows = [f"| `{field}` | {_type(schema)}{_default(schema)} |" for field, schema in form.get("properties", {}).items()]
    summary = form.get("description", "").split("Attributes:")[0].strip()
    meanings = _meanings(form.get("description", ""))
    rows = [row[:-1] + f"| {meanings.get(field, '')} |" for row, field in zip(rows, form.get("properties", {}), strict=True)]
    return "\n".join([f"### {name}", "", summary, "", "| field | type | meaning |", "| --- | --- | --- |", *rows, ""])


def _meanings(description: str) -> dict[str, str]:
    """Read the lines of `Attributes:`; names that are listed together share a meaning."""
    meanings: dict[str, str] = {}
    names: list[str] = []
    for line in description.partition("Attributes:")[2].splitlines():
        head, colon, text = line.strip().partition(": ")
        if colon and all(part.strip().isidentifier() for part in head.split(",")):
            names = [part.strip() for part in head.split(",")]
            meanings |= dict.fromkeys(names, text)
        elif line.strip():
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in names}
    return {name: text.replace("|", "\\|") for name, text in meanings.items()}


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    bounds = [f"{word} {schema[key]:g}" for key, word in (("minimum", "at least"), ("maximum", "at most")) if key in schema]
    return " ".join([str(schema.get("type", "anything")), *bounds])


def _default(schema: Mapping[str, Any]) -> str:
    return f", by default `{schema['default']}`" if "default" in schema and schema["default"] not in ("", None) else ""


if __name__ == "__main__":
    PAGE.write_text(api_page())
