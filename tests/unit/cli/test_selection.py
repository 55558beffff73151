"""What people write for a moment."""

from datetime import UTC, datetime

import pytest

from vochi_agent.cli.selection import moment_of
from vochi_agent.errors import ConfigError

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20", datetime(2026, 11, 19, 21, 0, tzinfo=UTC)),
        ("2026-11-20T09:30", datetime(2026, 11, 20, 6, 30, tzinfo=UTC)),
        ("2026-11-20T09:30Z", datetime(2026, 11, 20, 9, 30, tzinfo=UTC)),
        ("90m", datetime(2026, 11, 20, 10, 30, tzinfo=UTC)),
        ("2d", datetime(2026, 11, 18, 12, 0, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_local_time_or_how_long_ago(text: str, expected: datetime) -> None:
    assert moment_of("--since", text, NOW, "Europe/Minsk") == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "0001-01-01", "9999-12-31T23:59-14:00", "999999d"])
def test_what_is_no_moment_of_a_telephone_is_a_sentence(text: str) -> None:
    """Also what no clock, or none that counts from 1970, can show."""
    with pytest.raises(ConfigError, match="write 2026-11-20, 2026-11-20T09:30, 90m, 6h or 2d"):
        moment_of("--since", text, NOW, "Europe/Minsk")
