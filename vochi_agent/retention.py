"""Lets go of what is older than the configuration says: calls, what is known of their cards, what CRMs were told.

Invariant: safe beside everything else. Little is taken at a time, in a transaction of its own, and at most half of the
time is spent with it; a customer says the same before and after, because what a call counted stays when it leaves.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from vochi_agent.config import RetentionConfig
from vochi_agent.errors import StoreUnavailable
from vochi_agent.metrics import Metrics

__all__ = ["AgedRows", "Kind", "Retention", "terms_of"]

log = logging.getLogger(__name__)

PERIOD_S: Final = 3600.0
LOOK_AGAIN_S: Final = 5.0
TOGETHER: Final = 500


class Kind(StrEnum):
    """What ages."""

    CALLS = "calls"
    EVIDENCE = "evidence"
    CARDS = "cards"
    POSTS = "posts"
    REMAINS = "remains"  # what nobody takes up any more: changes of a CRM that is gone, unused codes


def terms_of(config: RetentionConfig) -> Mapping[Kind, timedelta]:
    """After what time each kind leaves; what stays for ever is not in it."""
    days = {
        Kind.CALLS: config.calls_days,
        Kind.EVIDENCE: config.evidence_days,
        Kind.CARDS: config.cards_days,
        Kind.POSTS: config.outbox_days,
        Kind.REMAINS: config.outbox_days,
    }
    return {kind: timedelta(days=each) for kind, each in days.items() if each}


class AgedRows(Protocol):
    """Where old rows are."""

    async def delete(self, kind: Kind, enterprise_number: str, before: datetime, limit: int) -> int:
        """Delete the oldest that are older than a moment; returns how many. Raises StoreUnavailable."""
        ...


class Retention:
    """The old rows of one enterprise.

    Args:
        terms: After what time each kind leaves.
        may: Whether we are the daemon that writes, and nothing older waits to be written: a call that waits on disk
            and came again after its row had left would be counted twice.
        clock: The time in UTC.
        ready: Set when the database has our schema.
    """

    def __init__(
        self,
        enterprise_number: str,
        rows: AgedRows,
        *,
        terms: Mapping[Kind, timedelta],
        may: Callable[[], bool],
        clock: Callable[[], datetime],
        ready: asyncio.Event,
        metrics: Metrics,
        period_s: float = PERIOD_S,
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        self._enterprise_number = enterprise_number
        self._rows = rows
        self._terms = terms
        self._may = may
        self._clock = clock
        self._ready = ready
        self._metrics = metrics
        self._period_s = period_s
        self._look_again_s = look_again_s

    async def run(self) -> None:
        """Look for what is too old, for ever."""
        await self._ready.wait()
        while True:
            done = False
            if self._may():
                try:
                    done = await self.let_go()
                except StoreUnavailable:
                    done = False  # others say that it is away
            await asyncio.sleep(self._period_s if done else self._look_again_s)

    async def let_go(self) -> bool:
        """Delete what is too old; False when it stopped being our turn before the end.

        Raises:
            StoreUnavailable: some of it is left for the next time.
        """
        now = self._clock()
        for kind, age in self._terms.items():
            if not await self._let_go_of(kind, now - age):
                return False
        return True

    async def _let_go_of(self, kind: Kind, before: datetime) -> bool:
        loop, total, deleted = asyncio.get_running_loop(), 0, TOGETHER
        counter = self._metrics.retired.labels(self._enterprise_number, kind.value)
        while deleted == TOGETHER and self._may():
            began = loop.time()
            deleted = await self._rows.delete(kind, self._enterprise_number, before, TOGETHER)
            counter.inc(deleted)
            total += deleted
            await asyncio.sleep(loop.time() - began)
        if total:
            log.info(
                "%d %s of %s were older than %s and have left",
                total,
                kind.value,
                self._enterprise_number,
                before.isoformat(timespec="seconds"),
                extra={"action": "retention"},
            )
        return deleted < TOGETHER
