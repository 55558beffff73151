"""What follows from a finished call beside its place in the list: a contact for a stranger, a task for a missed call.

Each rule is a list of its own in the outbox, so it is done once as calls are listed once: in order, one after the
other, over every failure and restart. Off by default; nobody is ever changed who is there already.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from vochi_agent.calls.model import Call, Direction, Reason, Status
from vochi_agent.crm.call_facts import settling
from vochi_agent.errors import CrmRejected
from vochi_agent.expiring import Expiring
from vochi_agent.ports import Post, ProfileSource

__all__ = ["MissedCalls", "UnknownNumbers"]

# A new contact is not found at once.
JUST_MADE_S: Final = 60.0
JUST_MADE: Final = 1000
LOST: Final = "the answer was lost, and whether it was made cannot be asked: look there, then `outbox --listed`"

Making = Callable[[Call], Awaitable[str]]


class UnknownNumbers:
    """Makes a contact or lead of whoever the CRM does not know; fulfils `ports.CallBook`.

    Args:
        source: Asked whether it knows the number.
        making: By direction of the call; makes it and returns the CRM's id.
        found_again: What is made is found by its number, so that a lost answer can be looked into.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        source: ProfileSource,
        making: Mapping[Direction, Making],
        *,
        found_again: Mapping[Direction, bool],
        clock: Callable[[], float],
    ) -> None:
        self.name = f"{source.name} contacts"
        self._source = source
        self._making = making
        self._found_again = found_again
        self._just_made: Expiring[str, str] = Expiring(ttl_s=JUST_MADE_S, size=JUST_MADE, clock=clock)

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """See `ports.CallBook`; two calls of one stranger come here one after the other."""
        del recording_url
        call = post.call
        make = self._making.get(call.direction)
        if make is None or call.phone is None or post.corrects or call.reason is Reason.BLOCKED:
            return ""
        if made := self._just_made.get(call.phone):
            return made
        if await self._source.profile(call.phone) is not None:
            return ""
        if post.uncertain and not self._found_again[call.direction]:
            raise CrmRejected(LOST)
        with settling():
            made = await make(call)
        self._just_made.put(call.phone, made or "?")
        return made


class MissedCalls:
    """Makes a task of every missed inbound call; fulfils `ports.CallBook`.

    Args:
        source: Name of the CRM.
        make: Makes the task and returns the CRM's id, "" when nobody is there to do it.
    """

    def __init__(self, source: str, make: Making) -> None:
        self.name = f"{source} tasks"
        self._make = make

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """See `ports.CallBook`."""
        del recording_url
        call = post.call
        missed = call.status is not Status.ANSWERED and call.direction is Direction.IN
        if not missed or post.corrects or call.reason is Reason.BLOCKED:
            return ""
        if post.uncertain:
            raise CrmRejected(LOST)
        with settling():
            return await self._make(call)
