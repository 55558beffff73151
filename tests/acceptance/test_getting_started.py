"""The ten minutes from an ordinary PBX to the first named call, step by step as docs/getting-started.md tells them."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.bare_pbx import Shell, make_bare, readme_commands
from tests.support.daemon import DaemonProcess
from tests.support.fastagi import FastAgi
from tests.support.finals import until_finals
from tests.support.manager import is_event
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.telegram import TelegramSandbox

pytestmark = pytest.mark.asterisk

CHAT = -1001000000001
CALLER, DID = "375290000033", "375170000001"


@pytest.fixture
async def crm() -> AsyncIterator[RetailCrmSandbox]:
    async with RetailCrmSandbox(api_key="Rk-secret-9f") as sandbox:
        sandbox.add_customer(2003, first_name="Анна", last_name="Контактова", phones=["+375 29 000-00-33"])
        sandbox.add_company(77, nick_name="Ромашка", contacts=[2003])
        yield sandbox


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramSandbox]:
    async with TelegramSandbox(token="42:TEST") as sandbox:
        sandbox.add_chat(CHAT)
        yield sandbox


def beside(folder: Path, *, http_port: int, telegram_url: str, database: str) -> None:
    """What differs in a test from a machine of one's own: ports, the sandbox Telegram, the database."""
    (folder / "conf.d").mkdir(parents=True)
    (folder / "conf.d" / "test.toml").write_text(
        f"""
[daemon]
state_dir = "{folder / "state"}"
[log]
format = "console"
[http]
listen = "127.0.0.1:{http_port}"
[database]
url = "{database}"
[telegram]
api_url = "{telegram_url}"
"""
    )


async def test_ten_minutes_from_an_ordinary_pbx_to_the_first_named_call(
    pbx: Asterisk, lines: Sipp, postgres: PostgresServer, crm: RetailCrmSandbox, telegram: TelegramSandbox,
    tmp_path: Path,
) -> None:  # fmt: skip
    """On the oldest with files as they are delivered, on the newest with empty ones, which nothing can be added to."""
    etc = await make_bare(pbx, sections="16." in pbx.version)
    vochi, http_port = tmp_path / "vochi-agent", free_port()
    shell = Shell(tmp_path / "bin", pbx)
    (tmp_path / "key").write_text("Rk-secret-9f\n")
    (tmp_path / "token").write_text("42:TEST\n")

    # 1. init
    code, said = await shell(
        f"vochi-agent -c {vochi}/config.toml init --yes --pbx {etc} --number 0901 --country BY"
        f" --line 'PJSIP/gsm1=МТС Центр' --crm retailcrm --crm-url {crm.url} --crm-key-file {tmp_path}/key"
        f" --telegram-token-file {tmp_path}/token --chat {CHAT} --address 127.0.0.1:{pbx.ports.fastagi}"
    )
    assert code == 0, said
    assert f"Asterisk {pbx.version.removeprefix('Asterisk ')}" in said
    assert not [word for word in ("Rk-secret-9f", "42:TEST", pbx.secret) if word in said]
    assert "2 lines, 11 telephones, BY" in said

    # 2. the files for Asterisk, by the commands of their README
    before = pbx.problems()
    *commands, last = readme_commands((vochi / "asterisk" / "README.txt").read_text())
    for command in commands:
        code, said = await shell(command)
        assert code == 0, (command, said)
    assert last == f"vochi-agent -c {vochi}/config.toml doctor"
    # 16 loads cel_custom without anything to write, 22 does not.
    assert [each for each in pbx.problems()[len(before) :] if "already loaded" not in each] == []

    # 3. the service
    async with postgres.database() as dsn:
        beside(vochi, http_port=http_port, telegram_url=telegram.url, database=dsn)
        daemon = DaemonProcess(vochi / "config.toml", agi_port=pbx.ports.fastagi, http_port=http_port)
        async with daemon:
            await daemon.until_ready()

            async def beats() -> bool:
                return bool(await pbx.get_global("VOCHI_ALIVE_a"))

            await until(beats, within=15)

            # 4. doctor is content
            code, said = await shell(f"{last} --json")
            assert code == 0, said
            assert [each for each in json.loads(said) if each["level"] == "problem"] == []

            # 5. the first call has a name, a record and a card, and his own dialplan did the rest
            result = await lines.call(DID, CALLER, hold_s=0.5)

            assert (result.ended, result.code) == ("hung_up", 200)
            assert lines.invites("101")[0].display_name == "Ромашка | МТС Центр"
            (card,) = await until_finals(telegram, CHAT, 1, within=10)
            assert "👤Контактова Анна (Ромашка)" in card
            assert "📡МТС Центр" in card
            code, said = await shell(f"vochi-agent -c {vochi}/config.toml calls --json")
            (call,) = json.loads(said)
            assert (call["direction"], call["status"], call["line"]) == ("in", "answered", "gsm1")
            assert call["path"] == ["101"]

            # 6. and doctor has seen it
            await pbx.until_written(pbx.cel, "LINKEDID_END")
            code, said = await shell(last)
            assert code == 0, said
            assert re.search(r"^ok +cel 0901 .*21 columns", said, re.MULTILINE)


async def test_the_detour_changes_nothing_that_the_administrators_own_dialplan_does(
    pbx: Asterisk, lines: Sipp, tmp_path: Path
) -> None:
    """Without a daemon, with one that is mute, one that blocks; for numbers he has not; when the caller leaves."""
    etc = await make_bare(pbx)
    shell = Shell(tmp_path / "bin", pbx)
    target, port = tmp_path / "vochi" / "config.toml", pbx.ports.fastagi
    await shell(f"vochi-agent -c {target} init --yes --pbx {etc} --country BY --address 127.0.0.1:{port}")
    for command in readme_commands((target.parent / "asterisk" / "README.txt").read_text())[:-1]:
        assert (await shell(command))[0] == 0

    assert (await lines.call(DID, CALLER, hold_s=0.1)).code == 200
    assert lines.invites("101")[0].display_name == ""
    assert (await lines.call("375170000009", CALLER)).code == 404

    await pbx.set_global("VOCHI_ALIVE_a", "9999999999")
    async with FastAgi(port, {"CALLERID(name)": "Ромашка", "VOCHI_STATUS": "ok", "VOCHI_BLACKLISTED": "0"}):
        assert (await lines.call(DID, CALLER, hold_s=0.1)).code == 200
    assert lines.invites("101")[1].display_name == "Ромашка"
    async with FastAgi(port, {"VOCHI_STATUS": "blocked", "VOCHI_BLACKLISTED": "1"}):
        assert (await lines.call(DID, CALLER)).code == 403
    async with FastAgi(port, mute=True), pbx.manager() as manager:
        assert (await lines.call(DID, CALLER, patience_s=0.5)).ended == "gave_up"
        await manager.wait_for(is_event("UserEvent", UserEvent="HisOwnEnd", Number=CALLER))
    assert len(lines.invites("101")) == 2


async def test_a_pbx_whose_files_cannot_be_read_is_asked_over_ami_and_ari(pbx: Asterisk, tmp_path: Path) -> None:
    """With an administrator's users; what they do not tell is said to be unknown."""
    shell = Shell(tmp_path / "bin", pbx)
    (tmp_path / "secret").write_text(f"{pbx.secret}\n")
    ami = f"--ami 127.0.0.1:{pbx.ports.ami} --ami-username lab --ami-secret-file {tmp_path}/secret"
    ari = f"--ari http://127.0.0.1:{pbx.ports.http} --ari-username lab --ari-password-file {tmp_path}/secret"
    wide = f"vochi-agent -c {tmp_path}/a/config.toml init --yes --country BY --pbx {tmp_path}/none {ami}"
    narrow = f"vochi-agent -c {tmp_path}/b/config.toml init --yes --country BY --pbx {tmp_path}/none {ari}"

    code, said = await shell(wide)
    assert code == 0, said
    assert "2 lines, 11 telephones" in said
    readme = (tmp_path / "a" / "asterisk" / "pjsip_vochi.conf").read_text()
    assert "; gsm1: give its endpoint context = vochi-from-gsm1" in readme
    assert "GoSub(vochi-own,s,1(gsm1,from-trunk," in (tmp_path / "a" / "asterisk" / "extensions_vochi.conf").read_text()

    code, said = await shell(narrow)
    assert code == 0, said
    assert "0 lines, 11 telephones" in said
    assert "PJSIP/gsm1 is left out: a line (--line PJSIP/gsm1)" in said
    assert pbx.secret not in said
