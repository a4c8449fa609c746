"""All shipped configurations on two hosts: namespaces of the network, gloo between them, a disk that shows the second new names late."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.shipped import CONFIGS, STEPS, STOPPED, write_parts

pytestmark = pytest.mark.manual

ADDRESSES = ("10.77.19.1", "10.77.19.2")
HOSTS = ("thoracle-a", "thoracle-b")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[str, str]]:
    """Two namespaces and a wire between them."""
    if os.geteuid() or not all(map(shutil.which, ("ip", "gcc"))):
        pytest.skip("needs root, iproute2 and gcc")
    for name in HOSTS:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        ip("netns", "add", name)
    try:
        ip("link", "add", "wire-a", "netns", HOSTS[0], "type", "veth", "peer", "name", "wire-b", "netns", HOSTS[1])
        for name, wire, address in zip(HOSTS, ("wire-a", "wire-b"), ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", wire)
            ip("-n", name, "link", "set", wire, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield HOSTS
    finally:
        for name in HOSTS:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def test_runs_begin_stop_and_go_on(hosts: tuple[str, str], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    write_parts(shared)
    late = tmp_path / "late.so"
    source = Path(__file__).with_name("late_names.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", late, source, "-ldl"], check=True, capture_output=True, text=True)
    taken: dict[tuple[str, str], list[list[list[float]]]] = {}
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1")
    for how in ("--stop", "--resume"):
        started = [
            subprocess.Popen(
                [
                    *("ip", "netns", "exec", host, *torchrun, "--node-rank", str(rank)),
                    *("--master-addr", ADDRESSES[0], "--master-port", "29517", "-m", "tests.training.shipped", str(shared), how),
                ],
                env={
                    **os.environ,
                    "GLOO_SOCKET_IFNAME": ("wire-a", "wire-b")[rank],
                    "OMP_NUM_THREADS": "1",
                    **({"LD_PRELOAD": str(late), "LATE_NAMES": str(shared)} if rank else {}),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank, host in enumerate(hosts)
        ]
        try:
            printed = [process.communicate(timeout=1500)[0] for process in started]
        finally:
            for process in started:
                process.kill()
        assert [process.returncode for process in started] == [0, 0], "\n".join(printed)
        for path in CONFIGS:
            taken[how, path.stem] = [json.loads((shared / f"{path.stem}.{rank}.json").read_text()) for rank in range(2)]
    for path in CONFIGS:
        for how, steps in (("--stop", range(1, STOPPED + 1)), ("--resume", range(STOPPED + 1, STEPS + 1))):
            first, second = taken[how, path.stem]
            assert first == second
            assert [step for step, _ in first] == list(steps)
        assert (shared / "runs" / path.stem / "model").is_dir()
