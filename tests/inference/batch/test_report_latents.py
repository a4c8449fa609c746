from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thoracle.errors import InputError, MetadataError
from thoracle.inference.batch.report_latents import embed_reports, read_reports
from thoracle.inference.batch.result_table import ResultTable
from thoracle.inference.demo.assets import write_model
from thoracle.inference.latents import ROW_COLUMNS, read_latents, write_latents
from thoracle.inference.model import load


def _read(*paths: Path) -> dict[str, str]:
    return read_reports(paths, id_column="AccessionNo", text_columns=["report_text"], encoding="utf-8")


def test_text_files_go_by_their_stem_and_rows_by_a_column(tmp_path: Path) -> None:
    table, note = tmp_path / "table.csv", tmp_path / "note.txt"
    table.write_text('AccessionNo,report_text\na,"Heart (5 cm) is ""large""."\nb,Clear.\n')
    note.write_text("Emphysema.\n")
    assert _read(table, note) == {"a": "Heart 5 cm is large.", "b": "Clear.", "note": "Emphysema."}


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    table, note = tmp_path / "table.csv", tmp_path / "a.txt"
    note.write_text("Emphysema.")
    for text, fault in (("a,x\na,y", "'a' stands twice"), (",x", "has no name"), ("a,Not given.", "no text")):
        table.write_text(f"AccessionNo,report_text\n{text}\n")
        with pytest.raises(InputError, match=fault):
            _read(table)
    table.write_text("AccessionNo,report_text\na,x\n")
    with pytest.raises(InputError, match="stands twice"):
        _read(table, note)
    table.write_text("AccessionNo,report_text\n")
    with pytest.raises(InputError, match="no report in them"):
        _read(table)
    with pytest.raises(InputError, match="no such file"):
        _read(tmp_path / "no.txt")
    table.write_text("AccessionNo,other\na,x\n")
    with pytest.raises(MetadataError, match="report_text"):
        _read(table)


def test_a_text_file_is_utf_8_with_a_mark_or_without_and_other_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffHerz größer.\r\n".encode())
    assert _read(tmp_path / "a.txt") == {"a": "Herz größer."}
    for encoding in ("cp1252", "utf-16"):
        (tmp_path / "a.txt").write_bytes("Herz größer.".encode(encoding))
        with pytest.raises(InputError, match="is not UTF-8"):
            _read(tmp_path / "a.txt")


def test_latents_are_the_models_and_unchanged_words_are_not_encoded_again(tmp_path: Path) -> None:
    model, texts = load(write_model(tmp_path / "model").path, device="cpu"), {"a": "Emphysema is present.", "b": "Lung nodule."}
    for changed, encoded in (({}, ["a", "b"]), ({}, []), ({"b": "Cardiomegaly is present."}, ["b"])):
        texts |= changed
        with ResultTable(tmp_path / "l.rows.csv", columns=ROW_COLUMNS, settings={}) as table:
            assert list(embed_reports(model, texts, table)) == encoded
            write_latents(tmp_path / "l.parquet", table, model_sha256="m")
    latents = read_latents(tmp_path / "l.parquet")
    assert latents.names == ("a", "b")
    np.testing.assert_allclose(latents.array, model.encode_text(list(texts.values())).numpy(), atol=1e-6)
