from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from thoracle.files.append_log import append_csv, append_lines, recover_lines, truncate_partial_line


def test_rows_are_quoted_where_they_must_be(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    append_csv(path, [("VolumeName", "Lung, nodule")])
    append_csv(path, [('a "quoted"', 0.5), ("two\nlines", 1)])
    assert path.read_bytes() == b'VolumeName,"Lung, nodule"\n"a ""quoted""",0.5\n"two\nlines",1\n'


def test_lines_are_added_behind_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_lines(path, ["1", "ä"])
    append_lines(path, [])
    append_lines(path, ["3"])
    assert recover_lines(path) == [b"1", "ä".encode(), b"3"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", b""), (b"cut", b""), (b"a\n", b"a\n"), (b"a\ncut", b"a\n"), (b"a\n\xff\x00", b"a\n"), (b"\n\n", b"\n\n")],
)
def test_a_partial_line_is_dropped(tmp_path: Path, content: bytes, expected: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    truncate_partial_line(path)
    assert path.read_bytes() == expected


def test_an_absent_file_stays_absent(tmp_path: Path) -> None:
    truncate_partial_line(tmp_path / "log")
    assert recover_lines(tmp_path / "log") == []
    assert list(tmp_path.iterdir()) == []


def test_whoever_is_killed_leaves_whole_lines_behind_a_cut_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    code = (
        "import itertools, json, sys; from pathlib import Path; from thoracle.files.append_log import append_lines\n"
        "for number in itertools.count(): append_lines(Path(sys.argv[1]), [json.dumps([number, 'x' * 100_000])])"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as process:
        while not path.exists() or path.stat().st_size < 1_000_000:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    numbers = [json.loads(line)[0] for line in recover_lines(path)]
    assert len(numbers) >= 9
    assert numbers == list(range(len(numbers)))


def test_csv_reads_what_was_appended(tmp_path: Path) -> None:
    rows = [["a,b", 'c"', ""], ["d\ne", "ü", "1"]]
    append_csv(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == rows


def test_lines_of_a_private_file_are_its_owners_alone(tmp_path: Path) -> None:
    for name, private, rights in (("a", True, 0o600), ("b", False, 0o644)):
        umask = os.umask(0o022)
        try:
            append_lines(tmp_path / name, ["x"], private=private)
            append_lines(tmp_path / name, ["y"], private=private)
        finally:
            os.umask(umask)
        assert (tmp_path / name).read_text() == "x\ny\n"
        assert (tmp_path / name).stat().st_mode & 0o777 == rights
