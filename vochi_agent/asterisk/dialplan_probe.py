"""Calls that nobody hears: what the dialplan's question to us costs a call, measured by the PBX itself.

Uses [vochi-freeze-test] of the shipped dialplan: a Local channel runs the same guarded subroutine as every call and
reports by UserEvent. No telephone rings, no trunk is used.
"""

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from vochi_agent.config import AsteriskConfig
from vochi_agent.protocols.ami import Message

from .ami import AmiConnection, AmiPeer, connect
from .examine_ami import may

__all__ = ["Asked", "DialplanProbe", "dialplan_probe"]

CONTEXT: Final = "vochi-freeze-test"
REPORT: Final = "VochiFreezeTest"
SECONDS: Final = re.compile(r"-?\d{1,6}(\.\d{1,30})?")


@dataclass(frozen=True, slots=True)
class Asked:
    """How one question went.

    Attributes:
        seconds: From before the question until the call went on, by the PBX's clock.
        status: The VOCHI_STATUS that the call got; "" when nobody answered it.
    """

    seconds: float
    status: str


class DialplanProbe:
    """Places the calls; made by `dialplan_probe`."""

    def __init__(self, enterprise_number: str, connection: AmiConnection, reports: "_Reports") -> None:
        self._enterprise_number = enterprise_number
        self._connection = connection
        self._reports = reports
        self._token = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    async def allowed(self) -> bool:
        """Whether our AMI user may originate. Raises NotReachable."""
        return await may(self._connection, "Originate")

    async def ask(self, *, within_s: float) -> Asked | None:
        """One call; None when it did not get through the question in time, or the context is not loaded.

        Raises:
            NotReachable: the PBX does not answer.
            ActionFailed: it refuses.
        """
        test = f"{self._token}-{next(self._numbers)}"
        call = [
            ("Channel", f"Local/s@{CONTEXT}/n"),
            ("Application", "Wait"),
            ("Data", "1"),
            ("Variable", f"__VOCHI_FREEZE_TEST={test}"),
            ("Variable", f"__VOCHI_FREEZE_ENTERPRISE={self._enterprise_number}"),
            ("Async", "true"),
        ]
        with self._reports.awaited(test) as report:
            await self._connection.action("Originate", call)
            try:
                async with asyncio.timeout(within_s):
                    return await report
            except TimeoutError:
                return None


class _Reports:
    """What the calls tell, to whoever waits for it."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Asked]] = {}

    def receive(self, event: Message) -> None:
        if event.event != "UserEvent" or event.get("UserEvent") != REPORT:
            return
        waiting = self._waiting.get(event.get("Test"))
        if waiting is not None and not waiting.done() and SECONDS.fullmatch(event.get("Seconds")):
            waiting.set_result(Asked(float(event.get("Seconds")), event.get("Status")))

    @contextmanager
    def awaited(self, test: str) -> Iterator["asyncio.Future[Asked]"]:
        self._waiting[test] = asyncio.get_running_loop().create_future()
        try:
            yield self._waiting[test]
        finally:
            del self._waiting[test]


@asynccontextmanager
async def dialplan_probe(enterprise_number: str, config: AsteriskConfig) -> AsyncIterator[DialplanProbe]:
    """A probe with a connection of its own.

    Raises:
        NotReachable: nobody answers on the AMI address.
        LoginRefused: our user is not let in.
    """
    reports = _Reports()
    peer = AmiPeer(
        host=config.ami.host,
        port=config.ami.port,
        username=config.ami_username,
        secret=config.ami_secret.get_secret_value(),
    )
    async with connect(peer, on_event=reports.receive, wanted=("UserEvent",), clock=time.time) as connection:
        yield DialplanProbe(enterprise_number, connection, reports)
