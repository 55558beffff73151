"""What people ask of calls: place one, hang up, hand over, listen, prompt, break in.

For buttons in chats, CRMs and the REST API, which all mean the same things. Nothing is repeated by itself: a request
whose answer was lost may have been carried out, and a telephone must not ring twice.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol

from vochi_agent.calls.layout import Layout
from vochi_agent.calls.live import LiveChannel
from vochi_agent.customers.identity import merge_names
from vochi_agent.customers.model import Customer, Names
from vochi_agent.customers.names import clean
from vochi_agent.enrichment import Lookup
from vochi_agent.errors import NotPossible, StoreUnavailable

__all__ = ["CallControl", "ClickToCall", "Dialler", "Supervision", "Switchboard"]

# How long the agent waits for the name of whom he is about to call.
NAME_S: Final = 1.2
RING_S: Final = 30.0
SERIALS: Final = 10**6


class Supervision(StrEnum):
    """How a supervisor takes part in a conversation."""

    LISTEN = "listen"
    """Nobody hears him."""
    WHISPER = "whisper"
    """His own agent hears him."""
    BARGE = "barge"
    """Everybody hears him."""


class Dialler(Protocol):
    """The PBX as far as calls can be begun."""

    async def call_out(
        self, endpoint: str, digits: str, *, uniqueid: str, shown: Mapping[str, str], line: str, ring_s: float
    ) -> None:
        """Ring a phone, and call a number from it when it is picked up. Returns when it begins to ring.

        Args:
            endpoint: TECH/endpoint.
            uniqueid: Of the phone's channel, hence the linkedid of the call.
            shown: `name` and `number` for its display.
            line: The line to call through, "" when the dialplan may choose.

        Raises:
            NotReachable, LoginRefused: the PBX does not answer us.
            ActionFailed: it refuses; NotPermitted when our user lacks the right.
        """
        ...


class Switchboard(Protocol):
    """The PBX as far as calls that go on can be controlled. Every method raises as `Dialler.call_out` does."""

    async def hang_up(self, channel: LiveChannel) -> None:
        """End a channel."""
        ...

    async def transfer(self, channel: LiveChannel, digits: str) -> None:
        """Send whoever talks with this channel to an extension or number; the channel itself is through."""
        ...

    async def supervise(
        self, channel: LiveChannel, endpoint: str, how: Supervision, *, shown: Mapping[str, str], ring_s: float
    ) -> None:
        """Ring the supervisor and let him take part until one of the two hangs up."""
        ...


class Customers(Protocol):
    """The local table."""

    async def customer(self, enterprise_number: str, phone: str) -> Customer | None:
        """The row of an E.164 number. Raises StoreUnavailable."""
        ...


class NameLookups(Protocol):
    """The CRMs."""

    async def profile(self, enterprise_number: str, phone: str, *, deadline: float, linkedid: str = "") -> Lookup:
        """Who it is, by the event loop's clock no later than `deadline`. Never raises."""
        ...


class ClickToCall:
    """Places calls of one enterprise: the agent's phone rings first and shows whom he is about to talk with."""

    def __init__(
        self,
        layout: Callable[[], Layout],
        dialler: Dialler,
        *,
        customers: Customers,
        lookups: NameLookups,
        primary_source: str,
        clock: Callable[[], float],
    ) -> None:
        """`layout` is the PBX as it is configured now; `clock` gives epoch seconds."""
        self._layout = layout
        self._dialler = dialler
        self._customers = customers
        self._lookups = lookups
        self._primary_source = primary_source
        self._clock = clock

    async def call_out(
        self,
        extension: str,
        phone: str,
        *,
        line: str = "",
        ring_s: float = RING_S,
        begins: Callable[[str], Awaitable[None]] | None = None,
    ) -> str:
        """Begin a call from an extension to a number; returns its linkedid as soon as the agent's phone rings.

        Args:
            phone: As people write it.
            line: The id of the line to call through, "" when the dialplan may choose.
            begins: Told the linkedid before anything rings.

        Raises:
            NotPossible: no such extension, number or line.
            VochiError: see `Dialler`.
        """
        layout = self._layout()
        endpoint, number = layout.phone_of(extension), layout.callee(phone, None)
        if not endpoint:
            raise NotPossible(f"{extension!r} is no extension")
        if number is None:
            raise NotPossible(f"{phone!r} is no phone number")
        if line and layout.line(line) is None:
            raise NotPossible(f"{line!r} is no line's id")
        # As Asterisk's own, with a system name before the dash: it compares linkedids by what follows.
        linkedid = f"vochi-{int(self._clock())}.{secrets.randbelow(SERIALS)}"
        name = await self._name(layout.enterprise_number, number, linkedid)
        shown = {"name": name or number, "number": number}
        digits = number.removeprefix("+")
        if begins is not None:
            await begins(linkedid)
        await self._dialler.call_out(endpoint, digits, uniqueid=linkedid, shown=shown, line=line, ring_s=ring_s)
        return linkedid

    async def _name(self, enterprise_number: str, phone: str, linkedid: str) -> str:
        until = asyncio.get_running_loop().time() + NAME_S
        async with asyncio.TaskGroup() as tasks:
            local = tasks.create_task(self._local(enterprise_number, phone, until), name="local name")
            lookup = await self._lookups.profile(enterprise_number, phone, deadline=until, linkedid=linkedid)
        names = local.result()
        if lookup.profile:
            primary = lookup.profile.source == self._primary_source
            names = merge_names(names, lookup.profile.names, phone=phone, primary=primary)
        return clean(names.display)

    async def _local(self, enterprise_number: str, phone: str, until: float) -> Names:
        try:
            async with asyncio.timeout_at(until):
                customer = await self._customers.customer(enterprise_number, phone)
        except (StoreUnavailable, TimeoutError):
            return Names()
        return customer.names if customer else Names()


class LiveCalls(Protocol):
    """The calls that go on; `calls.tracker.Tracker` is one."""

    @property
    def layout(self) -> Layout:
        """The PBX as it is configured now."""
        ...

    def channels_of(self, linkedid: str) -> Sequence[LiveChannel]:
        """Everybody in a call that goes on, the one it is about first."""
        ...


class CallControl:
    """Takes a hand in the calls of one enterprise that go on. A call is named by its linkedid.

    Every method raises NotPossible when there is no such call (any more), and as `Switchboard` does.
    """

    def __init__(self, calls: LiveCalls, switchboard: Switchboard) -> None:
        self._calls = calls
        self._switchboard = switchboard

    async def hang_up(self, linkedid: str) -> None:
        """End a call: who it is about first, for whom the dialplan runs."""
        await self._switchboard.hang_up(self._living(linkedid)[0])

    async def transfer(self, linkedid: str, extension: str) -> None:
        """Hand a conversation over to a colleague; who talked until now is through (a blind transfer)."""
        if not self._calls.layout.phone_of(extension):
            raise NotPossible(f"{extension!r} is no extension")
        await self._switchboard.transfer(self._talking_agent(linkedid), extension)

    async def supervise(self, linkedid: str, supervisor: str, how: Supervision, *, ring_s: float = RING_S) -> None:
        """Ring the supervisor's phone and let him take part; returns when he or the agent hangs up.

        Cancelled, it takes him off. The customer's channel stays where it is and notices nothing.
        """
        endpoint = self._calls.layout.phone_of(supervisor)
        if not endpoint:
            raise NotPossible(f"{supervisor!r} is no extension")
        agent = self._talking_agent(linkedid)
        if agent.extension == supervisor:
            raise NotPossible(f"{supervisor} is in this call")
        shown = {"name": f"{_TITLES[how]} {agent.extension}", "number": agent.extension}
        await self._switchboard.supervise(agent, endpoint, how, shown=shown, ring_s=ring_s)

    def _living(self, linkedid: str) -> Sequence[LiveChannel]:
        channels = self._calls.channels_of(linkedid)
        if not channels:
            raise NotPossible(f"call {linkedid} does not go on")
        return channels

    def _talking_agent(self, linkedid: str) -> LiveChannel:
        """Who joined last, when several talk."""
        talking = [channel for channel in self._living(linkedid) if channel.extension and channel.talks]
        if not talking:
            raise NotPossible(f"no colleague talks in call {linkedid}")
        return talking[-1]


# What the supervisor's phone shows before he picks up.
_TITLES: Final[Mapping[Supervision, str]] = {
    Supervision.LISTEN: "Прослушивание",
    Supervision.WHISPER: "Подсказка",
    Supervision.BARGE: "Вмешательство",
}
