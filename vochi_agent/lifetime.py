"""Everything that runs by itself while a daemon lives, and the order in which it ends.

What others tell us (PBXs, heartbeats) ends first; what stores and sends gets a moment for the last finished calls.
A bug in a far end stays there (`bulkhead`), one in the store ends the process: systemd starts a clean one.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from vochi_agent.config import notify_socket, watchdog_interval_s
from vochi_agent.daemon import Daemon
from vochi_agent.errors import NotReachable, StoreUnavailable, VochiError
from vochi_agent.heartbeat import Door, Heartbeat
from vochi_agent.stalls import watch_stalls
from vochi_agent.supervisor import bulkhead, keep_running
from vochi_agent.systemd import Notifier

__all__ = ["living"]

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S: Final = 0.5
STATUS_PERIOD_S: Final = 5.0
STORE_PERIOD_S: Final = 2.0
# Of the 10 s a stop may take: what the last finished calls get to be stored.
DRAIN_S: Final = 6.0


@asynccontextmanager
async def living(daemon: Daemon) -> AsyncIterator[Notifier]:
    """Run everything while the block runs; what else systemd is to be told, the block may tell."""
    notifier = Notifier(notify_socket())
    door = Door(partial(daemon.fastagi.probe, PROBE_TIMEOUT_S), time.monotonic)

    async with asyncio.TaskGroup() as tasks:

        def start(name: str, work: Awaitable[None]) -> "asyncio.Task[None]":
            return tasks.create_task(_awaited(work), name=name)

        work = [
            start("database", _watch_store(daemon)),
            start("embedded PostgreSQL", _keep_embedded(daemon)),
            start("call log", daemon.call_log.run()),
            start("news of customers", daemon.news.run()),
            start("telegram cards", bulkhead("Telegram", daemon.chats.cards.run)),
            start("call lists of CRMs", bulkhead("the call lists of CRMs", daemon.crms.books.run)),
            start("popups of CRMs", bulkhead("the popups of CRMs", daemon.crms.screens.run)),
            start("recordings", bulkhead("the search for recordings", daemon.recorded_calls.search.run)),
            start("missed calls", bulkhead("the missed calls", daemon.chats.call_backs.run)),
            start("live cards", bulkhead("the live cards", daemon.chats.live.run)),
            start("ownership", keep_running("the ownership of calls", daemon.ownership.run)),
            start("stalls", watch_stalls(daemon.metrics.loop_stall_seconds.observe)),
            start("status", _report(daemon, notifier, door.answers)),
        ]
        intake = []
        for number, site in daemon.sites.items():
            intake.append(start(f"pbx of {number}", bulkhead(f"the PBX of {number}", site.watch.run)))
            beat = Heartbeat(daemon.config.daemon.instance, site.watch.ami, door.answers)
            intake.append(start(f"heartbeat of {number}", bulkhead(f"the heartbeat of {number}", beat.run)))
            intake.append(start(f"watched time of {number}", bulkhead(f"the ledger of {number}", site.keeper.run)))
            intake.append(start(f"recovery of {number}", bulkhead(f"the recovery of {number}", site.recoverer.run)))
            intake.append(start(f"sweeping of {number}", bulkhead(f"the sweeping of {number}", site.sweeper.run)))
            intake.append(start(f"retention of {number}", bulkhead(f"the retention of {number}", site.retention.run)))
        for changes in daemon.crms.changes:
            name = f"the changes of {changes.source} of {changes.enterprise_number}"
            intake.append(start(name, bulkhead(name, changes.run)))
        for clicks in daemon.crms.clicks:
            name = f"the clicks in {clicks.source} of {clicks.enterprise_number}"
            intake.append(start(name, bulkhead(name, clicks.run)))
        notifier.ready("answers FastAGI")
        log.info("ready: %d enterprises", len(daemon.config.enterprises), extra={"action": "ready"})
        try:
            yield notifier
        finally:
            notifier.stopping()
            for task in intake:
                task.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    await daemon.call_log.drained()
            for task in work:
                task.cancel()


async def _awaited(work: Awaitable[None]) -> None:
    await work


async def _watch_store(daemon: Daemon) -> None:
    """Bring the database to our schema as soon as it is there, then keep looking whether it still is."""

    async def watch(up: Callable[[], None]) -> None:
        applied = await daemon.store.migrate() if daemon.config.database.migrate else []
        await daemon.store.ping()
        up()
        daemon.call_log.store_ready()
        daemon.schema_ready.set()
        for name in applied:
            log.info("the database has taken %s", name, extra={"action": "migrated"})
        while True:
            daemon.metrics.store_up.set(1)
            await asyncio.sleep(STORE_PERIOD_S)
            try:
                await daemon.store.ping()
            except NotReachable:
                daemon.metrics.store_up.set(0)
                raise

    await keep_running("PostgreSQL", watch)


async def _keep_embedded(daemon: Daemon) -> None:
    """Start an embedded PostgreSQL again that ended: by itself, or with the command whose server we had joined."""
    embedded = daemon.embedded
    if embedded is None:
        return

    async def again(up: Callable[[], None]) -> None:
        await embedded.start()
        up()
        await embedded.ended()
        raise StoreUnavailable("it ended")

    await embedded.ended()
    log.warning("the embedded PostgreSQL ended and is started again", extra={"action": "postgres_restart"})
    await keep_running("the embedded PostgreSQL", again, foreseen=(VochiError,))


async def _report(daemon: Daemon, notifier: Notifier, answers: Callable[[], Awaitable[bool]]) -> None:
    """Feed systemd's watchdog while the loop turns and the FastAGI door answers; say how things stand in words."""
    period = _report_period(watchdog_interval_s())
    while True:
        if await answers():
            notifier.watchdog()
        down = [f"{name}: {part.detail or 'down'}" for name, part in daemon.parts().items() if not part.up]
        notifier.status("waiting for " + "; ".join(down) if down else "watching calls")
        await asyncio.sleep(period)


def _report_period(watchdog_s: float | None) -> float:
    """Half of what the watchdog allows, as sd_watchdog_enabled(3) wants it: whoever is late once is not ended."""
    return min((watchdog_s or math.inf) / 2, STATUS_PERIOD_S)
