"""The plain pack's files in a real Asterisk, without a daemon: what they do with the answers that a test gives."""

import csv
import re
from pathlib import Path

import pytest

from tests.support.asterisk import SHIPPED, Asterisk
from tests.support.fastagi import FastAgi
from tests.support.fetch import Tool
from tests.support.manager import Manager, ManagerError, is_event
from tests.support.pack import configuration, install
from tests.support.sipp import Sipp

pytestmark = pytest.mark.asterisk

CALLER = "375290000022"


@pytest.fixture
async def pack(pbx: Asterisk, lines: Sipp, tmp_path: Path) -> Asterisk:
    """Nobody answers on the agent's address until the test does."""
    config = tmp_path / "config.toml"
    config.write_text(configuration(pbx, tmp_path))
    await install(pbx, config, tmp_path / "pack")
    await pbx.set_global("VOCHI_ALIVE_a", "9999999999")
    return pbx


def test_the_listed_modules_exist(asterisk22_tool: Tool) -> None:
    """In the newest; what an older one has not is said in the file."""
    assert asterisk22_tool.root is not None
    modules = {file.name for file in asterisk22_tool.root.rglob("*.so")}
    listed = re.findall("^load = (.*)", (SHIPPED / "modules.conf.example").read_text(), re.MULTILINE)

    assert set(listed) <= modules


async def test_an_agent_on_an_ipv6_address_is_asked(pbx: Asterisk, lines: Sipp, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    port = pbx.ports.fastagi
    config.write_text(configuration(pbx, tmp_path).replace(f'"127.0.0.1:{port}"', f'"[::1]:{port}"'))
    await install(pbx, config, tmp_path / "pack")
    await pbx.set_global("VOCHI_ALIVE_a", "9999999999")
    async with FastAgi(port, {"CALLERID(name)": "Ромашка", "VOCHI_STATUS": "ok"}, host="::1"):
        await lines.call("0001701", CALLER, hold_s=0.1)

    assert lines.invites("101")[0].display_name == "Ромашка"


# ---------------------------------------------------------------- who should ring first

OK = {"VOCHI_STATUS": "ok", "VOCHI_BLACKLISTED": "0"}


async def test_the_route_rings_for_its_seconds_then_the_ordinary_way(pack: Asterisk, lines: Sipp) -> None:
    """Line 0001701 has ring_s = 1; 103 does not answer."""
    async with FastAgi(pack.ports.fastagi, OK | {"VOCHI_ROUTE": "103"}):
        result = await lines.call("0001701", CALLER, hold_s=0.1)

    first, second = lines.invites()
    assert (first.number, second.number, result.code) == ("103", "101", 200)
    assert 0.9 < (second.at - first.at).total_seconds() < 1.5


async def test_a_route_that_leads_nowhere_is_the_ordinary_way_at_once(pack: Asterisk, lines: Sipp) -> None:
    """Not registered, unknown, a department, hostile."""
    async with FastAgi(pack.ports.fastagi) as server:
        for route in ("110", "199", "901", "1&PJSIP/103", "108@agents,1", "abc"):
            server.answer = OK | {"VOCHI_ROUTE": route}
            lines.forget()
            result = await lines.call("0001701", CALLER, hold_s=0.1)

            assert (route, [invite.number for invite in lines.invites()]) == (route, ["101"])
            assert result.ringing_s is not None
            assert result.ringing_s < 0.3


async def test_a_blocked_caller_leaves_a_mark_in_ami_and_in_cel(pack: Asterisk, lines: Sipp) -> None:
    """The shipped AMI user sees the one, the shipped columns hold the other."""
    blocked = {"VOCHI_STATUS": "blocked", "VOCHI_BLACKLISTED": "1"}
    async with FastAgi(pack.ports.fastagi, blocked), pack.manager("vochi") as manager:
        await lines.call("0001701", CALLER)
        await manager.wait_for(is_event("UserEvent", UserEvent="VochiMark", Reason="blocked"))

    await pack.until_written(pack.cel, "LINKEDID_END")
    with pack.cel.open(newline="") as file:
        marks = [row for row in csv.reader(file) if "VOCHI_MARK" in row]
    assert [row[19] for row in marks] == ["VOCHI_MARK"]
    assert "blocked" in marks[0][20]


async def test_the_ami_user_is_nobody_until_its_secret_is_there(pack: Asterisk) -> None:
    """The rendered manager.conf names a file for it: forgotten, nobody gets in (a reload would keep the old one)."""
    (pack.home / "etc" / "vochi-ami-secret.conf").unlink()
    await pack.stop()
    await pack.start()

    for secret in ("", "change-me", pack.secret):
        with pytest.raises(ManagerError):
            async with Manager(pack.ports.ami, "vochi", secret):
                pass
