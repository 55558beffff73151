"""Tables of a PBX: what needs no database."""

import importlib.util
from datetime import UTC, datetime

import pytest

from vochi_agent.asterisk.record_tables import open_table, text_of
from vochi_agent.errors import ConfigError


@pytest.mark.skipif(importlib.util.find_spec("aiomysql") is not None, reason="the driver is here")
def test_a_driver_that_is_missing_is_a_mistake_of_the_configuration():
    with pytest.raises(ConfigError, match=r"vochi-agent\[mysql\]") as refused:
        open_table("mysql://freepbx:secret@127.0.0.1/asteriskcdrdb", "cel")

    assert "secret" not in str(refused.value)


def test_the_first_column_that_a_table_has_is_taken():
    row = {"extra": None, "eventextra": "{}", "amaflags": 3, "eventtime": datetime(2026, 11, 20, 12, tzinfo=UTC)}

    assert text_of(row, "extra", "eventextra") == "{}"
    assert text_of(row, "amaflags") == "3"
    assert text_of(row, "nothing") == ""
    assert text_of(row, "eventtime") == "2026-11-20 12:00:00+00:00"
