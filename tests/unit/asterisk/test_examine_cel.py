"""Files as cel_custom writes them and as they should not be."""

from pathlib import Path

import pytest

from vochi_agent.asterisk.cel import COLUMNS
from vochi_agent.asterisk.examine_cel import examine_cel
from vochi_agent.config import Address, AsteriskConfig, SecretStr
from vochi_agent.diagnosis import Finding, Level

HEADER = ",".join(COLUMNS)
ROW = '"CHAN_START","1795170244.448676",' + ",".join(['""'] * 19)


def looked_at(cel: str) -> Finding:
    place = AsteriskConfig(ami=Address("127.0.0.1", 5038), ami_username="vochi", ami_secret=SecretStr("x"), cel=cel)
    (finding,) = examine_cel("0901", place)
    return finding


@pytest.mark.parametrize("text", [ROW, f"{HEADER}\n{ROW}", f"{HEADER}\r\n{ROW}\r\n{ROW}\r\n", HEADER])
def test_our_columns_are_fine_with_and_without_a_header(tmp_path: Path, text: str) -> None:
    file = tmp_path / "vochi.csv"
    file.write_text(text)

    assert looked_at(str(file)).level is Level.OK


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ROW.rpartition(",")[0], "rows of 20 columns; 21 are needed"),
        (HEADER.replace("CIDnum", "CIDani", 1), "CIDani stands where CIDnum belongs"),
        (HEADER.rpartition(",")[0], "it has 20 columns of 21"),
        (ROW.replace("CHAN_START", "1795170244.0"), "does not begin its rows with the type"),
        ("\x00\x01binary" * 100, "columns; 21 are needed"),
    ],
)
def test_other_columns_are_a_problem_that_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "vochi.csv"
    file.write_text(text)
    found = looked_at(str(file))

    assert found.level is Level.PROBLEM
    assert words in found.sentence


def test_a_file_that_is_not_there_and_one_that_is_a_folder(tmp_path: Path) -> None:
    assert "does not exist" in looked_at(str(tmp_path / "none.csv")).sentence
    assert "Is a directory" in looked_at(str(tmp_path)).sentence


def test_an_empty_file_shows_nothing_yet(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()

    assert looked_at(str(tmp_path / "empty.csv")).level is Level.UNKNOWN


def test_the_beginning_of_an_endless_file_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "vochi.csv"
    file.write_text('"CHAN_START,' + "x" * (5 << 20))

    assert looked_at(str(file)).level is Level.PROBLEM
