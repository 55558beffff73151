"""What systemd is told, on a real datagram socket; the unit against systemd's own judge."""

import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from vochi_agent.lifetime import _report_period
from vochi_agent.systemd import Notifier

UNIT = Path(__file__).parents[2] / "systemd/vochi-agent.service"


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket like systemd's, and its address as in $NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@vochi-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inlet:
        inlet.bind("\0" + name[1:] if name.startswith("@") else name)
        inlet.settimeout(5)
        yield inlet, name


def test_systemd_hears_ready_status_watchdog_and_stopping(systemd: tuple[socket.socket, str]) -> None:
    inlet, address = systemd
    notifier = Notifier(address)

    notifier.ready("1 of 1 Asterisk\nconnected")
    notifier.status("no calls")
    notifier.watchdog()
    notifier.stopping()

    assert [inlet.recv(4096).decode() for _ in range(4)] == [
        "READY=1\nSTATUS=1 of 1 Asterisk connected",
        "STATUS=no calls",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_what_a_pbx_says_neither_steers_the_terminal_of_systemctl_nor_ends_us(
    systemd: tuple[socket.socket, str],
) -> None:
    inlet, address = systemd
    Notifier(address).status("waiting for ami: no\x1b]0;title\x07\nMAINPID=1 \ud800")

    assert inlet.recv(4096).decode() == "STATUS=waiting for ami: no\\x1b]0;title\\x07 MAINPID=1 \\ud800"


def test_a_reload_carries_the_monotonic_time(systemd: tuple[socket.socket, str]) -> None:
    inlet, address = systemd
    before = time.monotonic_ns() // 1000
    Notifier(address).reloading()

    match = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", inlet.recv(4096).decode())

    assert match
    assert before <= int(match[1]) <= time.monotonic_ns() // 1000


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    Notifier(None).watchdog()
    Notifier(str(tmp_path / "gone")).watchdog()


def settings() -> dict[str, str]:
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]\w+=", line))


def test_the_unit_restarts_without_limit_and_needs_nobody() -> None:
    unit = settings()

    assert (unit["Type"], unit["Restart"], unit["StartLimitIntervalSec"]) == ("notify", "always", "0")
    assert "asterisk.service" in unit["After"]
    assert not {"Requires", "BindsTo", "PartOf", "Sockets"} & unit.keys()
    assert int(unit["CPUWeight"]) < 100


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not on this machine")
def test_systemd_judges_the_sandbox_tight() -> None:
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    exposure = re.search(r"exposure level for vochi-agent\.service: ([\d.]+)", judged.stdout)

    assert exposure
    assert float(exposure[1]) <= 1.5


def test_the_watchdog_is_fed_twice_in_its_time() -> None:
    assert [_report_period(each) for each in (None, 30.0, 4.0)] == [5.0, 5.0, 2.0]
