"""Mixed calls of a small company, planned by a seed, and what must be written down of each."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.support.sipp import CallResult, Sipp

__all__ = ["CALLERS", "Kind", "Leg", "Traffic", "difference"]

Leg = tuple[str, str | None, str]
"""Direction, phone, status: a customer's call as the ledger has to have it."""

# Few enough that everybody calls several times; the first two are known to the CRM.
CALLERS: Final = ("375290000022", "375290000033", "375290000011", "375290000041", "375290000042", "375290000043")
HIDDEN: Final = "anonymous"
HIDDEN_SHARE: Final = 0.15
GAPS_S: Final = (0.2, 1.5)
BURST_SHARE: Final = 0.15
MOST_AT_ONCE: Final = 10
PATIENT_S: Final = 30.0
# What a number outside begins with, as our telephones dial it.
TO_OUTSIDE: Final = "80"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of call.

    Attributes:
        number: What is dialled: a line of the company, or a number outside.
        ended: How it looks to the caller (`CallResult.ended`).
        status: What it is for the company.
        hold_s: The shortest and the longest conversation.
        patience_s: The same of waiting in vain; None waits for ever.
    """

    number: str
    ended: str
    status: str
    hold_s: tuple[float, float] = (0.3, 6.0)
    patience_s: tuple[float, float] | None = None

    @property
    def outbound(self) -> bool:
        """Whether a telephone dials it; else a customer does."""
        return self.number.startswith(TO_OUTSIDE)


# No kind's end may depend on the calls beside it, as that of a queue whose agents are busy would.
INBOUND: Final = (
    Kind("0000101", "hung_up", "answered"),
    Kind("0000101", "hung_up", "answered", hold_s=(8.0, 15.0)),
    Kind("0000102", "far_end", "answered", hold_s=(20.0, 20.0)),  # the agent hangs up
    Kind("0000106", "hung_up", "answered", hold_s=(4.0, 7.0)),  # the agent hands over to 101
    Kind("0000201", "hung_up", "answered"),  # several ring, one answers
    Kind("0000203", "hung_up", "answered"),  # one after the other
    Kind("0000103", "gave_up", "missed", patience_s=(0.5, 4.0)),
    Kind("0000202", "gave_up", "missed", patience_s=(0.5, 2.0)),
    Kind("0000211", "far_end", "missed", hold_s=(20.0, 20.0)),  # a queue in which nobody answers
    Kind("0000200", "refused", "missed"),  # rings out
    Kind("0000105", "refused", "missed"),  # busy
    Kind("0000108", "refused", "missed"),  # declines
)
OUTBOUND: Final = (
    Kind("80290000110", "hung_up", "answered"),
    Kind("80290000111", "hung_up", "answered"),
    Kind("80290000195", "hung_up", "answered"),  # early media
    Kind("80290000199", "refused", "missed"),  # busy
    Kind("80290000193", "refused", "missed"),  # declines
    Kind("80290000196", "refused", "missed"),  # no such number
    Kind("80290000198", "gave_up", "missed", patience_s=(0.5, 3.0)),
)
OUTBOUND_SHARE: Final = 0.3


@dataclass
class Traffic:
    """Calls placed at random moments.

    Attributes:
        expected: What the ledger has to have, how often.
        broken: Calls that did not go as planned, in words; empty when no caller noticed anything.
    """

    sipp: Sipp
    random: Random
    expected: Counter[Leg] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        """Place calls for so long, and wait for the end of the last one."""
        room = asyncio.Semaphore(MOST_AT_ONCE)
        async with asyncio.TaskGroup() as calls:
            try:
                async with asyncio.timeout(seconds):
                    while True:
                        burst = self.random.randint(2, 4) if self.random.random() < BURST_SHARE else 1
                        for _ in range(burst):
                            await room.acquire()
                            calls.create_task(self._one(room), name="a call")
                        await asyncio.sleep(self.random.uniform(*GAPS_S))
            except TimeoutError:
                pass

    async def run_calls(self, count: int) -> None:
        """Place so many calls, and wait for the end of the last one."""
        room = asyncio.Semaphore(MOST_AT_ONCE)
        async with asyncio.TaskGroup() as calls:
            for _ in range(count):
                await room.acquire()
                calls.create_task(self._one(room), name="a call")
                await asyncio.sleep(self.random.uniform(*GAPS_S))

    async def _one(self, room: asyncio.Semaphore) -> None:
        try:
            kinds = OUTBOUND if self.random.random() < OUTBOUND_SHARE else INBOUND
            await self.place(self.random.choice(kinds))
        finally:
            room.release()

    async def place(self, kind: Kind) -> None:
        """One call of this kind, to its end."""
        await (self._outbound(kind) if kind.outbound else self._inbound(kind))

    async def _inbound(self, kind: Kind) -> None:
        caller = HIDDEN if self.random.random() < HIDDEN_SHARE else self.random.choice(CALLERS)
        phone = None if caller == HIDDEN else f"+{caller}"
        self.expected["in", phone, kind.status] += 1
        hold_s, patience_s = self._times(kind)
        trunk = self.random.choice(("gsm1", "sip2"))
        self._check(kind, await self.sipp.call(kind.number, caller, hold_s, patience_s, trunk=trunk))

    async def _outbound(self, kind: Kind) -> None:
        self.expected["out", f"+375{kind.number.removeprefix(TO_OUTSIDE)}", kind.status] += 1
        hold_s, patience_s = self._times(kind)
        self._check(kind, await self.sipp.dial(self.random.choice(("101", "104")), kind.number, hold_s, patience_s))

    def _times(self, kind: Kind) -> tuple[float, float]:
        hold_s = self.random.uniform(*kind.hold_s)
        return hold_s, self.random.uniform(*kind.patience_s) if kind.patience_s else PATIENT_S

    def _check(self, kind: Kind, result: CallResult) -> None:
        if result.ended != kind.ended:
            self.broken.append(f"{result.started_at:%T} {kind.number} {kind.ended} was {result.ended} ({result.code})")


def difference(expected: Mapping[Leg, int], stored: Sequence[Leg]) -> str:
    """What is missing and what is too much, in words; "" when nothing."""
    wanted, found = Counter(expected), Counter(stored)
    lines = [f"missing {number} of {leg}" for leg, number in (wanted - found).items()]
    lines += [f"{number} of {leg} too much" for leg, number in (found - wanted).items()]
    return "\n".join(lines)
