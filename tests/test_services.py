from __future__ import annotations

import pytest

from tests import services


@pytest.fixture(autouse=True)
def nothing_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "SERVICES", {"absent": lambda: None, "present": lambda: "/usr/bin/present"})


@pytest.mark.parametrize("required", ["", "present", "others, present"])
def test_a_service_that_is_absent_skips_where_nobody_requires_it(required: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_REQUIRE", required)
    assert services.require_service("present") == "/usr/bin/present"
    with pytest.raises(pytest.skip.Exception, match="absent"):
        services.require_service("absent")


def test_a_service_that_is_required_fails_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_REQUIRE", "present, absent")
    with pytest.raises(pytest.fail.Exception, match="THORACLE_REQUIRE"):
        services.require_service("absent")
