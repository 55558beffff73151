"""`vochi-agent dialplan print` as people call it."""

import re
from pathlib import Path

import pytest

from tests.support.commands import Workplace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    place = Workplace(tmp_path)
    example = (ROOT / "config.example.toml").read_text()
    secrets = re.findall(r'^\s*\w+_file = "(.+)"', example, re.MULTILINE)
    place.write(example, **dict.fromkeys(secrets, "42:s3cret"))
    return place


async def test_one_file_is_printed_as_it_is_installed(workplace: Workplace) -> None:
    answer = await workplace.vochi("dialplan", "print", "--flavour", "plain", "--file", "extensions.conf")

    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (ROOT / "dialplan/extensions.conf.example").read_text()


async def test_a_whole_pack_is_printed_file_after_file(workplace: Workplace) -> None:
    answer = await workplace.vochi("dialplan", "print", "--flavour", "freepbx")

    names = ("vochi.conf", "globals_custom.conf", "extensions_custom.conf", "manager_custom.conf")
    assert [line[2:] for line in answer.out.splitlines() if line[2:] in names] == list(names)
    assert "s3cret" not in answer.out


async def test_a_pack_is_written_to_a_folder_and_never_over_anything(workplace: Workplace) -> None:
    folder = workplace.folder / "etc" / "asterisk"

    written = await workplace.vochi("dialplan", "print", "--to", str(folder))
    again = await workplace.vochi("dialplan", "print", "--to", str(folder), "--file", "queues.conf")

    assert (written.code, set(written.out.split())) == (0, {str(file) for file in folder.iterdir()})
    assert (again.code, again.err) == (2, f"{folder / 'queues.conf'} exists; nothing was written\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--file", "sip.conf"), "--file 'sip.conf': plain has vochi.conf, extensions.conf, "),
        (("--enterprise", "0902"), "--enterprise 0902: the configuration has 0901"),
        (("--flavour", "mikopbx"), "fastagi.listen is 127.0.0.1:4577: where does the PBX find it?"),
        (("--flavour", "3cx"), "invalid choice: '3cx'"),
        (("--to", "/dev/null/x"), "/dev/null/x: Not a directory"),
        (("--to", "/" + 300 * "x"), "x: File name too long"),
    ],
)
async def test_what_cannot_be_printed_is_said(workplace: Workplace, arguments: tuple[str, ...], said: str) -> None:
    answer = await workplace.vochi("dialplan", "print", *arguments)

    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
