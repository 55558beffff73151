import json
from datetime import UTC, datetime

import pytest

from vochi_agent.cli.presentation import length, local, print_facts, print_json, print_json_line, print_table


def test_a_table_in_a_pipe_is_one_line_a_row_aligned_by_what_people_see(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 150
    print_table(("name", "calls", "note"), [("Ромашка", "2", long), ("漢字", "10", "")], right=("calls",))

    assert capsys.readouterr().out.splitlines() == [
        "name     calls  note",
        f"Ромашка      2  {long}",
        "漢字        10",
    ]


def test_a_cell_cannot_break_its_line_or_paint_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name",), [("\x1b[31mРога\r\nи\u202eкопыта\x9b2J",)])
    print_facts([("name", "a\x1b]0;title\x07b\n"), ("empty", "")])

    assert capsys.readouterr().out == "name\n[31mРога икопыта 2J\nname  a ]0;title b\n"


def test_json_is_readable_and_escapes_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "Ромашка\x9b2J\u202e\x1b", "calls": [1, None]}
    print_json(value)

    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert "Ромашка\\u009b2J\\u202e\\u001b" in printed
    assert all(sign.isprintable() or sign == "\n" for sign in printed)


def test_a_line_of_json_is_one_line_that_no_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"raw_number": "7\x9b2J\u2028\x1b", "path": ["101"]}
    print_json_line(value)

    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert printed.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, ""), (0.4, ""), (7, "0:07"), (62, "1:02"), (3599.6, "1:00:00"), (3661, "1:01:01")]
)
def test_lengths_are_written_as_clocks_show_them(seconds: float, text: str) -> None:
    assert length(seconds) == text


def test_times_are_those_of_the_enterprise() -> None:
    moment = datetime(2026, 11, 20, 22, 30, 7, tzinfo=UTC)

    assert [local(moment, "Europe/Minsk"), local(None, "Europe/Minsk")] == ["2026-11-21 01:30:07", ""]
