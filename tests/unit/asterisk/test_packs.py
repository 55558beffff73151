"""The files for Asterisk: one source for what is shipped and what is printed, and nothing hostile gets into them."""

import re
from pathlib import Path

import pytest

from vochi_agent.asterisk.packs import FLAVOURS, render, whole
from vochi_agent.config import Config, load
from vochi_agent.errors import ConfigError

ROOT = Path(__file__).parents[3]
BOT_TOKEN = "123456:AAE-s3cret"
ELSEWHERE = "192.0.2.20:4577"
COMPANY = """
[[enterprises]]
number = "0901"
country = "BY"
[enterprises.asterisk]
ami = "127.0.0.1:5038"
ami_username = "vochi"
ami_secret = "s3cret-of-ami"
[[enterprises.lines]]
id = "0001701"
endpoint = "PJSIP/gsm1"
[[enterprises.agents]]
extension = "151"
"""


def configured(folder: Path, text: str) -> Config:
    for name in re.findall(r'^\s*\w+_file = "(.+)"', text, re.MULTILINE):
        (folder / name).write_text(BOT_TOKEN if "token" in name else f"s3cret-{name}")
    (folder / "config.toml").write_text(text)
    return load(folder / "config.toml")


def printed(folder: Path, text: str, flavour: str = "plain", address: str = "") -> dict[str, str]:
    config = configured(folder, text)
    return dict(render(flavour, config, config.enterprises[0], address))


def refused(folder: Path, text: str, flavour: str = "plain", address: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        printed(folder, text, flavour, address)
    return str(caught.value)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_shipped_files_are_what_is_printed_for_the_example(flavour: str, tmp_path: Path) -> None:
    """A stale one is written anew by way of a folder: `dialplan print --flavour F --to FOLDER`, then copied."""
    example = (ROOT / "config.example.toml").read_text()
    files = printed(tmp_path, example, flavour, ELSEWHERE if flavour == "mikopbx" else "")

    for part in FLAVOURS[flavour]:
        assert files[part.name] == whole(part), part.name


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_no_secret_is_printed(flavour: str, tmp_path: Path) -> None:
    example = (ROOT / "config.example.toml").read_text()
    files = printed(tmp_path, example, flavour, ELSEWHERE)

    assert not [name for name, text in files.items() if "s3cret" in text]


def test_every_shipped_file_belongs_to_a_flavour() -> None:
    sources = {source for parts in FLAVOURS.values() for part in parts for source in part.sources}
    on_disk = {
        str(file.relative_to(ROOT / "dialplan"))
        for file in (ROOT / "dialplan").rglob("*")
        if file.suffix in (".conf", ".example")
    }

    assert sources == on_disk


# ---------------------------------------------------------------- hostile values


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ('id = "0001701"', 'id = "1,System(id)"'),
        ('id = "0001701"', 'id = "${SHELL(id)}"'),
        ('id = "0001701"', 'id = "1;"'),
        ('endpoint = "PJSIP/gsm1"', 'endpoint = "PJSIP/gsm1&PJSIP/gsm2"'),
        ('endpoint = "PJSIP/gsm1"', 'endpoint = "PJSIP/gsm1,30"'),
        ('endpoint = "PJSIP/gsm1"', 'endpoint = "PJSIP/${X}"'),
        ('endpoint = "PJSIP/gsm1"', 'endpoint = "PJSIP/gsm1"\ndids = ["_X."]'),
        ('endpoint = "PJSIP/gsm1"', 'endpoint = "PJSIP/gsm1"\ndids = ["h"]'),
        ('extension = "151"', 'extension = "151"\nendpoint = "PJSIP/a)b"'),
        ('ami_username = "vochi"', 'ami_username = "vochi]"'),
        ('ami_username = "vochi"', 'ami_username = "a b"'),
        ('ami_username = "vochi"', 'ami_username = "general"'),
    ],
)
def test_what_a_dialplan_cannot_carry_is_refused(key: str, value: str, tmp_path: Path) -> None:
    assert "a dialplan can carry" in refused(tmp_path, COMPANY.replace(key, value))


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = COMPANY.replace("0001701", "a,b").replace("PJSIP/gsm1", "PJSIP/a,b")

    assert len(refused(tmp_path, text).splitlines()) == 2


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_line_may_be_named_after_its_trunk(flavour: str, tmp_path: Path) -> None:
    """Its id is no number then, so nobody dials it; the daemon goes by the trunk."""
    files = printed(tmp_path, COMPANY.replace("0001701", "gsm-1.by_mts"), flavour, ELSEWHERE)

    assert "exten => gsm-1" not in "".join(files.values())


def test_names_of_people_are_comments_without_signs(tmp_path: Path) -> None:
    """Asterisk reads `;--` as the beginning of a long comment, and a name may be anything that can be printed."""
    text = COMPANY + 'name = ";-- ${SHELL(id)} [globals] Ёлкина-Петрова"\n'
    lines = printed(tmp_path, text)["extensions.conf"].splitlines()

    (told,) = (line for line in lines if "Ёлкина" in line)
    assert told == "; -- SHELL(id) globals Ёлкина-Петрова"


def test_an_internal_number_is_one_thing_only(tmp_path: Path) -> None:
    text = COMPANY + 'follow_me = "901"\n[[enterprises.departments]]\nnumber = "901"\n'

    assert refused(tmp_path, text).startswith("901 is the number of two")


def test_plain_needs_lines_and_telephones_others_do_not(tmp_path: Path) -> None:
    text = COMPANY.partition("[[enterprises.lines]]")[0]

    assert refused(tmp_path, text).splitlines() == [
        "enterprises.lines is empty; needed: where calls come from and go to",
        "enterprises.agents is empty; needed: the telephones that ring",
    ]
    assert "VOCHI_ENTERPRISE = 0901" in printed(tmp_path, text, "freepbx")["globals_custom.conf"]


# ---------------------------------------------------------------- addresses


def test_the_second_daemon_names_itself_and_leaves_the_first_alone(tmp_path: Path) -> None:
    text = '[daemon]\ninstance = "b"\n' + COMPANY
    lines = printed(tmp_path, text)["extensions.conf"].splitlines()

    assert {"VOCHI_FASTAGI_a =", "VOCHI_FASTAGI_b = 127.0.0.1:4577"} <= set(lines)
    assert "asks the instances a and b" in refused(tmp_path, text.replace('"b"', '"third"'))


def test_an_address_is_always_literal(tmp_path: Path) -> None:
    everywhere = '[fastagi]\nlisten = "0.0.0.0:4577"\n' + COMPANY

    assert "VOCHI_FASTAGI_a = 127.0.0.1:4577\n" in printed(tmp_path, everywhere)["extensions.conf"]
    given = printed(tmp_path, everywhere, address="[2001:db8::7]:4578")["extensions.conf"]
    assert "VOCHI_FASTAGI_a = [2001:db8::7]:4578\n" in given
    for name in ("pbx.example:4577", "192.0.2.20", "192.0.2.20:x", "${X}:1"):
        assert "a literal IP address and a port" in refused(tmp_path, everywhere, address=name)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_pbx_elsewhere_has_to_find_us_and_to_be_let_in(flavour: str, tmp_path: Path) -> None:
    elsewhere = COMPANY.replace("127.0.0.1:5038", "192.0.2.10:5038")
    listening = '[fastagi]\nlisten = "192.0.2.20:4577"\nallow = ["192.0.2.0/24"]\n' + elsewhere

    assert "where does the PBX find it?" in refused(tmp_path, elsewhere, flavour)
    assert "does not let the PBX in" in refused(tmp_path, listening.replace("192.0.2.0/24", "127.0.0.0/8"), flavour)
    files = printed(tmp_path, listening, flavour)
    assert any("VOCHI_FASTAGI_a = 192.0.2.20:4577\n" in text for text in files.values())
    for manager in (text for name, text in files.items() if name.startswith("manager")):
        assert "permit = 192.0.2.20/255.255.255.255\n" in manager


def test_mikopbx_is_never_on_our_machine(tmp_path: Path) -> None:
    assert "where does the PBX find it?" in refused(tmp_path, COMPANY, "mikopbx")


# ---------------------------------------------------------------- what is made of lines and agents


def test_one_way_out_is_tried_once_however_many_lines_share_it(tmp_path: Path) -> None:
    text = COMPANY.replace(
        "[[enterprises.agents]]",
        """[[enterprises.lines]]
        id = "0001702"
        endpoint = "PJSIP/gsm1"
        [[enterprises.lines]]
        id = "0001703"
        endpoint = "PJSIP/gsm1"
        dial_prefix = "23"
        number = "+375290000903"
        [[enterprises.lines]]
        id = "old"
        endpoint = "SIP/0003"
        [[enterprises.agents]]""",
    )
    lines = printed(tmp_path, text)["extensions.conf"].splitlines()

    assert [line for line in lines if "GoSub(dial-line" in line] == [
        " same => n,GoSub(dial-line,s,1(0001701,PJSIP/${ARG1}@gsm1,))",
        " same => n,GoSub(dial-line,s,1(0001703,PJSIP/23${ARG1}@gsm1,375290000903))",
        " same => n,GoSub(dial-line,s,1(old,SIP/0003/${ARG1},))",
    ]


def test_a_number_on_two_trunks_is_left_to_the_daemon(tmp_path: Path) -> None:
    text = COMPANY.replace(
        "[[enterprises.agents]]",
        '[[enterprises.lines]]\nid = "other"\nendpoint = "PJSIP/sip2"\ndids = ["+0001701"]\n[[enterprises.agents]]',
    )
    lines = printed(tmp_path, text)["extensions.conf"].splitlines()

    assert [line for line in lines if line.startswith("exten => 0001701,")] == ["exten => 0001701,1,Set(LINE=)"]


@pytest.mark.parametrize(
    ("country", "dialled"),
    [
        ("BY", {"_80XXXXXXXXX", "_+375XXXXXXXXX", "_+7[3-9]XXXXXXXXX"}),
        ("RU", {"_8[3-9]XXXXXXXXX", "_375XXXXXXXXX"}),
        ("PL", {"_+48XXXXXXXXX", "_48XXXXXXXXX", "_XXXXXXXXX"}),
        ("DE", {"_+49XXXXXXXXXX", "_0XXXXXXXXXX"}),
    ],
)
def test_the_country_says_what_may_be_dialled(country: str, dialled: set[str], tmp_path: Path) -> None:
    """Never with an open end: whatever was appended to a number would be dialled too."""
    text = printed(tmp_path, COMPANY.replace('"BY"', f'"{country}"'))["extensions.conf"]
    patterns = {
        line.split(",")[0].removeprefix("exten => ") for line in text.splitlines() if ",1,GoSub(dial-out" in line
    }

    assert dialled | {"112"} <= patterns
    assert not [pattern for pattern in patterns if pattern[-1] in ".!"]


def test_an_agent_whose_extension_is_the_emergency_number_keeps_it(tmp_path: Path) -> None:
    text = printed(tmp_path, COMPANY.replace('"151"', '"112"'))["extensions.conf"]

    assert "exten => 112,1,Goto(ring-agent" in text
    assert "exten => 112,1,GoSub(dial-out" not in text


def test_the_clock_of_office_hours_is_the_enterprises_or_the_machines(tmp_path: Path) -> None:
    minsk = COMPANY.replace('country = "BY"', 'country = "BY"\ntimezone = "Europe/Minsk"')

    assert "ZONE = Europe/Minsk\n" in printed(tmp_path, minsk)["extensions.conf"]
    assert "ZONE = /etc/localtime\n" in printed(tmp_path, COMPANY)["extensions.conf"]
