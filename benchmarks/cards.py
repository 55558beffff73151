"""How long after the last Hangup of a call Telegram has its card, at twenty calls a second.

    python -m benchmarks.cards [--seconds 20] [--rate 20]

PBX and Telegram are played by this process on real sockets with Telegram's real limits, the daemon is a process of its
own beside a durable PostgreSQL. A bot may write thirty times a second, so its chats are shown finished calls only; each
line has a chat of its own, so that no chat is told more than it may be. The time begins when the Hangup is about to be
written to the AMI connection and ends when the Bot API takes the card, both by one clock.
"""

import argparse
import asyncio
import itertools
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.row import Reach, Row
from benchmarks.support.database import durable_server
from tests.support.daemon import DaemonProcess
from tests.support.ports import free_ports
from vochi_agent.simulator.pbx import Pbx, User
from vochi_agent.simulator.pbx_channels import Headers
from vochi_agent.simulator.telegram import SandboxMessage, TelegramSandbox

LINES: Final = 100
FIRST_CHAT: Final = -1001000000000
EXTENSIONS: Final = tuple(map(str, range(101, 151)))
FIRST_CALLER: Final = 375290000000
CALLER: Final = re.compile(r"37529\d{7}")
# aiogram is imported, pools are filled. What waited for that has to be through: a bot makes no more than 25 requests a
# second, so of a pile nothing would be gone before the end.
WARM_UP_S: Final = 3.0
LAST_CARD_S: Final = 120.0
MEDIAN_MS: Final = Reach(at_most=50)
P99_MS: Final = Reach(at_most=200)


@dataclass
class Seen:
    """What happened when, by the monotonic clock; calls are known by their callers."""

    hung_up: dict[str, float] = field(default_factory=dict)
    accepted: dict[str, float] = field(default_factory=dict)
    took: asyncio.Event = field(default_factory=asyncio.Event)

    def event(self, headers: Headers) -> None:
        """The PBX is about to say something."""
        said = dict(headers)
        if said["Event"] == "Hangup" and (caller := CALLER.search(f"{said['CallerIDNum']} {said['ConnectedLineNum']}")):
            self.hung_up[caller[0]] = time.monotonic()

    def card(self, message: SandboxMessage) -> None:
        """The Bot API took a card."""
        if caller := CALLER.search(re.sub(r"\D", "", message.text)):
            self.accepted.setdefault(caller[0], time.monotonic())
            self.took.set()


async def main(seconds: float, rate: float) -> None:
    """Measure and print the rows."""
    seen = Seen()
    with durable_server() as (server, folder):
        await server.make_template()
        async with (
            server.database() as dsn,
            TelegramSandbox() as telegram,
            Pbx(phones=dict.fromkeys(EXTENSIONS, ""), trunks=["PJSIP/gsm"], users={"vochi": User(secret="s")}) as pbx,
        ):
            telegram.limited = True
            telegram.on_message = seen.card
            for line in range(LINES):
                telegram.add_chat(FIRST_CHAT - line)
            _listen(pbx, seen)
            async with _daemon(folder, dsn, pbx.manager.port, telegram.url) as daemon:
                await daemon.until_ready(within=60)
                callers = itertools.count(FIRST_CALLER)
                print("warming up", file=sys.stderr)
                await _place(pbx, callers, rate, min(WARM_UP_S, seconds))
                first = next(callers)
                await _told(seen, [str(caller) for caller in range(FIRST_CALLER, first)])
                print(f"{rate:g} calls a second for {seconds:g} s", file=sys.stderr)
                before = _cpu_s(daemon.pid)
                await _place(pbx, callers, rate, seconds)
                cpu_s = _cpu_s(daemon.pid) - before
                measured = [str(caller) for caller in range(first + 1, next(callers))]
                await _told(seen, measured)
    waits = sorted(1000 * (seen.accepted[caller] - seen.hung_up[caller]) for caller in measured)
    for row in _rows(waits, rate, cpu_s, telegram.refused):
        print(row.to_json(), flush=True)


def _rows(waits: Sequence[float], rate: float, cpu_s: float, refused: int) -> Iterator[Row]:
    details = {
        "calls": len(waits),
        "calls_per_s": rate,
        "chats": LINES,
        "max_ms": waits[-1],
        "refused_by_telegram": refused,
        "daemon_cpu_ms_a_call": 1000 * cpu_s / len(waits),
    }
    median, p99 = statistics.median(waits), waits[min(len(waits) - 1, int(len(waits) * 0.99))]
    for share, figure, reach in (("median", median, MEDIAN_MS), ("p99", p99, P99_MS)):
        yield Row(
            work=f"hangup → card accepted, {share}",
            ours=f"{figure:.0f} ms",
            figure=round(figure, 1),
            unit="ms",
            reach=reach,
            details=details,
        )


def _cpu_s(pid: int) -> float:
    """Seconds of processor that a process has had, its children's left out (proc(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _listen(pbx: Pbx, seen: Seen) -> None:
    """Hear each event just before it is written."""
    publish = pbx.manager.publish

    def heard(event_class: str, headers: Headers) -> None:
        seen.event(headers)
        publish(event_class, headers)

    pbx.manager.publish = heard  # type: ignore[method-assign]


async def _place(pbx: Pbx, callers: Iterator[int], rate: float, seconds: float) -> None:
    """Calls at an even rate, until the last one has ended; every fourth is missed."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as calls:
        for number in range(max(1, round(rate * seconds))):
            await asyncio.sleep(began + number / rate - loop.time())
            caller = next(callers)
            extension = EXTENSIONS[number % len(EXTENSIONS)]
            calls.create_task(
                pbx.inbound(
                    trunk="PJSIP/gsm",
                    did=_line(caller % LINES),
                    caller=str(caller),
                    ring=[extension],
                    answer=extension if number % 4 else "",
                    after_s=0.1,
                    talk_s=0.2,
                    timeout_s=0.3,
                ),
                name="a call",
            )


async def _told(seen: Seen, callers: Sequence[str]) -> None:
    """Wait for the card of every call.

    Raises:
        RuntimeError: some card never came.
    """
    try:
        async with asyncio.timeout(LAST_CARD_S):
            while not seen.accepted.keys() >= set(callers):
                seen.took.clear()
                await seen.took.wait()
    except TimeoutError:
        missing = len(set(callers) - seen.accepted.keys())
        raise RuntimeError(f"{missing} of {len(callers)} cards never came") from None


def _daemon(folder: Path, dsn: str, ami_port: int, telegram_url: str) -> DaemonProcess:
    agi_port, http_port = free_ports(2)
    path = folder / "config.toml"
    lines = "".join(
        f'[[enterprises.lines]]\nid = "{_line(line)}"\nendpoint = "PJSIP/gsm"\nnumber_rule = "+375{{9}}"\n'
        f'[[enterprises.chats]]\nid = {FIRST_CHAT - line}\nlines = ["{_line(line)}"]\nlive = false\n'
        for line in range(LINES)
    )
    path.write_text(f"""
[daemon]
state_dir = "{folder}/state"
[database]
url = "{dsn}"
[fastagi]
listen = "127.0.0.1:{agi_port}"
[http]
listen = "127.0.0.1:{http_port}"
[telegram]
token = "42:TEST"
api_url = "{telegram_url}"
[[enterprises]]
number = "0901"
name = "Ромашка"
country = "BY"
[enterprises.asterisk]
ami = "127.0.0.1:{ami_port}"
ami_username = "vochi"
ami_secret = "s"
{lines}
""")
    daemon = DaemonProcess(path, agi_port=agi_port, http_port=http_port)
    daemon.options = ()  # as people run it
    return daemon


def _line(number: int) -> str:
    return f"{1701000 + number:07}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second")
    arguments = parser.parse_args()
    uvloop.run(main(arguments.seconds, arguments.rate))
