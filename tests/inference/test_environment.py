from __future__ import annotations

from thoracle.inference.environment import examine
from thoracle.version import __version__


def test_this_machine_is_described_without_a_user_name_where_it_is_no_path() -> None:
    environment = examine()
    assert environment.versions["thoracle"] == __version__
    assert environment.versions["torch"].startswith("2.")
    assert "GiB free of" in environment.memory
    assert set(environment.devices) >= {"cpu"}
    assert environment.codecs["Explicit VR Little Endian"] == ("pydicom",)
    assert environment.codecs["JPEG 2000 Image Compression (Lossless Only)"]
