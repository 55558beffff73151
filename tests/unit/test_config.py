"""Configuration: what is read, what is refused, and in which words."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vochi_agent.config import (
    CRM_TABLES,
    Address,
    Config,
    RetailCrmConfig,
    default_path,
    load,
    notify_socket,
    secret_values,
    waiting_for_restart,
    watchdog_interval_s,
)
from vochi_agent.config.credentials import SECRET_KEYS
from vochi_agent.config.tables import Table
from vochi_agent.config.values import SOURCES
from vochi_agent.errors import ConfigError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.toml"
MINIMAL = ROOT / "config.minimal.toml"
LAB = ROOT / "tests/scenarios/lab.toml"
NOBODY = 65534

SECRETS = {
    "ami-secret": "ami-пароль",
    "telegram-token": "123456:AAE-token_x",
    "retailcrm-key": "crm-key-123",
    "uon-key": "uon-key-456",
    "moysklad-key": "moysklad-key-7",
    "bitrix24-key": "bitrix24-key-8",
    "amocrm-key": "amocrm-key-9",
}

GOOD = """\
[log]
[[enterprises]]
number = "0901"
country = "BY"
[enterprises.asterisk]
ami = "127.0.0.1:5038"
ami_username = "vochi"
ami_secret = "inline-secret"
[[enterprises.lines]]
id = "0001701"
endpoint = "PJSIP/gsm1"
"""


@pytest.fixture(autouse=True)
def _no_environment_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VOCHI_CONFIG", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every secret file that the shipped configurations name."""
    for name, secret in SECRETS.items():
        (tmp_path / name).write_text(secret + "\n", encoding="utf-8")
    return tmp_path


def write(folder: Path, text: str, name: str = "config.toml") -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def problems(file: Path) -> list[str]:
    """The sentences, without the folder of the test."""
    with pytest.raises(ConfigError) as caught:
        load(file)
    return [problem.replace(f"{file.parent}/", "") for problem in caught.value.problems]


@contextmanager
def closed_to_us(folder: Path) -> Iterator[None]:
    """Root, whom no mode keeps out, is nobody meanwhile."""
    user = os.geteuid()
    folder.chmod(0)
    os.seteuid(user or NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


def uncommented(example: str) -> str:
    """The example with every setting switched on: a setting's `#` is followed by no space."""
    return re.sub(r"^(\s*)#(?=[a-z])", r"\1", example, flags=re.MULTILINE)


def models(table: type[Table] = Table) -> list[type[Table]]:
    return [kind for child in table.__subclasses__() for kind in (child, *models(child))]


# --- what is shipped ---


def test_the_example_loads_as_it_is(folder: Path) -> None:
    config = load(write(folder, EXAMPLE.read_text(encoding="utf-8")))

    assert config.enterprises[0].name == "Ромашка"
    assert config.telegram.token.get_secret_value() == "123456:AAE-token_x"


def test_every_commented_setting_of_the_example_is_its_true_default(folder: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    as_it_is = load(write(folder, text))

    with_all_lines = load(write(folder, uncommented(text)))

    assert with_all_lines == as_it_is


def test_the_example_shows_every_key_there_is() -> None:
    shown = set(re.findall(r"^\s*(\w+) = ", uncommented(EXAMPLE.read_text(encoding="utf-8")), re.MULTILINE))
    tables = set(re.findall(r"^\s*\[+(?:\w+\.)*(\w+)\]+$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))

    missing = {
        f"{model.__name__}.{name}"
        for model in models()
        for name in model.model_fields
        if name not in shown and f"{name}_file" not in shown and name not in tables and name != "crm"
    }

    assert missing == set()


def test_every_setting_of_the_example_is_explained() -> None:
    """A setting stands under a comment, or follows one that was explained with it."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    explained = {"ami_username", "ami_secret_file", "ari_username", "ari_password_file", "missed_only", "url"}
    explained |= {"api_key_file", "extension"}
    unexplained = [
        line.strip()
        for before, line in pairwise(lines)
        if (key := re.match(r"\s*#?([a-z_]+) = ", line))
        and not before.strip().startswith("# ")
        and key[1] not in explained
    ]

    assert [line for line in unexplained if not line.startswith("number")] == []


def test_the_minimal_configuration_has_15_lines_and_loads(folder: Path) -> None:
    text = MINIMAL.read_text(encoding="utf-8")

    config = load(write(folder, text))

    assert len(text.splitlines()) == 15
    assert config.enterprises[0].lines[0].label == "МТС Центр"


def test_the_configuration_of_the_recordings_loads() -> None:
    config = load(LAB)

    assert config.enterprises[0].asterisk.ami_secret.get_secret_value() == "lab"
    assert config.enterprises[0].agents[0].mobile == "+375290000077"


# --- what is read ---


def test_defaults_are_those_of_the_contract(folder: Path) -> None:
    config = load(write(folder, GOOD))
    line = config.enterprises[0].lines[0]

    assert (config.fastagi.listen, config.http.listen) == (Address("127.0.0.1", 4577), Address("127.0.0.1", 8070))
    assert config.fastagi.allow == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert (config.fastagi.deadline_s, config.database.url, config.database.pool_size) == (1.5, "embedded", 10)
    assert (str(config.daemon.state_dir), config.daemon.instance) == ("/var/lib/vochi-agent", "a")
    assert (config.log.level, config.log.format, config.log.mask_phones) == ("info", "json", True)
    assert (line.dids, line.caller_name, line.route, line.ring_s) == (("0001701",), ("customer",), (), 30)


def test_a_number_rule_may_be_a_text_or_a_list(folder: Path) -> None:
    one = load(write(folder, GOOD + 'number_rule = "+375{9}"')).enterprises[0].lines[0]
    many = load(write(folder, GOOD + 'number_rule = ["+375{9}", "{4}"]')).enterprises[0].lines[0]

    assert (one.number_rule, many.number_rule) == (("+375{9}",), ("+375{9}", "{4}"))


def test_an_empty_caller_name_stays_empty(folder: Path) -> None:
    assert load(write(folder, GOOD + "caller_name = []")).enterprises[0].lines[0].caller_name == ()


def test_a_crm_table_is_read_by_the_class_of_that_crm(folder: Path) -> None:
    crm = '[enterprises.crm.retailcrm]\nurl = "https://x.example"\napi_key = "key"\nagents = { "7" = "151" }\n'
    crm += '[enterprises.crm.uon]\nurl = "https://u.example"\napi_key = "k"\nrps = 6\n'
    text = GOOD.replace('country = "BY"', 'country = "BY"\nprimary_source = "retail"') + crm

    enterprise = load(write(folder, text)).enterprises[0]
    retailcrm = enterprise.crm["retailcrm"]

    assert isinstance(retailcrm, RetailCrmConfig)
    assert (dict(retailcrm.agents), retailcrm.timeout_s) == ({"7": "151"}, 1.2)
    assert enterprise.crm["uon"].rps == 6
    assert enterprise.primary_source == "retailcrm"


def test_several_lines_may_share_an_endpoint(folder: Path) -> None:
    second = '[[enterprises.lines]]\nid = "0001702"\nendpoint = "PJSIP/gsm1"'

    assert len(load(write(folder, GOOD + second)).enterprises[0].lines) == 2


def test_an_enterprise_takes_over_what_it_does_not_say(folder: Path) -> None:
    text = '[daemon]\ntimezone = "Europe/Minsk"\n[telegram]\ntoken = "1:a"\n' + GOOD
    text += '[enterprises.crm.uon]\nurl = "https://u.example"\napi_key = "k"\n'

    enterprise = load(write(folder, text)).enterprises[0]

    assert enterprise.timezone == "Europe/Minsk"
    assert enterprise.telegram_token.get_secret_value() == "1:a"
    assert enterprise.primary_source == "uon"


def test_an_ipv6_address_stands_in_brackets(folder: Path) -> None:
    config = load(write(folder, GOOD + '[fastagi]\nlisten = "[::1]:4577"'))

    assert (config.fastagi.listen, str(config.fastagi.listen)) == (("::1", 4577), "[::1]:4577")


def test_a_configuration_cannot_be_changed(folder: Path) -> None:
    config = load(write(folder, GOOD))

    with pytest.raises(ValidationError):
        config.log.level = "debug"
    with pytest.raises(TypeError):
        config.enterprises[0].crm["uon"] = None


def test_a_byte_order_mark_is_no_mistake(folder: Path) -> None:
    file = folder / "config.toml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())

    assert load(file).enterprises[0].number == "0901"


# --- conf.d ---


def test_files_of_conf_d_join_lists_and_the_later_value_wins(folder: Path) -> None:
    second = GOOD.replace("0901", "0902").replace("5038", "5039").replace("[log]\n", '[log]\nlevel = "debug"\n')
    write(folder, second, "conf.d/20.toml")
    write(folder, '[log]\nlevel = "error"\nformat = "console"', "conf.d/10.toml")
    write(folder, "not toml at all", "conf.d/notes.txt")

    config = load(write(folder, GOOD))

    assert [enterprise.number for enterprise in config.enterprises] == ["0901", "0902"]
    assert (config.log.level, config.log.format) == ("debug", "console")


def test_a_mistake_names_the_file_it_stands_in(folder: Path) -> None:
    write(folder, '[log]\nlevel = "loud"\n' + GOOD[6:].replace('"BY"', '"XX"'), "conf.d/x.toml")

    found = problems(write(folder, GOOD))

    assert {problem.split(": ")[0] for problem in found} == {"conf.d/x.toml"}
    assert any("the number of another enterprise (in config.toml)" in problem for problem in found)
    assert any(".asterisk.ami is" in problem for problem in found)


def test_mistakes_beside_an_unreadable_file_are_named_too(folder: Path) -> None:
    write(folder, "a = = 1", "conf.d/broken.toml")

    assert problems(write(folder, '[log]\nlevel = "loud"')) == [
        "conf.d/broken.toml: not valid TOML: Invalid value (at line 1, column 5)",
        'config.toml: log.level is "loud"; allowed: debug, info, warning, error',
    ]


def test_files_that_an_editor_hides_are_not_read(folder: Path) -> None:
    write(folder, "half a = ", "conf.d/.shop.toml")
    (folder / "conf.d" / ".#shop.toml").symlink_to("anna@pbx.1234")

    assert load(write(folder, GOOD)).enterprises[0].number == "0901"


def test_a_folder_that_is_closed_to_this_user_is_a_sentence(folder: Path) -> None:
    """As /etc/vochi-agent is to everybody but root and the service."""
    file = write(folder, GOOD)
    write(folder, GOOD, "conf.d/x.toml")
    with closed_to_us(folder):
        found = problems(file)

    assert found == [
        "config.toml: the file cannot be read: Permission denied",
        "conf.d: the folder cannot be read: Permission denied",
    ]


# --- secrets ---


def test_credentials_of_systemd_come_before_files_beside_the_configuration(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path_factory.mktemp("credentials")
    (credentials / "ami-secret").write_text("from systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))

    enterprise = load(write(folder, MINIMAL.read_text(encoding="utf-8"))).enterprises[0]

    assert enterprise.asterisk.ami_secret.get_secret_value() == "from systemd"
    assert enterprise.crm["retailcrm"].api_key.get_secret_value() == "crm-key-123"


@pytest.mark.parametrize("named", ["ami-secret", "secrets/ami-secret"])
def test_a_folder_of_secrets_is_handed_over_by_systemd_under_its_own_names(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """`LoadCredential=secrets:/etc/vochi-agent/secrets/` makes `secrets_ami-secret` of the file `ami-secret`."""
    credentials = tmp_path_factory.mktemp("credentials")
    (credentials / "secrets_ami-secret").write_text("from systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    text = GOOD.replace('ami_secret = "inline-secret"', f'ami_secret_file = "{named}"')

    assert load(write(folder, text)).enterprises[0].asterisk.ami_secret.get_secret_value() == "from systemd"


def test_the_folder_secrets_beside_the_configuration_serves_commands(folder: Path) -> None:
    (folder / "ami-secret").unlink()
    (folder / "secrets").mkdir()
    (folder / "secrets" / "ami-secret").write_text("apart\n")
    text = GOOD.replace('ami_secret = "inline-secret"', 'ami_secret_file = "ami-secret"')

    assert load(write(folder, text)).enterprises[0].asterisk.ami_secret.get_secret_value() == "apart"


def test_a_folder_of_secrets_that_is_closed_to_us_is_a_sentence() -> None:
    """As to everybody but root on a machine where systemd hands the secrets over."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = write(folder, GOOD.replace('ami_secret = "inline-secret"', 'ami_secret_file = "ami-secret"'))
        write(folder, "apart\n", "secrets/ami-secret")
        with closed_to_us(folder / "secrets"):
            found = problems(file)

    assert [problem.split("_file ")[1] for problem in found] == [
        "names ami-secret or secrets/ami-secret, which cannot be read: Permission denied"
    ]


def test_an_absolute_secret_file_is_taken_as_it_is(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "s"
    elsewhere.write_text("far away\r\n")
    text = GOOD.replace('ami_secret = "inline-secret"', f'ami_secret_file = "{elsewhere}"')

    assert load(write(folder, text)).enterprises[0].asterisk.ami_secret.get_secret_value() == "far away"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "names {folder}s, which cannot be read: No such file or directory"),
        (b"", "names {folder}s, which is empty"),
        (b"\n", "names {folder}s, which is empty"),
        (b"one\ntwo\n", "names {folder}s, which is more than one line of text"),
        (b"\xff\xfe", "names {folder}s, which is not UTF-8 text"),
        (b"x" * 9000, "names {folder}s, which is more than one line of text"),
    ],
)
def test_a_useless_secret_file_is_one_problem(folder: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (folder / "s").write_bytes(content)
    file = write(folder, GOOD.replace('ami_secret = "inline-secret"', 'ami_secret_file = "s"'))

    assert problems(file) == [
        "config.toml: enterprises[0901].asterisk.ami_secret_file " + sentence.format(folder=""),
    ]


def test_a_secret_given_twice_is_a_problem(folder: Path) -> None:
    file = write(folder, GOOD.replace("ami_secret", 'ami_secret_file = "ami-secret"\nami_secret'))

    assert problems(file) == [
        "config.toml: enterprises[0901].asterisk.ami_secret_file and ami_secret are both given; allowed: one of them"
    ]


def test_a_secret_is_never_printed(folder: Path) -> None:
    text = GOOD.replace("inline-secret", "hush-hush").replace(
        "[log]\n", '[log]\n[database]\nurl = "postgresql://u:hidden-pw@h/db"\n[telegram]\ntoken = "77:quiet"\n'
    )
    config = load(write(folder, text))
    broken = text.replace("postgresql:", "mysql:").replace("77:quiet", "quiet").replace('"hush-hush"', '["hush-hush"]')

    printed = repr(config) + str(config) + "".join(problems(write(folder, broken)))

    assert not any(secret in printed for secret in ("hush-hush", "hidden-pw", "quiet"))
    assert secret_values(config) == {"hush-hush", "hidden-pw", "77:quiet"}


def test_every_secret_of_the_contract_may_stand_in_a_file() -> None:
    assert {
        *("token", "telegram_token", "ami_secret", "ari_password", "api_key", "webhook_secret"),
        *("phone_key", "client_secret", "refresh_token", "application_token"),
    } == SECRET_KEYS


# --- mistakes ---


def test_every_mistake_is_named_at_once(folder: Path) -> None:
    text = """\
[daemon]
timezon = "Europe/Minsk"
state_dir = "here"
[log]
mask_phones = "yes"
[telegram]
token_file = "nowhere"
[[enterprises]]
number = 901
country = "BYE"
[enterprises.asterisk]
ami_secret = 5
[[enterprises.lines]]
id = "0001701"
endpoint = "gsm1"
number_rule = "+375{x}"
caller_name = ["customer", "lin"]
[enterprises.crm.retail]
url = "https://x.example"
"""
    text_in_quotes = "one line of text in quotes"
    enterprise = "config.toml: enterprises[901]"
    line = f"{enterprise}.lines[0001701]"
    expected = [
        "config.toml: telegram.token_file names nowhere, which cannot be read: No such file or directory",
        'config.toml: daemon.state_dir is "here"; allowed: an absolute path, such as /var/lib/vochi-agent',
        "config.toml: daemon.timezon is not a known key; did you mean timezone?",
        'config.toml: log.mask_phones is "yes"; allowed: true or false',
        'config.toml: enterprises[901].number is 901; allowed: letters and digits in quotes, such as "0901"',
        f'{enterprise}.country is "BYE"; allowed: a country\'s two capital letters (ISO 3166), such as BY or RU',
        f'{enterprise}.asterisk.ami is missing; needed: a host and a port, such as "127.0.0.1:5038" or "[::1]:5038"',
        "config.toml: enterprises[901].asterisk.ami_username is missing; needed: a text in quotes",
        f"{enterprise}.asterisk.ami_secret is a value that is not shown here; allowed: {text_in_quotes}, not empty",
        f'{line}.endpoint is "gsm1"; allowed: technology and endpoint, such as "PJSIP/gsm1"',
        f'{line}.number_rule is "+375{{x}}"; allowed: a prefix and how many last digits follow it, such as "+375{{9}}"',
        f'{line}.caller_name[#2] is "lin"; allowed: customer, company, person, number, line, shop',
        "config.toml: enterprises[901].crm.retail is not a known key; did you mean retailcrm?",
    ]

    assert sorted(problems(write(folder, text))) == sorted(expected)


LINE = "enterprises[0901].lines[0001701]"


@pytest.mark.parametrize(
    ("addition", "sentence"),
    [
        ('number_rule = "+375{}"', f'{LINE}.number_rule is "+375{{}}"; allowed: a prefix and how many'),
        ('number_rule = "375-{9}"', f'{LINE}.number_rule is "375-{{9}}"'),
        ('number_rule = ["{9}", 7]', f"{LINE}.number_rule[#2] is 7; allowed"),
        ('[[enterprises.agents]]\nextension = "151"\nname_width = 0', "name_width is 0; allowed: a whole number"),
        ("ring_s = 0", f"{LINE}.ring_s is 0; allowed: whole seconds, from 1 to 600"),
        ("ring_s = true", f"{LINE}.ring_s is true"),
        ('route = "responsible"', f'{LINE}.route is "responsible"; allowed: a list in [ ], each responsible,'),
        ('number = "80290000901"', f'{LINE}.number is "80290000901"; allowed: a number with + and country code'),
        ("dids = [1701]", f"{LINE}.dids[#1] is 1701; allowed: a dialled number in quotes"),
        ('"два слова" = 1', f'{LINE}."\\u0434\\u0432\\u0430 \\u0441\\u043b\\u043e\\u0432\\u0430" is not a known key'),
        ('shop = "Са\\nлон"', f'{LINE}.shop is "Са\\nлон"; allowed: one line of text in quotes'),
        ('[fastagi]\nlisten = "localhost:4577"', 'fastagi.listen is "localhost:4577"; allowed: a literal IP address'),
        ('[fastagi]\nlisten = "::1:4577"', 'fastagi.listen is "::1:4577"; allowed: a literal IP address'),
        ('[fastagi]\nlisten = "127.0.0.1:70000"', 'fastagi.listen is "127.0.0.1:70000"; allowed'),
        ('[fastagi]\nallow = ["10.0.0.0/40"]', 'fastagi.allow[#1] is "10.0.0.0/40"; allowed: an IP address or a'),
        ("[fastagi]\ndeadline_s = 2.5", "fastagi.deadline_s is 2.5; allowed: seconds, from 0.1 to 1.9"),
        ('[http]\nlisten = "127.0.0.1:4577"', "the address of fastagi.listen; allowed: another port"),
        ('[http]\npublic_url = "pbx.example"', 'http.public_url is "pbx.example"; allowed: an http:// or https://'),
        ('[database]\nurl = "sqlite:///x"', 'database.url is "sqlite:///x"; allowed: "embedded" or a postgresql://'),
        ('[daemon]\ntimezone = "Minsk"', 'daemon.timezone is "Minsk"; allowed: a time zone, such as Europe/Minsk'),
        ('[daemon]\ninstance = "a-b"', 'daemon.instance is "a-b"; allowed: 1 to 16 letters and digits'),
        ('[telegram]\ntoken = "abc"', "telegram.token is a value that is not shown here; allowed: a bot token"),
        ("[[telegram]]", "telegram is a list of 1; allowed: a table"),
        (
            "[zzz]",
            "zzz is not a known key; known: daemon, log, database, retention, fastagi, http, telegram, enterprises",
        ),
        ("[[enterprises.agents]]\nextension = 151", "agents[151].extension is 151; allowed: 2 to 5 digits in quotes"),
        ('[[enterprises.agents]]\nextension = "151"\ncharset = "cp1251"', 'charset is "cp1251"; allowed: utf-8, latin'),
        (
            "[enterprises.agents]",
            "enterprises[0901].agents is a table; allowed: a list of tables, [[enterprises.agents]]",
        ),
        (
            '[enterprises.crm.retailcrm]\nurl = "https://x.example"',
            "api_key is missing; needed: api_key_file (or api_key)",
        ),
        ('[enterprises.crm.uon]\nurl = "x"\nagents = { 1 = "x" }', 'crm.uon.agents.1 is "x"; allowed: 2 to 5 digits'),
        (
            '[enterprises.crm.bitrix24]\nurl = "https://x.example"',
            "api_key_file is missing; needed: a webhook (user_id, ",
        ),
        (
            '[enterprises.crm.bitrix24]\nurl = "https://x.example"\napi_key = "k"',
            "user_id is missing; a webhook needs user_id, api_key_file",
        ),
        (
            '[enterprises.crm.bitrix24]\nurl = "https://x.example"\nuser_id = "1"\napi_key = "k"\nclient_id = "c"',
            "client_id belongs to an application, but a webhook is there too; allowed: a webhook",
        ),
        (
            '[enterprises.crm.bitrix24]\nurl = "https://x.example"\nclient_id = "c"\nclient_secret = "s"',
            "refresh_token_file is missing; an application needs client_id, client_secret_file, refresh_token_file",
        ),
        (
            '[enterprises.crm.bitrix24]\nurl = "https://x.example"\nuser_id = "1"\napi_key = "k"\nevents_s = 60',
            "events_s wants an application (client_id, client_secret, refresh_token)",
        ),
        (
            '[enterprises.crm.amocrm]\nurl = "https://x.example"\nclient_id = "c"\nclient_secret = "s"\nrefresh_token = "r"',  # noqa: E501
            "redirect_uri is missing; an application needs",
        ),
        (
            '[enterprises.crm.amocrm]\nurl = "https://x.example"\napi_key = "k"\nunsorted = true\nunknown_in = "lead"',
            "unsorted and unknown_in are two ways with the same callers",
        ),
        (
            '[enterprises.crm.moysklad]\napi_key = "k"\nunknown_in = "lead"',
            'unknown_in is "lead"; allowed: nothing, contact',
        ),
        (
            '[enterprises.crm.moysklad]\napi_key = "k"\naccount_id = "12"',
            'account_id is "12"; allowed: an id of five groups',
        ),
        ('[[enterprises.chats]]\nid = "@chat"', 'chats[@chat].id is "@chat"; allowed: the chat\'s id, a whole number'),
        ("[[enterprises.chats]]\nid = 0", "chats[0].id is 0; allowed: the chat's id"),
        ("[[enterprises.chats]]\nid = -1", "chats cannot be told anything without a bot; needed: telegram.token_file"),
        ('[[enterprises.chats]]\nid = -1\ndirections = ["inn"]', 'directions[#1] is "inn"; allowed: in, out, internal'),
        ('[[enterprises.chats]]\nid = -1\nlines = ["17"]', 'chats[-1].lines has "17", which is no line\'s id'),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(folder: Path, addition: str, sentence: str) -> None:
    found = problems(write(folder, GOOD + addition))

    assert any(sentence in problem for problem in found), found


@pytest.mark.parametrize("pattern", ["80290000011", "7900*", "+7*00", "+7900**", "", "anonymous", "+12345"])
def test_a_pattern_of_callers_that_could_match_nobody_is_refused(folder: Path, pattern: str) -> None:
    found = problems(write(folder, GOOD.replace('country = "BY"', f'country = "BY"\nblock = ["{pattern}"]')))

    assert any("block[#1]" in problem and '"hidden"' in problem for problem in found), found


def other(number: str, ami: str) -> str:
    return GOOD[6:].replace('"0901"', f'"{number}"').replace("127.0.0.1:5038", ami)


APPLICATION = """
[enterprises.crm.bitrix24]
url = "https://x.example"
client_id = "c"
client_secret = "s"
refresh_token = "r"
"""


@pytest.mark.parametrize(
    ("addition", "sentence"),
    [
        (other("0901", "10.0.0.1:5038"), 'enterprises[0901].number is "0901", the number of another enterprise'),
        (
            other("0902", "localhost:5038"),
            'enterprises[0902].asterisk.ami is "localhost:5038", as is enterprises[0901]',
        ),
        (
            APPLICATION + other("0902", "10.0.0.1:5038") + APPLICATION,
            "refresh_token_file holds the token of enterprises[0901].crm.bitrix24.refresh_token_file; allowed: an appl",
        ),
        ('[[enterprises.lines]]\nid = "0001701"\nendpoint = "SIP/2"', 'id is "0001701", the id of another line'),
        (
            '[[enterprises.lines]]\nid = "2"\nendpoint = "PJSIP/gsm1"\ndids = ["0001701"]',
            'lines[2].dids has "0001701", as has enterprises[0901].lines[0001701] on the same endpoint PJSIP/gsm1',
        ),
        ('[[enterprises.agents]]\nextension = "151"\n' * 2, 'extension is "151", the extension of another agent'),
        ('[[enterprises.departments]]\nnumber = "901"\n' * 2, 'number is "901", the number of another department'),
        (
            '[[enterprises.agents]]\nextension = "151"\n[[enterprises.departments]]\nnumber = "151"',
            'departments[151].number is "151", which is an agent\'s extension',
        ),
        (
            "".join(f'[[enterprises.agents]]\nextension = "{10 + n}"\nname_width = {9 + n}\n' for n in range(17)),
            "agents[26].name_width is one more kind of telephone than 16",
        ),
        ("[[enterprises.chats]]\nid = -5\n" * 2, "chats[-5].id would get some calls twice"),
        (
            '[[enterprises.chats]]\nid = -5\nrecording = "audio"',
            'chats[-5].recording is "audio" without a folder; needed: asterisk.recordings',
        ),
        (
            '[enterprises.crm.uon]\nurl = "https://u.example"\napi_key = "k"\n[enterprises.crm.amocrm]\nurl = "https://a.example"',
            "primary_source is missing; needed: whose names win, uon or amocrm",
        ),
    ],
)
def test_what_must_be_unique_is(folder: Path, addition: str, sentence: str) -> None:
    found = problems(write(folder, GOOD + addition))

    assert any(sentence in problem for problem in found), found


@pytest.mark.parametrize(
    ("addition", "sentence"),
    [
        ("", 'telegram.updates is "webhook" without an address; needed: http.public_url'),
        ('[http]\npublic_url = "http://pbx.example"', "http.public_url is no https:// address, which telegram.updates"),
        ('[http]\npublic_url = "https://pbx.example/vochi"', ""),
    ],
)
def test_a_webhook_needs_an_address_that_telegram_takes(folder: Path, addition: str, sentence: str) -> None:
    text = GOOD + '[telegram]\ntoken = "1:a"\nupdates = "webhook"\n' + addition
    if sentence:
        (found,) = problems(write(folder, text))
        assert sentence in found
    else:
        assert load(write(folder, text)).telegram.updates == "webhook"
    of_our_own = text.replace("[telegram]", '[telegram]\napi_url = "http://127.0.0.1:8081"')
    if "public_url" in addition:
        assert load(write(folder, of_our_own)).http.public_url


def test_one_chat_may_have_two_tables_for_different_calls(folder: Path) -> None:
    chats = (
        '[[enterprises.chats]]\nid = -5\ndirections = ["in"]\n[[enterprises.chats]]\nid = -5\ndirections = ["out"]\n'
    )

    assert len(load(write(folder, '[telegram]\ntoken = "1:a"\n' + GOOD + chats)).enterprises[0].chats) == 2


def test_a_configuration_without_an_enterprise_is_refused(folder: Path) -> None:
    for text in ("", "enterprises = []"):
        assert problems(write(folder, text)) == [
            "config.toml: no enterprise; needed: at least one table [[enterprises]]"
        ]


def test_a_syntax_error_has_its_line(folder: Path) -> None:
    assert problems(write(folder, "[log]\nlevel = [loud]\n")) == [
        "config.toml: not valid TOML: Invalid value (at line 2, column 10)"
    ]


def test_files_that_are_no_text_are_named(folder: Path) -> None:
    file = folder / "config.toml"
    file.write_bytes("name = 'Ромашка'".encode("cp1251"))

    assert problems(file) == ["config.toml: the file is not UTF-8 text (byte 8)"]
    assert problems(folder / "absent.toml") == ["absent.toml: the file cannot be read: No such file or directory"]
    assert problems(write(folder, "a = " + "[" * 100_000)) == ["config.toml: not valid TOML: nested too deeply"]


def test_a_line_break_in_a_key_does_not_break_the_sentence(folder: Path) -> None:
    found = problems(write(folder, GOOD + '"a\\nb" = 1'))

    assert all("\n" not in problem for problem in found)


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8) | st.just(date(2026, 11, 20)) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def toml(value: object) -> str:
    """Any value as TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(sign):08x}" for sign in value) + '"'
    return str(value).lower() if isinstance(value, bool) else str(value)


KEYS = sorted({name for model in models() for name in model.model_fields} | {f"{name}_file" for name in SECRET_KEYS})


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    section=st.sampled_from(["", "[log]", "[telegram]", "[[enterprises]]", "[enterprises.asterisk]"]), data=st.data()
)
def test_no_value_anywhere_gets_a_traceback_or_jargon(folder: Path, section: str, data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=6))
    text = "\n".join([section, *(f"{key} = {toml(data.draw(VALUES))}" for key in keys)])

    found = " ".join(problems(write(folder, text)))

    assert not re.search(r"Input should|valid tuple|pydantic|validation|NoneType|<class", found)


# --- the environment ---


def test_what_a_reload_does_not_take_waits_for_a_restart() -> None:
    def config(number: str = "0901", *, secret: str = "s", deadline_s: float = 1.5, **facts: object) -> Config:
        asterisk = {"ami": "127.0.0.1:5038", "ami_username": "vochi", "ami_secret": secret}
        enterprise = {"number": number, "country": "BY", "asterisk": asterisk, **facts}
        return Config.model_validate({"fastagi": {"deadline_s": deadline_s}, "enterprises": [enterprise]})

    taken = config(lines=[{"id": "1", "endpoint": "PJSIP/gsm1"}], chats=[{"id": -1}], block=["hidden"])
    assert waiting_for_restart(config(), taken) == []
    assert waiting_for_restart(config(), config("0902")) == ["enterprises[0901]", "enterprises[0902]"]
    assert waiting_for_restart(config(), config(secret="t", deadline_s=1.0, crm={"uon": {"api_key": "k"}})) == [
        "fastagi.deadline_s",
        "enterprises[0901].asterisk.ami_secret",
        "enterprises[0901].crm",
    ]


def test_the_place_of_the_configuration_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_path() == Path("/etc/vochi-agent/config.toml")

    monkeypatch.setenv("VOCHI_CONFIG", "/srv/vochi.toml")

    assert default_path() == Path("/srv/vochi.toml")


def test_the_watchdog_is_ours_only_when_it_names_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (watchdog_interval_s(), notify_socket()) == (None, None)

    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    assert (watchdog_interval_s(), notify_socket()) == (30.0, "/run/systemd/notify")

    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_interval_s() == 30.0

    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_interval_s() is None


def test_reading_a_configuration_loads_no_heavy_library() -> None:
    """The daemon answers within 1.5 s of its start; the configuration is the first thing it imports."""
    code = "import sys, vochi_agent.config; print(*{name.split('.')[0] for name in sys.modules})"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert not {"aiogram", "aiohttp", "asyncpg", "rich", "asyncio"} & set(loaded.split())


def test_every_crm_table_is_a_source_of_names() -> None:
    assert set(CRM_TABLES) <= set(SOURCES)
