"""The ten minutes from an ordinary PBX to the first named call, step by step as docs/getting-started.md tells them."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.bare_pbx import Shell, make_bare, readme_commands
from tests.support.fastagi import FastAgi
from tests.support.fetch import Tool
from tests.support.first_call import API_KEY, BOT_TOKEN, CALLER, CHAT, DID, PAGE, Newcomer, documented
from tests.support.machine import Machine
from tests.support.manager import is_event
from tests.support.packages import built, installed
from tests.support.required import machine
from tests.support.sipp import Sipp
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.telegram import TelegramSandbox

pytestmark = [pytest.mark.asterisk, pytest.mark.timeout(600)]  # with what has to be built and fetched first


class DebianShell:
    """Commands of root in a machine, in his home folder."""

    def __init__(self, debian: Machine) -> None:
        self._debian = debian

    async def __call__(self, command: str) -> tuple[int, str]:
        """As `Shell` has it."""
        done = await asyncio.to_thread(self._debian.run, "sh", "-euc", f"cd /root\n{command}", check=False)
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        return done.returncode, said

    @asynccontextmanager
    async def service(self, start: str) -> AsyncIterator[None]:
        """What `start` has systemd run; its journal is told with what fails."""
        code, said = await self(start)
        assert code == 0, said
        try:
            yield
        except AssertionError as error:
            error.add_note((await self("journalctl --unit vochi-agent --no-pager --output=cat"))[1])
            raise


@pytest.fixture
async def crm() -> AsyncIterator[RetailCrmSandbox]:
    async with RetailCrmSandbox(api_key=API_KEY) as sandbox:
        sandbox.add_customer(
            2003, first_name="Анна", last_name="Контактова", phones=["+375 29 000-00-33", "+375 29 000-00-11"]
        )
        sandbox.add_company(77, nick_name="Ромашка", contacts=[2003])
        yield sandbox


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramSandbox]:
    async with TelegramSandbox(token=BOT_TOKEN) as sandbox:
        sandbox.add_chat(CHAT)
        yield sandbox


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory)


async def test_ten_minutes_from_an_ordinary_pbx_to_the_first_named_call(
    pbx: Asterisk, lines: Sipp, programs: Path, crm: RetailCrmSandbox, telegram: TelegramSandbox, tmp_path: Path
) -> None:
    """With what pip installs: on the oldest with files as they are delivered, on the newest with empty ones."""
    etc = await make_bare(pbx, sections="16." in pbx.version)
    shell = Shell(tmp_path, pbx, vochi=shlex.quote(str(programs / "vochi-agent")))
    (tmp_path / "key").write_text(f"{API_KEY}\n")
    (tmp_path / "token").write_text(f"{BOT_TOKEN}\n")
    folder = tmp_path / "vochi-agent"
    newcomer = Newcomer(shell, pbx, crm, telegram, etc=str(etc), folder=str(folder), state=str(tmp_path / "state"))

    def without_systemd(start: str) -> AbstractAsyncContextManager[None]:
        assert start == "systemctl enable --now vochi-agent"
        return shell.running("vochi-agent run")

    await newcomer.installs()
    await newcomer.starts(without_systemd, lines)


async def test_the_debian_package_leads_to_the_first_named_call_by_the_same_steps(
    asterisk22_tool: Tool, sipp_tool: Tool, crm: RetailCrmSandbox, telegram: TelegramSandbox,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """On a Debian with a systemd of its own, whose /etc/asterisk is the PBX's; with the embedded database."""
    package = await asyncio.to_thread(built, "deb", "vochi-agent_*.deb", tmp_path_factory)
    # The service sees nothing of /tmp.
    async with Asterisk(asterisk22_tool, parent=Path("/srv")) as pbx, Sipp(sipp_tool, pbx.ports) as phones:
        etc = await make_bare(pbx)
        pbx.home.chmod(0o755)
        ours = {package.parent: "/dist", pbx.root: "/opt/asterisk"}
        with machine(ours, {pbx.home: str(pbx.home), etc: "/etc/asterisk"}) as debian:
            shell = DebianShell(debian)
            debian.write("/root/key", f"{API_KEY}\n")
            debian.write("/root/token", f"{BOT_TOKEN}\n")
            console = 'exec /opt/asterisk/bin/asterisk -C /etc/asterisk/asterisk.conf "$@"'
            debian.write("/usr/sbin/asterisk", f"#!/bin/sh\n{console}\n", 0o755)
            debian.run("dpkg", "--install", f"/dist/{package.name}")
            newcomer = Newcomer(shell, pbx, crm, telegram, etc="/etc/asterisk", folder="/etc/vochi-agent")

            await newcomer.installs()
            await newcomer.starts(shell.service, phones)


def test_the_page_in_russian_has_the_same_commands() -> None:
    assert documented(PAGE.with_suffix(".ru.md")) == documented(PAGE)


async def test_the_detour_changes_nothing_that_the_administrators_own_dialplan_does(
    pbx: Asterisk, lines: Sipp, tmp_path: Path
) -> None:
    """Without a daemon, with one that is mute, one that blocks; for numbers he has not; when the caller leaves."""
    etc = await make_bare(pbx)
    shell = Shell(tmp_path, pbx)
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
    shell = Shell(tmp_path, pbx)
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
