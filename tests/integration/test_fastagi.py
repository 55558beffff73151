"""The FastAGI server over real sockets: what Asterisk gets, when, and what a bad peer costs."""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from vochi_agent.asterisk.fastagi import FastAgiServer, Script
from vochi_agent.errors import PortTaken
from vochi_agent.protocols.agi import AgiRequest
from vochi_agent.protocols.agi_pbx import encode_environment, encode_reply, encode_usage_error, split_command

LOOPBACK = (ip_network("127.0.0.0/8"),)
ANSWER = {"VOCHI_STATUS": "ok", "CALLERID(name)": 'ООО "Ромашка"', "VOCHI_PHONE": "+375290000001"}


def fallback(request: AgiRequest, status: str) -> Mapping[str, str]:
    return {"VOCHI_STATUS": status, "VOCHI_PHONE": request.caller_number}


async def known(request: AgiRequest, cut: float) -> Mapping[str, str]:
    return ANSWER


class Gate:
    """A script that waits until it is let go, and tells how it ended."""

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, request: AgiRequest, cut: float) -> Mapping[str, str]:
        """Wait."""
        self.entered.release()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return ANSWER


@asynccontextmanager
async def serving(
    answer: Callable[[AgiRequest, float], Awaitable[Mapping[str, str]]] = known,
    *,
    deadline_s: float = 5.0,
    allow: str = "127.0.0.0/8",
    max_sessions: int = 1000,
    observe: Callable[[float], None] | None = None,
) -> AsyncIterator[FastAgiServer]:
    server = FastAgiServer(
        "127.0.0.1",
        0,
        scripts={"callerid": Script(answer, fallback)},
        allow=[ip_network(allow)],
        deadline_s=deadline_s,
        max_sessions=max_sessions,
        observe=observe,
    )
    async with asyncio.timeout(20), server:
        yield server
    assert server.stats.in_flight == 0
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("agi-")] == []


class Asterisk:
    """A connection as Asterisk would make it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, script: str = "callerid", **fields: str) -> None:
        """Send the environment."""
        self.writer.write(encode_environment({"network_script": script, **fields}, ["0901"]))

    async def command(self) -> list[str]:
        """The words of the next command."""
        line = await self.reader.readline()
        assert line.endswith(b"\n"), "the server closed"
        return split_command(line.decode().rstrip("\n"))

    async def variables(self, reply: bytes = encode_reply("1")) -> dict[str, str]:
        """Acknowledge every command until the server closes."""
        values: dict[str, str] = {}
        while line := await self.reader.readline():
            verb, noun, name, value = split_command(line.decode().rstrip("\n"))
            assert (verb, noun) == ("SET", "VARIABLE")
            values[name] = value
            self.writer.write(reply)
        return values

    async def end(self) -> bytes:
        """Everything until the server closes or resets."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""

    def reset(self) -> None:
        """Vanish with a TCP reset."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def asterisk(server: FastAgiServer) -> AsyncIterator[Asterisk]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Asterisk(reader, writer)
    finally:
        writer.close()


async def ask(server: FastAgiServer, script: str = "callerid", **fields: str) -> dict[str, str]:
    async with asterisk(server) as pbx:
        pbx.ask(script, **fields)
        return await pbx.variables()


async def test_an_answer_sets_every_variable_with_the_status_last() -> None:
    durations: list[float] = []
    async with serving(observe=durations.append) as server:
        values = await ask(server)

        assert values == ANSWER
        assert list(values)[-1] == "VOCHI_STATUS"
        assert (server.stats.requests, server.stats.answered) == (1, 1)
        assert len(durations) == 1
        assert durations[0] == server.stats.seconds > 0


async def test_the_script_sees_what_asterisk_sent_and_when_it_will_be_cut() -> None:
    seen: list[tuple[AgiRequest, float]] = []

    async def answer(request: AgiRequest, cut: float) -> Mapping[str, str]:
        seen.append((request, cut - asyncio.get_running_loop().time()))
        return {}

    async with serving(answer, deadline_s=1.5) as server:
        await ask(server, callerid="375290000001", dnid="0001701")

    ((request, left),) = seen
    assert (request.caller_number, request.dnid, request.arguments) == ("375290000001", "0001701", ("0901",))
    assert 1.0 < left < 1.5


async def test_a_command_waits_for_the_reply_to_the_one_before() -> None:
    async with serving() as server, asterisk(server) as pbx:
        pbx.ask()
        first = await pbx.command()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await pbx.reader.read(1)
        pbx.writer.write(encode_reply("1"))

        assert first[2] == "CALLERID(name)"
        assert (await pbx.command())[2] == "VOCHI_PHONE"


async def test_an_environment_may_come_byte_by_byte() -> None:
    async with serving() as server, asterisk(server) as pbx:
        for byte in encode_environment({"network_script": "callerid", "calleridname": "Ёлка"}):
            pbx.writer.write(bytes([byte]))
            await pbx.writer.drain()

        assert (await pbx.variables())["VOCHI_STATUS"] == "ok"


async def test_a_late_script_is_answered_for_in_time_and_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    async with serving(gate, deadline_s=0.4) as server:
        started = asyncio.get_running_loop().time()
        values = await ask(server, callerid="375290000001")
        took = asyncio.get_running_loop().time() - started
        await gate.cancelled.wait()
        await ask(server)

        assert values == {"VOCHI_PHONE": "375290000001", "VOCHI_STATUS": "timeout"}
        assert 0.2 < took < 0.4
        assert server.stats.deadline_misses == 2
    late = [record for record in caplog.records if getattr(record, "action", "") == "agi_late"]
    assert len(late) == 1


async def test_a_script_that_ignores_its_cancellation_is_not_waited_for_and_answers_once() -> None:
    release = asyncio.Event()

    async def stubborn(request: AgiRequest, cut: float) -> Mapping[str, str]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            release.set()
        return ANSWER

    async with serving(stubborn, deadline_s=0.3) as server:
        assert (await ask(server))["VOCHI_STATUS"] == "timeout"
        await release.wait()
        assert server.stats.answered == 1


async def test_the_end_of_lateness_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gate = Gate()
    async with serving(gate, deadline_s=0.3) as server:
        await ask(server)
        gate.release.set()
        await ask(server)

    actions = [getattr(record, "action", "") for record in caplog.records]
    assert actions == ["agi_listen", "agi_late", "agi_in_time"]


async def test_a_script_that_fails_is_logged_and_the_call_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: AgiRequest, cut: float) -> Mapping[str, str]:
        raise KeyError("boom")

    async with serving(broken) as server:
        assert await ask(server, callerid="7") == {"VOCHI_PHONE": "7", "VOCHI_STATUS": "error"}
        assert await ask(server, callerid="8") == {"VOCHI_PHONE": "8", "VOCHI_STATUS": "error"}
        assert server.stats.errors == 2
    assert "KeyError: 'boom'" in caplog.text


async def test_an_answer_that_cannot_be_sent_is_an_error_and_not_half_an_answer() -> None:
    async def wrong(request: AgiRequest, cut: float) -> Mapping[str, str]:
        return {"VOCHI_PHONE": "+375290000001", "bad name": "x", "VOCHI_STATUS": "ok"}

    async with serving(wrong) as server:
        assert (await ask(server))["VOCHI_STATUS"] == "error"


async def test_a_fallback_that_fails_still_gives_a_status() -> None:
    async def broken(request: AgiRequest, cut: float) -> Mapping[str, str]:
        raise RuntimeError

    def worse(request: AgiRequest, status: str) -> Mapping[str, str]:
        raise RuntimeError

    server = FastAgiServer("127.0.0.1", 0, scripts={"callerid": Script(broken, worse)}, allow=LOOPBACK, deadline_s=1.0)
    async with asyncio.timeout(10), server:
        assert await ask(server) == {"VOCHI_STATUS": "error"}
        assert server.stats.errors == 2


@pytest.mark.parametrize("script", ["nonsense", "", "../callerid", "CALLERID"])
async def test_an_unknown_script_is_an_error_and_the_call_goes_on(script: str) -> None:
    async with serving() as server:
        assert await ask(server, script) == {"VOCHI_STATUS": "error"}
        assert server.stats.errors == 1


async def test_a_variable_that_asterisk_refuses_does_not_shift_the_next_ones() -> None:
    async with serving() as server, asterisk(server) as pbx:
        pbx.ask()
        await pbx.command()
        pbx.writer.write(encode_usage_error("Usage: SET VARIABLE <variablename> <value>"))
        names = [(await pbx.command())[2]]
        pbx.writer.write(b"510 Invalid or unknown command\n")
        names.append((await pbx.command())[2])
        pbx.writer.write(encode_reply("1"))

        assert names == ["VOCHI_PHONE", "VOCHI_STATUS"]
        assert await pbx.end() == b""
        assert server.stats.rejected_commands == 2


@pytest.mark.parametrize("farewell", ["hangup", "close", "reset"])
async def test_a_caller_who_hangs_up_cancels_the_work(farewell: str) -> None:
    gate = Gate()
    async with serving(gate) as server, asterisk(server) as pbx:
        pbx.ask()
        await gate.entered.acquire()
        if farewell == "hangup":
            pbx.writer.write(b"HANGUP\n")
            assert await pbx.end() == b""
        elif farewell == "close":
            pbx.writer.close()
        else:
            pbx.reset()
        await gate.cancelled.wait()
    assert (server.stats.hangups, server.stats.answered) == (1, 0)


@pytest.mark.parametrize("farewell", ["hangup", "close", "reset"])
async def test_a_caller_who_hangs_up_between_two_variables_gets_no_more(farewell: str) -> None:
    async with serving() as server, asterisk(server) as pbx:
        pbx.ask()
        await pbx.command()
        if farewell == "hangup":
            pbx.writer.write(b"HANGUP\n")
            assert await pbx.end() == b""
        elif farewell == "close":
            pbx.writer.close()
        else:
            pbx.reset()
    assert (server.stats.hangups, server.stats.answered) == (1, 0)


async def test_ports_scans_cost_nothing_and_the_next_caller_is_served() -> None:
    async with serving() as server:
        for goodbye in ("close", "reset") * 20:
            async with asterisk(server) as pbx:
                if goodbye == "reset":
                    pbx.reset()
        for beginning in (b"", b"agi_net", b"agi_network: yes\nagi_callerid: 37529"):
            async with asterisk(server) as pbx:
                pbx.writer.write(beginning)

        assert (await ask(server))["VOCHI_STATUS"] == "ok"
    assert (server.stats.requests, server.stats.hangups, server.stats.broken) == (1, 0, 0)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HANGUP\n",
        b"520-Invalid command syntax.\n520 End\n",
        b"agi_a: " + b"x" * 100_000,
        b"agi_a: 1\n" * 100,
        encode_environment({"network_script": "callerid"}) + b"hello\n",
        encode_environment({"network_script": "callerid"}) + encode_reply("1"),
    ],
)
async def test_garbage_ends_its_own_session_at_once(garbage: bytes) -> None:
    gate = Gate()
    async with serving(gate) as server:
        async with asterisk(server) as pbx:
            pbx.writer.write(garbage)
            assert await pbx.end() == b""
        gate.release.set()

        assert server.stats.broken == 1
        assert (await ask(server))["VOCHI_STATUS"] == "ok"


@pytest.mark.parametrize("beginning", [b"", b"agi_network: yes\nagi_call"])
async def test_a_silent_peer_is_dropped_at_the_deadline(beginning: bytes) -> None:
    async with serving(deadline_s=0.3) as server, asterisk(server) as pbx:
        pbx.writer.write(beginning)
        assert await pbx.end() == b""
        assert server.stats.broken == 1


async def test_a_peer_that_never_ends_its_environment_is_dropped_after_two_seconds() -> None:
    async with serving(deadline_s=60.0) as server, asterisk(server) as pbx:
        started = asyncio.get_running_loop().time()
        pbx.writer.write(b"agi_network: yes\n")
        assert await pbx.end() == b""
        assert 1.9 < asyncio.get_running_loop().time() - started < 3.0


async def test_a_peer_that_does_not_acknowledge_is_dropped_at_the_deadline() -> None:
    async with serving(deadline_s=0.3) as server, asterisk(server) as pbx:
        pbx.ask()
        await pbx.command()
        assert await pbx.end() == b""
        assert (server.stats.broken, server.stats.answered) == (1, 0)


async def test_an_address_that_is_not_allowed_is_closed_before_it_says_anything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(allow="10.0.0.0/8") as server:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.7", 0))
            assert await Asterisk(reader, writer).end() == b""
            writer.close()
        assert (server.stats.refused, server.stats.requests) == (3, 0)
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "FastAGI refuses 127.0.0.7, which fastagi.allow does not name"
    ]


async def test_an_allowed_address_that_is_not_ours_is_served() -> None:
    async with serving(allow="127.0.0.7/32") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.7", 0))
        pbx = Asterisk(reader, writer)
        pbx.ask()
        assert (await pbx.variables())["VOCHI_STATUS"] == "ok"
        writer.close()


async def test_connections_beyond_the_limit_are_closed_at_once_and_room_comes_back() -> None:
    gate = Gate()
    async with serving(gate, max_sessions=2) as server:
        async with asterisk(server) as first, asterisk(server) as second:
            first.ask()
            await gate.entered.acquire()
            second.ask()
            await gate.entered.acquire()
            async with asterisk(server) as third:
                assert await third.end() == b""
            gate.release.set()
            assert (await first.variables())["VOCHI_STATUS"] == "ok"
            assert (await second.variables())["VOCHI_STATUS"] == "ok"

        assert server.stats.overflows == 1
        assert (await ask(server))["VOCHI_STATUS"] == "ok"


async def test_two_hundred_calls_at_once_all_get_their_own_answer() -> None:
    async def echo(request: AgiRequest, cut: float) -> Mapping[str, str]:
        return {"VOCHI_PHONE": request.caller_number, "VOCHI_STATUS": "ok"}

    async with serving(echo) as server:
        answers = await asyncio.gather(*(ask(server, callerid=str(number)) for number in range(200)))

        assert [answer["VOCHI_PHONE"] for answer in answers] == [str(number) for number in range(200)]
        assert server.stats.answered == 200


async def test_closing_lets_the_answer_in_hand_finish_and_takes_no_new_one() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        async with serving(gate) as server:
            pbx = Asterisk(*await asyncio.open_connection("127.0.0.1", server.port))
            pbx.ask()
            await gate.entered.acquire()
            answer = tasks.create_task(pbx.variables())
            asyncio.get_running_loop().call_soon(gate.release.set)
        assert (await answer)["VOCHI_STATUS"] == "ok"
        pbx.writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)


async def test_a_failure_of_the_daemon_does_not_wait_for_callers() -> None:
    gate = Gate()

    async def fail_while_a_caller_waits() -> None:
        async with serving(gate, deadline_s=60.0) as server, asterisk(server) as pbx:
            pbx.ask()
            await gate.entered.acquire()
            raise LookupError

    with pytest.raises(LookupError):
        await fail_while_a_caller_waits()
    assert gate.cancelled.is_set()


async def test_a_taken_port_is_named_with_its_holder() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        server = FastAgiServer("127.0.0.1", port, scripts={}, allow=LOOPBACK, deadline_s=1.0)

        with pytest.raises(PortTaken, match=rf"FastAGI cannot listen on 127\.0\.0\.1:{port}: .*pid {os.getpid()}"):
            await server.__aenter__()


async def test_the_probe_says_whether_the_door_is_open() -> None:
    async with serving(allow="10.0.0.0/8") as server:
        assert await server.probe(2.0)
        assert (server.stats.requests, server.stats.answered) == (0, 0)
    assert not await server.probe(2.0)


async def test_the_probe_fails_when_there_is_no_room() -> None:
    gate = Gate()
    async with serving(gate, max_sessions=1) as server, asterisk(server) as pbx:
        pbx.ask()
        await gate.entered.acquire()
        assert not await server.probe(2.0)
        gate.release.set()
        assert (await pbx.variables())["VOCHI_STATUS"] == "ok"
