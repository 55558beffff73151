"""Many dialplans asking at once who calls: requests at an even rate, each timed from its connect to its end."""

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from vochi_agent.protocols.agi_pbx import AgiCommandReader, encode_environment, encode_reply

__all__ = ["Answered", "ask_at_rate", "percentile"]

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer.

    Attributes:
        seconds: From the connect until the server had closed, every variable set; 5 when it never did.
        commands: Variables set.
        status: VOCHI_STATUS, "" when it never came.
        named: Somebody was known.
    """

    seconds: float
    commands: int
    status: str
    named: bool


class _Dialplan(asyncio.Protocol):
    """One AGI(): sends the environment, takes one command after the other."""

    def __init__(self, environment: bytes, done: "asyncio.Future[None]") -> None:
        self.variables: dict[str, str] = {}
        self._environment = environment
        self._done = done
        self._reader = AgiCommandReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(self._environment)

    def data_received(self, data: bytes) -> None:
        if words := self._reader.feed(data):
            self.variables[words[2]] = words[3]
            self._transport.write(_OK)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


_OK = encode_reply("1")
_SERIAL = itertools.count(1)


@dataclass
class _Load:
    port: int
    answers: list[Answered] = field(default_factory=list)

    async def ask(self, caller: str) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        fields = {
            "network_script": "callerid",
            "channel": "PJSIP/gsm1-00000001",
            "callerid": caller,
            "uniqueid": f"1795165024.{next(_SERIAL)}",
            "dnid": "0001701",
            "extension": "0001701",
        }
        began = loop.time()
        _, dialplan = await loop.create_connection(
            lambda: _Dialplan(encode_environment(fields), done), "127.0.0.1", self.port
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await done
        said = dialplan.variables
        status, named = said.get("VOCHI_STATUS", ""), bool(said.get("VOCHI_NAME"))
        self.answers.append(Answered(loop.time() - began, len(said), status, named))


async def ask_at_rate(port: int, callers: Sequence[str], *, per_second: float, seconds: float) -> list[Answered]:
    """Ask for these callers in turn; returns when everybody has been answered."""
    loop, load = asyncio.get_running_loop(), _Load(port)
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(round(per_second * seconds)):
            await asyncio.sleep(max(0.0, began + number / per_second - loop.time()))
            group.create_task(load.ask(callers[number % len(callers)]), name="dialplan")
    return load.answers


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share stays below."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
