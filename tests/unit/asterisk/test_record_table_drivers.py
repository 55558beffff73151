"""Tables of a PBX: what needs no database."""

import subprocess
import sys
from datetime import UTC, datetime

from vochi_agent.asterisk.record_tables import text_of


def test_a_driver_that_is_missing_is_a_mistake_of_the_configuration():
    """In a process of its own, in which the driver cannot be imported."""
    program = """
import sys
sys.modules["aiomysql"] = None
from vochi_agent.asterisk.record_tables import open_table
from vochi_agent.errors import ConfigError
try:
    open_table("mysql://freepbx:secret@127.0.0.1/asteriskcdrdb", "cel")
except ConfigError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert "vochi-agent[mysql]" in said
    assert "secret" not in said


def test_the_first_column_that_a_table_has_is_taken():
    row = {"extra": None, "eventextra": "{}", "amaflags": 3, "eventtime": datetime(2026, 11, 20, 12, tzinfo=UTC)}

    assert text_of(row, "extra", "eventextra") == "{}"
    assert text_of(row, "amaflags") == "3"
    assert text_of(row, "nothing") == ""
    assert text_of(row, "eventtime") == "2026-11-20 12:00:00+00:00"
