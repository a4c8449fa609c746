"""Links are followed, cycles end, and what cannot be listed is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from thoracle.files import folder_tree
from thoracle.files.folder_tree import list_tree


def _names(root: Path, *, hidden: bool = False) -> list[str]:
    return [path.relative_to(root).as_posix() for path in list_tree(root, hidden=hidden).files]


def _unlisted(root: Path) -> list[tuple[str, str]]:
    return [(unlisted.path.relative_to(root).as_posix(), unlisted.reason) for unlisted in list_tree(root).unlisted]


def _write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_links_to_files_and_folders_are_followed_and_each_folder_is_entered_once_by_its_own_path(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    _write(root / "z" / "own", elsewhere / "far", elsewhere / "deep" / "far", root / ".hidden" / "secret", root / ".dot")
    (root / "a-link").symlink_to(root / "z")
    (root / "b-link").symlink_to(elsewhere)
    (root / "one").symlink_to(elsewhere / "far")
    assert _names(root) == ["b-link/deep/far", "b-link/far", "one", "z/own"]
    assert _names(root, hidden=True) == [".dot", ".hidden/secret", "b-link/deep/far", "b-link/far", "one", "z/own"]
    assert _unlisted(root) == []
    (tmp_path / "start").symlink_to(root)
    assert _names(tmp_path / "start") == ["b-link/deep/far", "b-link/far", "one", "z/own"]


def test_cycles_end(tmp_path: Path) -> None:
    root, beside = tmp_path / "root", tmp_path / "beside"
    _write(root / "deep" / "file", beside / "file")
    (root / "deep" / "loop").symlink_to(root)
    (beside / "back").symlink_to(root)
    (root / "beside").symlink_to(beside)
    assert _names(root) == ["beside/file", "deep/file"]
    assert _unlisted(root) == []
    (root / "up").symlink_to(tmp_path)  # all that lies beside the folder is not of it
    (root / "self").symlink_to(root / "self")
    assert _names(root) == ["beside/file", "deep/file"]
    assert dict(_unlisted(root))["up"] == "a link back to a folder above"
    assert "link" in dict(_unlisted(root))["self"].lower()


def test_what_ends_nowhere_and_what_is_no_file_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "file")
    (tmp_path / "lost").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    assert _names(tmp_path) == ["file"]
    assert _unlisted(tmp_path) == [("lost", "a link that ends nowhere"), ("pipe", "no regular file")]


def test_a_folder_that_cannot_be_listed_is_named_and_the_others_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "a" / "file", tmp_path / "b" / "file")
    scandir = os.scandir

    def refusing(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(folder_tree.os, "scandir", refusing)
    assert _names(tmp_path) == ["b/file"]
    assert _unlisted(tmp_path) == [("a", "cannot be listed (Permission denied)")]
    assert list_tree(tmp_path).unlisted[0].kind == "folder"


def test_a_folder_below_that_holds_the_marker_is_left_out_with_all_in_it(tmp_path: Path) -> None:
    _write(
        tmp_path / "a" / "scan", tmp_path / "out" / "cohort.json", tmp_path / "out" / "cache" / "x", tmp_path / "b" / "c" / "cohort.json"
    )
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert [path.relative_to(tmp_path).as_posix() for path in list_tree(tmp_path, marker="cohort.json").files] == ["a/scan"]
    own = [path.relative_to(tmp_path / "out").as_posix() for path in list_tree(tmp_path / "out", marker="cohort.json").files]
    assert own == ["cache/x", "cohort.json"], "the folder itself is read"
    assert len(list_tree(tmp_path).files) == 4
