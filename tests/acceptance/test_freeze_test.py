"""`vochi-agent doctor --freeze-test` in front of a real Asterisk: what it proves, and that the daemon lives on."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.daemon import DaemonProcess

pytestmark = pytest.mark.asterisk


@pytest.fixture
async def daemon(pbx: Asterisk, tmp_path: Path) -> AsyncIterator[DaemonProcess]:
    """Its AMI user may do what the shipped one may, and originate."""
    daemon = DaemonProcess.of(
        tmp_path, ami_port=pbx.ports.ami, secret=pbx.secret, agi_port=pbx.ports.fastagi, database=NO_DATABASE
    )
    async with daemon:
        await may_originate(pbx)
        async with asyncio.timeout(15):
            while not await pbx.get_global("VOCHI_ALIVE_a"):
                await asyncio.sleep(0.05)
        yield daemon


# The freeze test is about the telephone; a database that is away costs it nothing.
NO_DATABASE = "postgresql://nobody@127.0.0.1:9/none"


async def may_originate(pbx: Asterisk) -> None:
    with (pbx.home / "etc" / "manager.conf").open("a") as file:
        file.write("\n[vochi](+)\nwrite = call,reporting,originate\n")
    await pbx.command("manager reload")


async def doctor(daemon: DaemonProcess, *arguments: str, typed: bytes = b"") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vochi_agent", "-c", str(daemon.config), "doctor", "--freeze-test", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, _ = await process.communicate(typed)
    assert process.returncode is not None
    return process.returncode, output.decode()


def seconds(output: str, state: str) -> float:
    """What the test says a call cost in one state."""
    (line,) = [line for line in output.splitlines() if f"{state}: the question costs a call" in line]
    return float(line.partition("costs a call ")[2].split()[0])


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.alone
async def test_the_shipped_dialplan_passes_and_the_daemon_goes_on(pbx: Asterisk, daemon: DaemonProcess) -> None:
    code, output = await doctor(daemon, "--yes")

    assert code == 0, output
    assert seconds(output, "running") < 0.5
    assert 1.5 < seconds(output, "just frozen") <= 2.2
    assert seconds(output, "known to be frozen") <= 0.1
    assert seconds(output, "going on") < 0.5
    assert state(daemon.pid) != "T"
    assert await daemon.answers("/health/live")
    assert await pbx.get_global("VOCHI_ALIVE_a")


async def test_a_dialplan_without_the_guard_is_found_out(asterisk: Asterisk, tmp_path: Path) -> None:
    """The administrator has taken the limit out of the subroutine: a call is held for as long as we are frozen."""
    dialplan = asterisk.home / "etc" / "vochi.conf"
    dialplan.write_text(dialplan.read_text().replace("Set(TIMEOUT(absolute)=${guard})", "NoOp()"))
    await asterisk.command("dialplan reload")
    daemon = DaemonProcess.of(
        tmp_path, ami_port=asterisk.ports.ami, secret=asterisk.secret, agi_port=asterisk.ports.fastagi,
        database=NO_DATABASE,
    )  # fmt: skip
    async with daemon:
        await may_originate(asterisk)
        async with asyncio.timeout(15):
            while not await asterisk.get_global("VOCHI_ALIVE_a"):
                await asyncio.sleep(0.05)
        code, output = await doctor(daemon, "--yes")

        assert code == 1, output
        assert "just frozen: a call was held" in output
        assert state(daemon.pid) != "T"


async def test_nothing_is_stopped_without_consent_or_the_right_to_originate(asterisk: Asterisk, tmp_path: Path) -> None:
    daemon = DaemonProcess.of(
        tmp_path, ami_port=asterisk.ports.ami, secret=asterisk.secret, agi_port=asterisk.ports.fastagi,
        database=NO_DATABASE,
    )  # fmt: skip
    async with daemon:
        declined, refusal = await doctor(daemon, typed=b"no\n")
        assert (declined, "Nothing was done" in refusal) == (1, True)

        code, output = await doctor(daemon, "--yes")
        assert code == 0
        assert "the AMI user 'vochi' may not originate" in output
        assert "unknown" in output
