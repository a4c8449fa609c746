from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from thoracle.errors import InputError
from thoracle.serving.settings import ServerSettings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"upload_bytes": 0}, "upload_bytes must be above 0, is 0"),
        ({"job_seconds": float("nan")}, "job_seconds must be above 0"),
        ({"expires_after": -1}, "expires_after must be above 0"),
        ({"token": ""}, "the token is empty"),
        ({"proxy": "10.0.0.1"}, "believed of one proxy"),
        ({"user_header": "X-User"}, "believed of one proxy"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(change: dict[str, Any], message: str, settings: ServerSettings) -> None:
    with pytest.raises(InputError, match=message):
        replace(settings, **change)
