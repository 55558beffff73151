"""Whatever a telephone line delivers as a caller is text: it is answered, it breaks nothing, and the call goes on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.daemon import DaemonProcess
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.required import require
from tests.support.sipp import Sipp
from tests.support.world import World, world_around
from vochi_agent.protocols.agi_pbx import AgiCommandReader, encode_reply

STRANGER_SHOWS = "МТС Центр | Салон 1"
HOSTILE = {
    "an AGI command": b'1"\nEXEC System "id"\nSET VARIABLE VOCHI_STATUS "ok',
    "an environment of its own": b"1\nagi_arg_1: 0902\nagi_dnid: 9",
    "quotes and brackets": b'"\'`<>|\\\\" <sip:1@x>',
    "SQL": b"'; DROP TABLE customers; --",
    "a dialplan expression": b"${SHELL(id)}$[1+1]",
    "ten kilobytes": "Щ".encode() * 5000,
    "ten kilobytes of digits": b"9" * 10_000,
    "invalid UTF-8": b"\xff\xfe\xc3\x28\x00",
    "cp1251": "Вася Пупкин".encode("cp1251"),
}


@pytest.fixture
async def daemon(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[DaemonProcess]:
    async with postgres.database() as dsn:
        daemon = DaemonProcess.of(tmp_path, ami_port=free_port(), secret="s", database=dsn)
        async with daemon:
            yield daemon


async def ask(port: int, number: bytes, name: bytes) -> list[list[str]]:
    """The commands that come back to an environment of these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"agi_network: yes\nagi_network_script: callerid\nagi_channel: PJSIP/gsm1-00000001\nagi_uniqueid: 1.1\n"
    tail = b"agi_dnid: 0001701\nagi_extension: 0001701\nagi_arg_1: 0901\nagi_arg_2: 0001701\n\n"
    writer.write(head + b"agi_callerid: " + number + b"\nagi_calleridname: " + name + b"\n" + tail)
    commands, said = AgiCommandReader(), []
    async with asyncio.timeout(5):
        while data := await reader.read(4096):
            if (words := commands.feed(data)) is not None:
                said.append(words)
                writer.write(encode_reply("1"))
    writer.close()
    return said


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_caller_is_answered_like_any_stranger(daemon: DaemonProcess, text: bytes) -> None:
    for number, name in ((text, b"unknown"), (b"375290000011", text), (text, text)):
        said = await ask(daemon.agi_port, number, name)

        assert all(words[:2] == ["SET", "VARIABLE"] and len(words) == 4 for words in said), said
        variables = {words[2]: words[3] for words in said}
        assert said[-1][2] == "VOCHI_STATUS"
        assert variables["CALLERID(name)"] == STRANGER_SHOWS
    log = daemon.log.read_bytes()
    assert b"Traceback" not in log
    assert all(line.isascii() or "Щ" not in line for line in log.decode().splitlines())
    assert await daemon.answers("/health/live")


# ---------------------------------------------------------------- through a real Asterisk


@pytest.fixture(params=["asterisk22", "asterisk16"])
async def asterisk(request: pytest.FixtureRequest) -> AsyncIterator[Asterisk]:
    async with Asterisk(require(request.param)) as instance:
        yield instance


@pytest.fixture
async def world(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    async with world_around(asterisk, sipp, postgres, tmp_path) as world:
        yield world


SENDERS = {
    "quotes": rb'"\"\\\"EXEC System id\\" <sip:375290000011@127.0.0.1>',
    "a command": b'"x" <sip:1%0aEXEC%20System%20id@127.0.0.1>',
    "a command in the number": b'"x" <sip:1%0aEXEC%20System%20id%0a@127.0.0.1>',
    "arguments": b'"x" <sip:1%0aagi_arg_1%3a%200902@127.0.0.1>',
    "an environment in the number": b'"x" <sip:1%0aagi_arg_1%3a%200902%0a%0a@127.0.0.1>',
    "SQL": b"\"'; DROP TABLE customers; --\" <sip:';DROP@127.0.0.1>",
    "a dialplan expression": b'"${SHELL(id)}" <sip:$EVAL(1)@127.0.0.1>',
    "cp1251": '"Вася" <sip:375290000011@127.0.0.1>'.encode("cp1251"),
    "invalid UTF-8": b'"\xff\xfe\xc3\x28" <sip:375290000011@127.0.0.1>',
    "two kilobytes": b'"' + "Щ".encode() * 1000 + b'" <sip:375290000011@127.0.0.1>',
}


@pytest.mark.asterisk
async def test_a_hostile_caller_rings_through_a_real_pbx(world: World) -> None:
    """One after the other; the telephone shows line and shop, or what Asterisk makes of such a number."""
    for what, sender in SENDERS.items():
        before = len(world.sipp.invites("101"))
        result = await world.sipp.call_from(sender, "0000101", hold_s=0.1)

        assert (result.code, len(world.sipp.invites("101"))) == (200, before + 1), what
        # An empty line in the number ends what Asterisk says of the call too early: no answer, and the call goes on.
        shown = "x" if "in the number" in what else STRANGER_SHOWS
        assert world.sipp.invites("101")[-1].display_name == shown, what
    assert await world.daemon.answers("/health/ready")
    log = world.daemon.log.read_text()
    assert "Traceback" not in log
    assert "EXEC System" not in log
    assert len(await world.cards(len(SENDERS))) == len(SENDERS)
