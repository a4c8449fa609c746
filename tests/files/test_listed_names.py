from __future__ import annotations

from pathlib import Path

from thoracle.files.listed_names import column_key, locate, normalized_name


def test_names_in_any_spelling() -> None:
    assert normalized_name(" Pa\u0308\\s1\\x.nii ") == "Pä/s1/x.nii"
    assert normalized_name("\u200b\ufeff x.nii\u00a0\u200e\u2003") == "x.nii"
    assert normalized_name("'=1+1") == "=1+1", "as label tables write it"
    assert normalized_name("'\t@x ") == normalized_name("\t'@x") == "@x"
    assert normalized_name("'quoted'") == "'quoted'"
    assert normalized_name("' x") == "' x", "no spreadsheet runs it, so nobody put the apostrophe there"
    assert normalized_name("a\u200cb") == "a\u200cb", "within a Persian word it is a letter's form"
    assert column_key(" lung  Nodule ") == column_key("Lung_nodule") == column_key("LUNG NODULE")


def test_a_file_is_found_under_another_spelling_of_its_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    scan = tmp_path / "a" / "Göğüs.nii.gz"
    scan.write_bytes(b"x")
    for listed in ("a/Göğüs.nii.gz", "a\\Göğüs.nii.gz ", "a/Go\u0308g\u0306u\u0308s.nii.gz", "a/Göğüs"):
        assert locate(tmp_path, listed).samefile(scan)
    assert locate(tmp_path, "b.nii") == tmp_path / "b.nii"
