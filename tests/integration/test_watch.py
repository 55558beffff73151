"""`vochi-agent watch` as a process of its own, on a simulated PBX: in a pipe and on a terminal."""

import asyncio
import os
import pty
import signal
from collections.abc import AsyncIterator

import pytest

from tests.support.ami_peer import ami_peer
from tests.support.watching import WITHIN_S, interrupted, until_told, watching
from vochi_agent.protocols.ami import Message
from vochi_agent.simulator.pbx import Pbx, User

PHONES = {"150": "Первый Агент", "151": "Второй Агент", "152": ""}
CALLER = "+375290000022"
NUMBER = "💰+375 (29) 000-00-22"


@pytest.fixture
async def pbx() -> AsyncIterator[Pbx]:
    users = {"vochi": User(secret="s3cret")}
    async with asyncio.timeout(110), Pbx(phones=PHONES, trunks=["PJSIP/gsm1"], users=users, speed=20.0) as simulator:
        yield simulator


def answered(pbx: Pbx, **plan: object) -> asyncio.Task[str]:
    usual = {"trunk": "PJSIP/gsm1", "did": "0001701", "caller": CALLER, "ring": ["150", "151"], "answer": "150"}
    return asyncio.get_running_loop().create_task(pbx.inbound(**{**usual, **plan}))  # type: ignore[arg-type]


async def test_a_pipe_gets_each_state_of_a_call_without_colours(pbx: Pbx) -> None:
    async with watching(pbx.manager.port) as process:
        await until_told(process, "watching as vochi")
        await answered(pbx, talk_s=20)
        told = await until_told(process, "✅Успешный входящий звонок", "⌛ Длительность")
        code, rest, err = await interrupted(process)

    assert (code, err) == (0, "")
    assert "\x1b" not in told + rest
    cards = [card.strip() for card in told.split("\n\n")]
    assert f"{NUMBER} ➡️ Приветствие\nЛиния: gsm1" in cards
    assert f"📞 Входящий звонок\n{NUMBER} ➡️\n☎️Доб.150\n☎️Доб.151\nЛиния: gsm1" in cards
    assert f"🔗 Идет входящий разговор\n{NUMBER}📞 ➡️ ☎️Доб.150\nЛиния: gsm1" in cards
    assert told.count("✅Успешный входящий звонок") == 1


async def test_it_only_reads(pbx: Pbx) -> None:
    """Every action that the PBX was asked for."""
    asked: list[str] = []
    perform = pbx.manager.perform

    def noted(name: str, message: Message) -> object:
        asked.append(name)
        return perform(name, message)

    pbx.manager.perform = noted  # type: ignore[assignment]
    async with watching(pbx.manager.port) as process:
        await until_told(process, "watching as vochi")
        await answered(pbx)
        await until_told(process, "✅Успешный")
        await interrupted(process)

    assert set(asked) == {"ping", "coreshowchannels", "bridgelist"}
    assert pbx.switch.variables == {}


async def test_it_survives_a_cut_and_goes_on_with_the_calls_that_live(pbx: Pbx) -> None:
    async with watching(pbx.manager.port) as process:
        await until_told(process, "watching as vochi")
        call = answered(pbx, talk_s=1000)
        await until_told(process, "🔗 Идет входящий разговор")
        pbx.manager.disconnect()
        told = await until_told(process, "not connected", "watching as vochi")
        for channel in list(pbx.switch.channels.values())[:1]:
            pbx.hang_up(channel)
        await call
        told += await until_told(process, "Успешный входящий звонок", "Длительность")
        code, _, err = await interrupted(process)

    assert (code, err) == (0, "")
    assert "⌛ Длительность" in told


async def test_a_terminal_is_drawn_again_and_left_clean(pbx: Pbx) -> None:
    """Live cards stand in frames at the bottom, finished ones scroll; the secret is asked for and never echoed."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    async with watching(pbx.manager.port, "--user", "vochi", secret="", terminal=slave) as process:
        os.close(slave)
        shown = await until_shown(master, "AMI secret: ")
        os.write(master, b"s3cret\n")
        shown += await until_shown(master, "watching as vochi")
        call = answered(pbx, talk_s=60)
        shown += await until_shown(master, "🔗 Идет входящий разговор", "╭", "☎️Доб.150")
        await call
        shown += await until_shown(master, "✅Успешный входящий звонок")
        process.send_signal(signal.SIGINT)
        shown += await until_shown(master, "\x1b[?25h")
        async with asyncio.timeout(WITHIN_S):
            code = await process.wait()
    os.close(master)

    assert code == 0
    assert "s3cret" not in shown
    assert "\x1b[2K" in shown  # lines are erased and drawn again


async def until_shown(master: int, *pieces: str) -> str:
    text = b""
    async with asyncio.timeout(WITHIN_S):
        while not all(piece in text.decode(errors="ignore") for piece in pieces):
            try:
                text += os.read(master, 65536)
            except BlockingIOError:
                await asyncio.sleep(0.02)
    return text.decode(errors="ignore")


async def test_it_ends_when_nobody_reads_any_more(pbx: Pbx) -> None:
    """As in `vochi-agent watch --ami HOST | head -1`."""
    async with watching(pbx.manager.port) as process:
        await until_told(process, "watching as vochi")
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        await answered(pbx)
        async with asyncio.timeout(WITHIN_S):
            assert await process.wait() == 0


async def test_a_refused_secret_ends_it_with_a_sentence(pbx: Pbx) -> None:
    async with watching(pbx.manager.port, secret="wrong") as process, asyncio.timeout(WITHIN_S):
        out, err = await process.communicate()

    assert process.returncode == 3
    assert out == b""
    assert err.decode() == "AMI user 'vochi' is not let in (Login: Authentication failed)\n"


async def test_a_hostile_pbx_cannot_steer_the_terminal_by_its_refusal() -> None:
    async with ami_peer() as peer:
        peer.refusal = "no\x1b]0;title\x07\x9b2J"
        async with watching(peer.port) as process, asyncio.timeout(WITHIN_S):
            _, err = await process.communicate()

    assert process.returncode == 3
    assert err.decode().startswith("AMI user 'vochi' is not let in (Login: no")
    assert err.decode().rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--secret-file", "/nonexistent"), "--secret-file /nonexistent: cannot be read"),
        (("--ami", "a b"), "--ami 'a b'; allowed: a host with or without a port, such as 127.0.0.1:5038"),
        (("--trunk", "gsm1"), "--trunk 'gsm1'; allowed: technology and endpoint, such as PJSIP/gsm1"),
        (("--country", "Belarus"), "--country 'Belarus'; allowed: two capital letters, such as BY"),
        (("--timezone", "Minsk"), "--timezone 'Minsk'; allowed: a time zone, such as Europe/Minsk"),
    ],
)
async def test_bad_usage_is_a_sentence(pbx: Pbx, more: tuple[str, ...], said: str) -> None:
    async with watching(pbx.manager.port, *more) as process, asyncio.timeout(WITHIN_S):
        _, err = await process.communicate()

    assert process.returncode == 2
    assert said in err.decode()


async def test_nobody_there_is_said_at_once(pbx: Pbx) -> None:
    async with watching(pbx.manager.port, "--ami", "127.0.0.1:1") as process, asyncio.timeout(WITHIN_S):
        _, err = await process.communicate()

    assert process.returncode == 3
    assert "127.0.0.1:1 takes no connection" in err.decode()
