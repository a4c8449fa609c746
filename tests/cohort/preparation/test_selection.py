from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thoracle.cohort.preparation.selection import Selection, select_volumes
from thoracle.cohort.pseudonyms import SiteKey
from thoracle.cohort.reconstruction import ReconstructionFilter
from thoracle.cohort.sources import ArchiveListing, VolumeSource
from thoracle.errors import InputError


def _volume(name: str, **fields: Any) -> VolumeSource:
    return VolumeSource(volume=name, scan=name[:1], patient=f"patient {name[:1]}", path=Path(name), **fields)


LISTING = ArchiveListing(
    sources=(_volume("a1", kernel="Br40"), _volume("a2", kernel="Br60"), _volume("b1", kernel="B"), _volume("c1", derived="MIP")),
    absent=("d1",),
    notes=("from the layout",),
)


def _select(**changes: Any) -> Selection:
    options: dict[str, Any] = {"reconstruction": ReconstructionFilter(), "key": None, "derived": False, "metadata": None}
    return select_volumes(LISTING, **(options | {"series": (), "encoding": "utf-8", "labeller": None} | changes))


def test_a_list_names_volumes_as_the_archive_or_as_the_cohort_does(tmp_path: Path) -> None:
    key = SiteKey.open(tmp_path / "key", outside=tmp_path / "out")
    sources = {source.path.name: source for source in _select(key=key).sources}
    pseudonym = sources["b1"].volume
    (tmp_path / "list.csv").write_text(f"volume\na1\n{pseudonym}\nz9\n")
    selection = _select(key=key, only=tmp_path / "list.csv")
    assert {*selection.chosen} == {sources["a1"], sources["b1"]}
    assert selection.sources == tuple(sources.values()), "what is not listed is in the archive all the same"
    assert "2 volumes are listed in list.csv; 1 of the 3 listed are not here." in selection.notes
    both = _select(only=_write(tmp_path / "both.csv", "volume\na1\na2\n"), reconstruction=ReconstructionFilter.parse("kernel=Br40"))
    assert [source.volume for source in both.chosen] == ["a1"]
    assert "1 volumes were left out, as --reconstruction kernel=Br40 says." in both.notes


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_derived_images_are_left_out_and_counted_unless_asked_for() -> None:
    selection = _select()
    assert [source.volume for source in selection.chosen] == ["a1", "a2", "b1"]
    assert selection.notes == ("from the layout", "1 volumes of derived images were left out (1 x MIP); --derived takes them.")
    everything = _select(derived=True)
    assert [source.volume for source in everything.chosen] == ["a1", "a2", "b1", "c1"]
    assert everything.notes == ("from the layout",)
    assert everything.absent == ("d1",)


def test_volumes_and_scans_without_the_reconstruction_are_counted() -> None:
    selection = _select(reconstruction=ReconstructionFilter.parse("kernel=Br40"))
    assert [source.volume for source in selection.chosen] == ["a1"]
    assert len(selection.sources) == 3, "what is not chosen is in the archive all the same"
    assert selection.notes[2:] == (
        "2 volumes were left out, as --reconstruction kernel=Br40 says.",
        "1 scans have no such reconstruction.",
    )


def test_names_become_pseudonyms_of_the_key_alone(tmp_path: Path) -> None:
    key = SiteKey.open(tmp_path / "key", outside=tmp_path / "out")
    first, again = _select(key=key), _select(key=key)
    assert first.sources == again.sources
    assert not {"a1", "a2", "b1"} & {source.volume for source in first.sources}
    assert len({source.patient for source in first.sources}) == 2


def test_a_series_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="no series in the archive"):
        _select(series=["1.2.3"])
