"""The name that came after the telephones began to ring: told to those that still do.

The caller's own channel gets it first, for every telephone that is dialled from there later; then each ringing one gets
its own form as connected line, which Asterisk sends on as an UPDATE (docs/handsets.md). What a CRM says here is kept by
`enrichment` as ever; nothing of this waits for the database.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from vochi_agent.config import Enterprise
from vochi_agent.customers.handsets import handset_of, name_variables
from vochi_agent.customers.identity import merge_names
from vochi_agent.customers.model import Profile
from vochi_agent.customers.names import CallerName
from vochi_agent.errors import ActionFailed, NotReachable
from vochi_agent.metrics import Metrics

__all__ = ["LateNames", "Telephones", "UnnamedCall"]

log = logging.getLogger(__name__)

# A telephone rings no longer than that, and no CRM is waited for longer.
PATIENCE_S: Final = 15.0
MAX_CALLS: Final = 256
ACTION_TIMEOUT_S: Final = 2.0
CONNECTED_NAME: Final = "CONNECTEDLINE(name)"


@dataclass(frozen=True, slots=True)
class UnnamedCall:
    """A call whose dialplan went on before the CRM had answered.

    Attributes:
        uniqueid: Of the caller's channel.
        phone: E.164.
        name: What was said instead.
        answered_by: When the dialplan has had that for certain, by the event loop's clock.
    """

    enterprise: Enterprise
    uniqueid: str
    phone: str
    name: CallerName
    answered_by: float


class LateLookups(Protocol):
    """The CRMs' requests under way."""

    async def late(self, enterprise_number: str, phone: str, *, linkedid: str, within_s: float) -> Profile | None:
        """What they still say. Never raises."""
        ...


class Telephones(Protocol):
    """The PBX of one enterprise."""

    def unanswered(self, uniqueid: str) -> Sequence[tuple[str, str]]:
        """Telephones that ring in the call of a channel: their uniqueids and extensions."""
        ...

    async def set_variable(self, uniqueid: str, name: str, value: str, within_s: float) -> None:
        """Set a variable or function of a channel. Raises NotReachable, ActionFailed."""
        ...


class LateNames:
    """Waits for late CRMs, one task a call."""

    def __init__(
        self,
        lookups: LateLookups,
        telephones: Callable[[str], Telephones | None],
        *,
        enterprises: Iterable[str],
        metrics: Metrics,
    ) -> None:
        """`telephones` gives the PBX of an enterprise's number, None when it is not followed."""
        self._lookups = lookups
        self._telephones = telephones
        self._results = {
            (number, result): metrics.late_names.labels(number, result)
            for number in enterprises
            for result in ("shown", "too_late")
        }
        self._tasks: set[asyncio.Task[None]] = set()

    def expect(self, call: UnnamedCall) -> None:
        """A caller was announced without what a CRM may still say. Returns at once."""
        if len(self._tasks) >= MAX_CALLS or not call.name.parts:
            return
        # Not a TaskGroup: a bug met by one hostile name must cost that one call, not all of them.
        work = self._follow(call)
        task = asyncio.get_running_loop().create_task(work, name=f"late name {call.enterprise.number}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def aclose(self) -> None:
        """Wait for nobody any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, call: UnnamedCall) -> None:
        number = call.enterprise.number
        profile = await self._lookups.late(number, call.phone, linkedid=call.uniqueid, within_s=PATIENCE_S)
        if profile is None:
            return
        primary = profile.source == call.enterprise.primary_source
        names = merge_names(call.name.names, profile.names, phone=call.phone, primary=primary)
        name = replace(call.name, names=names)
        if name == call.name:
            return
        told = await self._tell(call, name)
        left = call.answered_by - asyncio.get_running_loop().time()
        if left > 0:
            # Our answer to the dialplan may still be under way and would put the old name over the new one.
            await asyncio.sleep(left)
            told |= await self._tell(call, name)
        self._results[number, "shown" if told else "too_late"].inc()

    async def _tell(self, call: UnnamedCall, name: CallerName) -> set[str]:
        """The extensions that were told; Asterisk sends nothing to a telephone that shows the name already."""
        telephones = self._telephones(call.enterprise.number)
        if telephones is None:
            return set()
        for variable, value in name_variables(name, call.enterprise).items():
            if not await _set(telephones, call.uniqueid, variable, value):
                return set()
        return {
            extension
            for uniqueid, extension in telephones.unanswered(call.uniqueid)
            if await _set(telephones, uniqueid, CONNECTED_NAME, name.on(handset_of(call.enterprise, extension)))
        }

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error:
            log.error("%s failed", task.get_name(), exc_info=error, extra={"action": "late_name_bug"})


async def _set(telephones: Telephones, uniqueid: str, name: str, value: str) -> bool:
    try:
        await telephones.set_variable(uniqueid, name, value, ACTION_TIMEOUT_S)
    except (ActionFailed, NotReachable) as failure:
        # Mostly somebody who has just hung up or picked up; a right that is missing is said by the heartbeat.
        log.debug("A late name was not taken: %s", failure, extra={"action": "late_name"})
        return False
    return True
