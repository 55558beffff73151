"""What follows from a finished call beside its place in the list: a contact for a stranger, a task for a missed call.

Each rule is a list of its own in the outbox, so it is done once as calls are listed once: in order, one after the
other, over every failure and restart. Off by default; nobody is ever changed who is there already.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, runtime_checkable

from vochi_agent.calls.model import Call, Direction, Reason, Status
from vochi_agent.crm.call_facts import settling
from vochi_agent.errors import CrmRejected
from vochi_agent.expiring import Expiring
from vochi_agent.ports import Post, ProfileSource

__all__ = ["MakesContacts", "MakesLeads", "MakesTasks", "MissedCalls", "UnknownNumbers", "concerns"]

# A new contact is not found at once.
JUST_MADE_S: Final = 60.0
JUST_MADE: Final = 1000
LOST: Final = "the answer was lost, and whether it was made cannot be asked: look there, then `outbox --listed`"

Making = Callable[[Call], Awaitable[str]]


@runtime_checkable
class MakesContacts(Protocol):
    """A CRM in which a person can be made."""

    async def make_contact(self, call: Call) -> str:
        """Make a person of the call's number, whose manager is who talked; returns the CRM's id. Not repeatable."""
        ...


@runtime_checkable
class MakesLeads(Protocol):
    """A CRM in which a lead can be made."""

    async def make_lead(self, call: Call) -> str:
        """Make a lead of the call's number; as `MakesContacts.make_contact`."""
        ...


@runtime_checkable
class MakesTasks(Protocol):
    """A CRM in which a task can be given to a user."""

    async def make_task(self, call: Call, *, minutes: int) -> str:
        """A task so many minutes after a missed call, for whom it was, else for the customer's own manager.

        Returns the CRM's id, "" when there is neither of them. Not repeatable.
        """
        ...


def concerns(call: Call) -> bool:
    """Whether a call can make anybody known: who hides his number or stands on the black list does not become one."""
    return call.phone is not None and call.reason is not Reason.BLOCKED


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
        if make is None or post.corrects or not concerns(call):
            return ""
        phone = call.phone or ""
        if made := self._just_made.get(phone):
            return made
        if await self._source.profile(phone) is not None:
            return ""
        if post.uncertain and not self._found_again[call.direction]:
            raise CrmRejected(LOST)
        with settling():
            made = await make(call)
        self._just_made.put(phone, made or "?")
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
