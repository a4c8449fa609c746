"""Who may ask is settled before anything is loaded; without options the demo's models are served."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from thoracle.errors import InputError
from thoracle.inference.demo.locations import keep_demo_chat, keep_demo_model, keep_demo_regions, keep_demo_search
from thoracle.serving.settings import ModelSettings
from thoracle.serving.start import Address, default_models, server_settings

MODELS = ModelSettings(detector=Path("m"))
HERE = Address(host="127.0.0.1", port=0)
OPTIONS: dict[str, Any] = dict.fromkeys(("regions", "index", "index_model", "scans", "chat", "llm_url"))


def settle(address: Address, token_file: Path | None = None, **options: Any) -> Any:
    return server_settings(MODELS, address, token_file=token_file, work=None, **options)


def test_on_this_machine_a_token_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path))
    monkeypatch.delenv("THORACLE_TOKEN", raising=False)
    first, second = settle(HERE), settle(HERE)
    assert len(first.token) == 43
    assert first.token != second.token
    assert first.allowed_hosts == ("127.0.0.1", "localhost", "[::1]")
    assert (first.work, first.secure) == (tmp_path / "serve", False)


def test_for_others_a_token_and_a_name_are_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("THORACLE_TOKEN", raising=False)
    token = tmp_path / "token"
    token.write_text("x" * 40 + "\n")
    named = Address(host="0.0.0.0", port=0, names=("CT.example",), tls_cert=Path("c"), tls_key=Path("k"))
    for address, file in ((Address(host="0.0.0.0", port=0), token), (named, None), (Address(host="0.0.0.0", port=0), None)):
        with pytest.raises(InputError, match="needs a token and the server's names"):
            settle(address, file)
    settings = settle(named, token)
    assert (settings.token, settings.allowed_hosts[-1], settings.secure) == ("x" * 40, "ct.example", True)
    monkeypatch.setenv("THORACLE_TOKEN", "y" * 32)
    assert settle(named).token == "y" * 32


@pytest.mark.parametrize(
    ("host", "names", "shown"),
    [
        ("127.0.0.1", (), "127.0.0.1"),
        ("127.0.0.1", ("ct.example",), "127.0.0.1"),
        ("::1", (), "[::1]"),
        ("0.0.0.0", ("ct.example",), "ct.example"),
    ],
)
def test_the_address_that_is_printed_opens(host: str, names: tuple[str, ...], shown: str) -> None:
    assert Address(host=host, port=0, names=names).shown_host == shown


@pytest.mark.parametrize("text", ["short", "x" * 31, "x" * 20 + " " + "x" * 20, "ä" * 40])
def test_a_weak_token_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(InputError, match="the token has"):
        settle(HERE, tmp_path / "token")
    with pytest.raises(InputError, match="cannot be read"):
        settle(HERE, tmp_path / "none")


def test_all_that_the_demo_made_is_served_where_nothing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="demo has not run"):
        default_models(detector=None, notify=lambda _: None, **OPTIONS)
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    keep_demo_model(folder)
    assert default_models(detector=None, notify=lambda _: None, **OPTIONS).regions is None
    keep_demo_regions(folder)
    keep_demo_search(index=folder, model=folder, scans=folder)
    keep_demo_chat(model=folder, base=folder, encoder=folder)
    cache = tmp_path / "cache"
    assert default_models(detector=None, notify=lambda _: None, **OPTIONS) == ModelSettings(
        detector=cache / "demo-model",
        regions=cache / "demo-regions",
        index=str(cache / "demo-search" / "index"),
        index_model=cache / "demo-search" / "model",
        scans=folder,
        chat=cache / "demo-chat" / "model",
        chat_encoder=cache / "demo-chat" / "encoder",
        chat_base=cache / "demo-chat" / "base",
    )
    assert default_models(detector=folder, notify=lambda _: None, **OPTIONS) == ModelSettings(detector=folder)
    assert default_models(detector=None, notify=lambda _: None, **{**OPTIONS, "llm_url": "http://x"}).chat is None


def start(model: Path, work: Path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "thoracle", "serve", "--model", model, "--port", "0", "--work", work, "--device", "cpu"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ})
    assert process.stdout is not None
    lines = []
    while True:
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
        if match := re.match(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)\n", lines[-1]):
            return process, match[0].strip()


def test_the_command_serves_and_a_signal_ends_it_with_all_that_it_holds(model_dir: Path, tmp_path: Path) -> None:
    process, address = start(model_dir, tmp_path / "work")
    with process:
        base, token = address.split("/?token=")
        asking = httpx.Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        assert asking.get("/healthz").json() == {"alive": True}
        opened = asking.post("/api/v1/scans", content=b"x", headers={"Content-Type": "application/octet-stream"})
        assert opened.status_code == 202
        second = subprocess.run(
            [sys.executable, "-m", "thoracle", "serve", "--model", str(model_dir), "--port", "0", "--work", str(tmp_path / "work")],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert second.returncode == 2
        assert "another server uses this folder" in second.stderr
        process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 30
        while process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert {path.name for path in (tmp_path / "work").iterdir()} <= {"audit.jsonl", ".lock"}
