"""A call log in a process of its own, to be killed: finished calls at a steady rate into PostgreSQL and the spool.

    python -m tests.support.spooling DSN FOLDER FIRST COUNT PERIOD_S

Prints the linkedid of each call as soon as it is stored or on disk, then `stored` when nothing waits any more.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from tests.support.calls import NOON, missed
from tests.support.polling import until
from vochi_agent.call_log import CallLog
from vochi_agent.calls.model import Call, CallFinished
from vochi_agent.customers.model import Customer, History
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CardDraft
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.spool import DiskSpool

__all__ = ["LIMIT_BYTES", "finished", "one_card", "until_stored"]

LIMIT_BYTES = 1 << 20


def finished(number: int) -> CallFinished:
    """The call that ends as the `number`th, one a second, each of a customer with 10 calls."""
    started = NOON + timedelta(seconds=number)
    return CallFinished(missed(linkedid=f"{number:06d}", phone=f"+37529000{number // 10:04d}", started_at=started))


def one_card(call: Call, customer: Customer | None, before: History | None, **_: object) -> Sequence[CardDraft]:
    """A card in the one chat."""
    return [CardDraft(chat_id=-1, topic=0, text=call.linkedid, silent=True)]


async def until_stored(call_log: CallLog, *, within: float) -> None:
    """Wait until nothing waits in memory or on disk."""

    async def stored() -> bool:
        return call_log.state.waiting == 0

    await until(stored, within=within)


async def main(dsn: str, folder: Path, numbers: range, period_s: float) -> None:
    """Tell the calls `numbers`, one every `period_s`."""
    async with (
        PostgresStore(dsn, pool_size=2) as store,
        DiskSpool(folder, limit_bytes=LIMIT_BYTES) as spool,
        asyncio.TaskGroup() as tasks,
    ):
        call_log = CallLog(
            store.calls,
            store.customers,
            spool,
            renderer=lambda _: one_card,
            cards_changed=lambda: None,
            metrics=Metrics(),
        )
        call_log.store_ready()
        running = tasks.create_task(call_log.run(), name="call log")
        for number in numbers:
            call_log.tell(finished(number))
            await call_log.drained()
            print(f"{number:06d}", flush=True)  # noqa: T201
            await asyncio.sleep(period_s)
        await until_stored(call_log, within=60)
        print("stored", flush=True)  # noqa: T201
        running.cancel()


if __name__ == "__main__":
    first, count = int(sys.argv[3]), int(sys.argv[4])
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), range(first, first + count), float(sys.argv[5])))
