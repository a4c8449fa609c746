"""Files of another host: waited for, and named where they do not come."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from thoracle.files.visible import wait_until_visible


def test_files_that_come_later_are_waited_for(tmp_path: Path) -> None:
    paths = [tmp_path / "there", tmp_path / "later"]
    paths[0].touch()
    timer = threading.Timer(0.3, paths[1].touch)
    timer.start()
    wait_until_visible(paths, seconds=60)
    assert paths[1].exists()


def test_a_file_that_does_not_come_is_named(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="is it on a shared disk") as caught:
        wait_until_visible([tmp_path / "never"], seconds=0.2)
    assert caught.value.filename == str(tmp_path / "never")
