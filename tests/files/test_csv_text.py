from __future__ import annotations

import csv
import io

import pytest

from thoracle.files.csv_text import csv_text
from thoracle.text_safety import spreadsheet_plain


def test_numbers_and_words_stay_and_formulas_become_text() -> None:
    assert csv_text([("name", "value"), ("-1.5", -2), ("=1+1", ""), ("a,b", "@x")]) == "name,value\n-1.5,-2\n'=1+1,\n\"a,b\",'@x\n"


@pytest.mark.parametrize("cell", ["=1+1", "+4 bar", "-x", "@SUM(A1)", "\tx", "plain", "'quoted'", "-3", "it's", "", "=a\nb", '="q"'])
def test_cells_are_read_back(cell: str) -> None:
    ((read,),) = csv.reader(io.StringIO(csv_text([(cell,)]), newline="")) if cell else (("",),)
    assert spreadsheet_plain(read) == cell
