"""`vochi-agent run` as sysadmins meet it: signals, systemd, a port that is taken."""

import asyncio
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.support import nameless
from tests.support.daemon import DaemonProcess, ask
from tests.support.ports import free_port
from vochi_agent.store.postmaster import running_server


async def name_shown(daemon: DaemonProcess) -> str:
    variables, _ = await ask(daemon.agi_port, "375290000011")
    return variables.get("CALLERID(name)", "")


async def until_log(daemon: DaemonProcess, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in daemon.log.read_text():
            await asyncio.sleep(0.02)


async def test_sighup_takes_new_lines_and_refuses_a_broken_configuration(tmp_path: Path) -> None:
    """What was broken changes nothing; what was mended counts from the next call on; the process stays the same."""
    daemon = DaemonProcess.of(tmp_path, ami_port=free_port(), secret="s")
    async with daemon:
        assert await name_shown(daemon) == "МТС Центр | Салон 1"
        good = daemon.config.read_text()

        daemon.config.write_text(good.replace('label = "МТС Центр"', 'labell = "МТС"'))
        os.kill(daemon.pid, signal.SIGHUP)
        await until_log(daemon, "the new configuration is refused")
        assert await name_shown(daemon) == "МТС Центр | Салон 1"

        daemon.config.write_text(good.replace('label = "МТС Центр"', 'label = "A1 Центр"'))
        os.kill(daemon.pid, signal.SIGHUP)
        await until_log(daemon, "are read again")
        assert await name_shown(daemon) == "A1 Центр | Салон 1"

        daemon.config.write_text(good.replace('instance = "a"', 'instance = "b"').replace('"0901"', '"0902"'))
        os.kill(daemon.pid, signal.SIGHUP)
        await until_log(daemon, "counts after a restart: daemon.instance, enterprises[0901], enterprises[0902]")
        assert await name_shown(daemon) == "МТС Центр | Салон 1"


async def test_sighup_while_the_daemon_starts_is_obeyed_as_soon_as_it_can_be(tmp_path: Path) -> None:
    daemon = DaemonProcess.of(tmp_path, ami_port=free_port(), secret="s")
    daemon.log.touch()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(daemon.start(), name="start")
        await until_log(daemon, "FastAGI listens")
        os.kill(daemon.pid, signal.SIGHUP)
        await until_log(daemon, "are read again")
    assert await daemon.stop() == 0


async def test_systemd_is_told_that_it_is_ready_alive_and_stopping(tmp_path: Path) -> None:
    """READY when FastAGI answers, WATCHDOG while it does, STATUS in words, STOPPING at the end."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(0)
        daemon = DaemonProcess.of(tmp_path / "daemon", ami_port=free_port(), secret="s")
        daemon.environment |= {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "2000000"}
        told = ""
        async with daemon:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(15):
                while told.count("WATCHDOG=1") < 2:
                    told += (await loop.sock_recv(systemd, 4096)).decode() + "\n"
            assert await daemon.stop() == 0
            async with asyncio.timeout(5):
                while "STOPPING=1" not in told:
                    told += (await loop.sock_recv(systemd, 4096)).decode() + "\n"

    assert told.index("READY=1") < told.index("WATCHDOG=1") < told.index("STOPPING=1")
    assert "STATUS=waiting for" in told


async def test_systemd_is_told_when_a_reload_begins_and_is_over_also_a_refused_one(tmp_path: Path) -> None:
    """RELOADING with the time it began at, then READY, without which `systemctl reload` would wait for ever."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(0)
        daemon = DaemonProcess.of(tmp_path / "daemon", ami_port=free_port(), secret="s")
        daemon.environment |= {"NOTIFY_SOCKET": str(address)}
        loop = asyncio.get_running_loop()

        async def told(wanted: str) -> str:
            async with asyncio.timeout(15):
                while not (message := (await loop.sock_recv(systemd, 4096)).decode()).startswith(wanted):
                    pass
            return message

        async with daemon:
            await told("READY=1")
            os.kill(daemon.pid, signal.SIGHUP)
            assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", await told("RELOADING=1"))
            assert await told("READY=1") == "READY=1\nSTATUS=lines, agents and chats are read again"

            daemon.config.write_text("[broken")
            os.kill(daemon.pid, signal.SIGHUP)
            await told("RELOADING=1")
            assert await told("READY=1") == "READY=1\nSTATUS=the new configuration is refused, the old one stays"


async def test_an_embedded_postgresql_that_does_not_start_is_two_lines_however_often_tried(tmp_path: Path) -> None:
    daemon = DaemonProcess.of(tmp_path, ami_port=free_port(), secret="s")
    daemon.config.write_text(daemon.config.read_text().replace("[log]", '[log]\nlevel = "debug"'))
    data = tmp_path / "state" / "postgres" / "data"
    async with daemon:
        server = running_server(data)
        assert server is not None
        (data / "postgresql.conf").rename(data / "away")
        os.kill(server.pid, signal.SIGQUIT)
        async with asyncio.timeout(20):
            while daemon.log.read_text().count("PostgreSQL did not start") < 3:
                await asyncio.sleep(0.02)
        (data / "away").rename(data / "postgresql.conf")
        await until_log(daemon, "the embedded PostgreSQL is back after")
        await until_log(daemon, "PostgreSQL is back after")

    told = [line for line in daemon.log.read_text().splitlines() if "WARNING" in line and "embedded" in line]
    assert len(told) == 2, told


async def test_an_address_that_the_driver_cannot_read_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    """It shows when the daemon is at work already."""
    address = "postgresql://vochi@127.0.0.1:1/vochi?sslmode=sometimes"
    daemon = DaemonProcess.of(tmp_path, ami_port=free_port(), secret="s", database=address)

    code, said = await daemon.run_to_end()

    assert code == 2
    assert said.splitlines()[-1].startswith("database.url: `sslmode`")
    assert "Exception Group" not in said


@pytest.mark.skipif(not nameless.is_possible(), reason="needs root, and mounts of its own")
async def test_silent_name_servers_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """Three of them answer nobody for half a minute, which a thread of the C library waits for to the end."""
    daemon = DaemonProcess.of(tmp_path, ami_port=free_port(), secret="s", crm_url="http://crm.example")
    daemon.module = "tests.support.nameless"
    async with daemon:
        assert await name_shown(daemon) == "МТС Центр | Салон 1"
        assert await daemon.stop() == 0


@pytest.mark.parametrize("door", ["agi_port", "http_port"])
async def test_a_port_that_is_taken_is_named_with_its_holder(tmp_path: Path, door: str) -> None:
    """A plain sentence, exit code 2, no traceback."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        daemon = DaemonProcess.of(tmp_path, ami_port=free_port(), secret="s", **{door: port})

        code, said = await daemon.run_to_end()

    assert code == 2
    assert f"127.0.0.1:{port}" in said or f"port {port}" in said
    assert f"pid {os.getpid()}" in said
    assert "Traceback" not in said
