"""`vochi-agent init` on a folder of files: what is asked, what is written, what is refused."""

import io
import json
import stat
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from vochi_agent.asterisk.conf_files import read_conf
from vochi_agent.cli import main
from vochi_agent.config import Config, load

PJSIP = """\
[151]
type = endpoint
context = internal
callerid = "Анна \x1b[31m" <151>
[gsm1]
type = endpoint
context = from-trunk
[alice]
type = endpoint
context = internal
"""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "pjsip.conf").write_text(PJSIP)
    (folder / "manager.conf").write_text("[general]\nenabled = yes\nport = 5039\n")
    (folder / "extensions.conf").write_text("[globals]\n")
    return folder


def init(etc: Path, *arguments: str, answers: str | None = None, monkeypatch: pytest.MonkeyPatch | None = None) -> int:
    """Run it beside `etc`; without answers nobody is asked."""
    target = etc.parent / "vochi" / "config.toml"
    if monkeypatch is not None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(answers or ""))
    asking = () if monkeypatch is not None else ("--yes",)
    return main(["-c", str(target), "init", "--pbx", str(etc), *asking, *arguments])


def written(etc: Path) -> Config:
    return load(etc.parent / "vochi" / "config.toml")


def test_what_the_files_say_becomes_a_configuration_that_is_sound(
    etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(etc, "--country", "BY", "--timezone", "Europe/Minsk", "--line", "PJSIP/gsm1=МТС") == 0

    (enterprise,) = written(etc).enterprises
    assert (enterprise.number, enterprise.country, enterprise.timezone) == ("0001", "BY", "Europe/Minsk")
    assert [(line.id, line.endpoint, line.label, line.caller_name) for line in enterprise.lines] == [
        ("gsm1", "PJSIP/gsm1", "МТС", ("customer", "line"))
    ]
    assert [(agent.extension, agent.name) for agent in enterprise.agents] == [("151", "Анна [31m")]
    assert str(enterprise.asterisk.ami) == "127.0.0.1:5039"
    said = capsys.readouterr().out
    assert "PJSIP/alice is left out: a line" in said
    assert enterprise.asterisk.ami_secret.get_secret_value() not in said


@pytest.mark.parametrize("trunk", ["mts-gsm", "sip_provider", "sip.provider.by", "line-1"])
def test_a_trunk_may_be_called_as_trunks_are(etc: Path, trunk: str) -> None:
    (etc / "pjsip.conf").write_text(PJSIP.replace("gsm1", trunk))
    assert init(etc, "--country", "BY") == 0

    assert [line.endpoint for line in written(etc).enterprises[0].lines] == [f"PJSIP/{trunk}"]
    assert f"[vochi-from-{trunk}]\n" in (etc.parent / "vochi" / "asterisk" / "extensions_vochi.conf").read_text()


def test_the_second_telephone_of_somebody_is_left_out(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many have one in the browser beside the one on the desk."""
    second = "[151-web]\ntype = endpoint\ncontext = internal\ncallerid = Anna <151>\n"
    (etc / "pjsip.conf").write_text(second + PJSIP)
    assert init(etc, "--country", "BY") == 0

    (enterprise,) = written(etc).enterprises
    assert [(agent.extension, agent.endpoint) for agent in enterprise.agents] == [("151", "")]
    assert "PJSIP/151-web is left out: 151 is PJSIP/151" in capsys.readouterr().out


def test_secrets_and_files_for_asterisk_are_for_their_owner_alone(etc: Path) -> None:
    assert init(etc, "--country", "BY") == 0
    folder = etc.parent / "vochi"

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.rglob("*") if file.is_file()}
    assert {name for name, mode in modes.items() if mode != 0o600} == {"config.toml"}
    assert stat.S_IMODE((folder / "asterisk").stat().st_mode) == 0o700
    secret = (folder / "ami-secret").read_text().strip()
    assert len(secret) > 30
    assert (folder / "asterisk" / "vochi-ami-secret.conf").read_text() == f"secret = {secret}\n"
    others = [file.read_text() for file in folder.rglob("*") if file.is_file() and "secret" not in file.name]
    assert not [text for text in others if secret in text]
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []


def test_the_files_for_asterisk_fit_to_those_that_are_there(etc: Path) -> None:
    assert init(etc, "--country", "BY") == 0
    snippets = etc.parent / "vochi" / "asterisk"

    assert "[globals](+)" in (snippets / "extensions_vochi.conf").read_text()
    assert "[general](+)" in (snippets / "manager_vochi.conf").read_text()
    # cel.conf is not there: nothing can be added to a section that nobody began.
    assert "[general]\n" in (snippets / "cel_vochi.conf").read_text()
    assert not (snippets / "ari_vochi.conf").exists()
    detour = read_conf(snippets, "pjsip_vochi.conf").sections
    assert detour == []  # additions alone
    assert "[gsm1](+type=endpoint)\ncontext = vochi-from-gsm1\n" in (snippets / "pjsip_vochi.conf").read_text()


def test_a_rest_interface_that_is_on_is_used(etc: Path) -> None:
    (etc / "http.conf").write_text("[general]\nenabled=yes\nbindport=8090\n")
    assert init(etc, "--country", "BY") == 0

    asterisk = written(etc).enterprises[0].asterisk
    assert (asterisk.ari, asterisk.ari_username) == ("http://127.0.0.1:8090", "vochi")
    password = asterisk.ari_password.get_secret_value()
    assert (etc.parent / "vochi" / "asterisk" / "vochi-ari-password.conf").read_text() == f"password = {password}\n"


def test_the_person_is_asked_only_for_what_cannot_be_known(
    etc: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "МТС Центр\nline\nОфис\nEurope/Minsk\nby\nBY\n0901\nРомашка\n"
    answers = f"{names}retailcrm\nhttps://demo.retailcrm.example\nRk-secret-9f\n4242:Bot\n-1001"
    assert init(etc, answers=answers + "\n", monkeypatch=monkeypatch) == 0

    (enterprise,) = written(etc).enterprises
    assert [(line.id, line.label) for line in enterprise.lines] == [("gsm1", "МТС Центр"), ("alice", "Офис")]
    assert (enterprise.number, enterprise.name, enterprise.country) == ("0901", "Ромашка", "BY")
    assert enterprise.crm["retailcrm"].api_key.get_secret_value() == "Rk-secret-9f"
    assert (enterprise.telegram_token.get_secret_value(), [chat.id for chat in enterprise.chats]) == (
        "4242:Bot",
        [-1001],
    )
    asked = capsys.readouterr()
    assert "That cannot be." in asked.err
    assert "Rk-secret-9f" not in asked.out + asked.err


def test_nothing_that_is_there_is_overwritten(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(etc, "--country", "BY") == 0
    before = {file: file.read_bytes() for file in (etc.parent / "vochi").rglob("*") if file.is_file()}

    assert init(etc, "--country", "RU") == 2
    assert "config.toml exists; nothing was written" in capsys.readouterr().err
    (etc.parent / "vochi" / "config.toml").unlink()
    assert init(etc, "--country", "RU", "--snippets", str(etc.parent / "elsewhere")) == 2
    assert "ami-secret exists; nothing was written" in capsys.readouterr().err
    assert not (etc.parent / "elsewhere").exists()
    assert {file: file.read_bytes() for file in before if file.name != "config.toml"} == {
        file: content for file, content in before.items() if file.name != "config.toml"
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--country", "by"), "--country by: cannot be"),
        (("--country", "BY", "--timezone", "Minsk"), "--timezone Minsk: cannot be"),
        (("--country", "BY", "--number", "a b"), "--number a b: cannot be"),
        (("--country", "BY", "--line", "gsm1"), "'gsm1': needed: technology and endpoint"),
        (("--country", "BY", "--phone", "PJSIP/alice=x"), "an extension has 2 to 5 digits"),
        (("--country", "BY", "--phone", "PJSIP/alice=151"), "PJSIP/alice and PJSIP/151 both are extension 151"),
        (("--country", "BY", "--crm", "retailcrm"), "--crm-url is needed"),
        (("--country", "BY", "--crm", "uon"), "--crm-key-file is needed"),
        (("--country", "BY", "--crm", "sap"), "--crm sap: cannot be"),
        (("--country", "BY", "--crm", "uon", "--crm-key-file", "/nowhere"), "--crm-key-file /nowhere: cannot be read"),
        (("--country", "BY", "--line", "PJSIP/a,b"), "a dialplan can carry"),
        (("--timezone", "Etc/GMT-3"), "--country is needed"),
        (("--country", "BY", "--ami", "127.0.0.1:manager"), "--ami '127.0.0.1:manager'; allowed: a host"),
        (("--country", "BY", "--ami", "127.0.0.1:65536", "--ami-username", "a"), "--ami '127.0.0.1:65536'; allowed"),
    ],
)
def test_an_answer_that_cannot_be_is_a_sentence_and_nothing_is_written(
    etc: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert init(etc, *arguments) == 2
    assert sentence in capsys.readouterr().err
    folder = etc.parent / "vochi"
    assert not folder.exists() or not any(folder.iterdir())


def test_without_a_pbx_it_says_where_it_looked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path / "no-etc", "--country", "BY") == 3
    assert "no-etc has no files of Asterisk that this user can read" in capsys.readouterr().err


def test_freepbx_gets_its_own_files_and_steps(etc: Path) -> None:
    (etc / "extensions_additional.conf").write_text("")
    assert init(etc, "--country", "BY") == 0
    snippets = etc.parent / "vochi" / "asterisk"

    assert (snippets / "extensions_custom.conf").exists()
    assert "Context from-pstn-vochi" in (snippets / "README.txt").read_text()
    assert written(etc).enterprises[0].asterisk.cel == ""


def test_a_pbx_elsewhere_that_does_not_answer_is_no_pbx(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files of this machine say nothing about another one."""
    (etc / "s").write_text("x\n")
    code = init(
        etc, "--country", "BY", "--ami", "127.0.0.2:9", "--ami-username", "a", "--ami-secret-file", str(etc / "s")
    )  # fmt: skip

    assert code == 3
    assert "127.0.0.2:9 takes no connection" in capsys.readouterr().err


def test_a_hostile_pbx_writes_no_line_of_the_configuration_and_none_on_the_terminal(
    etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = {"technology": "SIP", "resource": 'x\n[telegram]\napi_url = "https://evil.example"\n#\x1b[2J'}
    answers = {"info": {"system": {"version": "22\x1b]0;title\x07\n"}}, "endpoints": [endpoint]}

    class Hostile(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers[self.path.partition("?")[0].rpartition("/")[2]]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    (etc / "s").write_text("x\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        ari = ("--ari", f"http://127.0.0.1:{server.server_port}", "--ari-username", "a")
        code = init(etc, "--country", "BY", *ari, "--ari-password-file", str(etc / "s"))
        server.shutdown()

    assert code == 0
    assert written(etc).telegram.api_url == "https://api.telegram.org"
    said = capsys.readouterr().out
    assert "SIP/x [telegram] api_url" in said
    assert all(line.isprintable() for line in said.splitlines())


@pytest.mark.parametrize("place", ["localhost", "127.0.0.1", "[::1]:5038"])
def test_a_pbx_on_this_machine_has_its_files_here(etc: Path, place: str) -> None:
    assert init(etc, "--country", "BY", "--ami", place) == 0

    assert str(written(etc).enterprises[0].asterisk.ami) == place.removesuffix(":5038") + ":5038"
    assert [agent.extension for agent in written(etc).enterprises[0].agents] == ["151"]


def test_secrets_go_into_a_folder_that_is_there_for_them(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = etc.parent / "vochi" / "secrets"
    apart.mkdir(parents=True)
    assert init(etc, "--country", "BY") == 0

    assert [file.name for file in apart.iterdir()] == ["ami-secret"]
    assert not (etc.parent / "vochi" / "ami-secret").exists()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(apart))
    assert (
        written(etc).enterprises[0].asterisk.ami_secret.get_secret_value() == (apart / "ami-secret").read_text().strip()
    )


def test_what_cannot_be_written_whole_is_not_written_at_all(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder for Asterisk is below a file."""
    (etc.parent / "file").write_text("")

    assert init(etc, "--country", "BY", "--snippets", str(etc.parent / "file" / "asterisk")) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert not any((etc.parent / "vochi").iterdir())


def test_the_files_for_asterisk_may_be_on_another_file_system(etc: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == etc.stat().st_dev:
        pytest.skip("this machine has one file system")
    with tempfile.TemporaryDirectory(dir=other) as folder:
        assert init(etc, "--country", "BY", "--snippets", f"{folder}/asterisk") == 0
        assert stat.S_IMODE((Path(folder) / "asterisk" / "vochi-ami-secret.conf").stat().st_mode) == 0o600
