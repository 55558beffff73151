"""The shipped PBX simulator: AMI and FastAGI of an Asterisk on real loopback sockets, calls made by Python methods.

For the demonstration and the tests. It stands where a PBX stands: it speaks the two protocols and nothing else is
shared with the daemon. What kinds of calls there are is here; how one goes is in `pbx_calls`.
"""

import asyncio
import contextlib
import functools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from vochi_agent.protocols.ami import Message

from . import pbx_actions
from .pbx_calls import NORMAL, Call, Far, HandOver, Target
from .pbx_cel import CelWriter
from .pbx_channels import CallerId, Channel, Headers
from .pbx_click import ClickToCall
from .pbx_dialplan import CallerIdSubroutine, Subroutine
from .pbx_manager import Manager, User
from .pbx_queue import Waiting, wait_in_queue
from .pbx_switch import RING, UP, Switch

__all__ = ["CallerIdSubroutine", "ClickToCall", "Display", "Far", "Pbx", "User"]

PHONES_CONTEXT = "internal"
TRUNKS_CONTEXT = "from-trunk"
# A simulation may run for hours.
MOST_DISPLAYS = 10_000


@dataclass(frozen=True, slots=True)
class Display:
    """What one handset showed when it rang.

    Attributes:
        at: Seconds since the epoch.
    """

    extension: str
    name: str
    number: str
    at: float


class Pbx:
    """A PBX with phones and trunks; it answers AMI while it is entered as a context manager.

    Attributes:
        switch: Live channels, bridges and global variables.
        manager: The AMI listener; its `port` is where the daemon connects.
        subroutine: How inbound calls ask the daemon; None asks nobody.
        click: How people behave when a call is originated over AMI.
        displays: What the handsets showed so far, the last ones of very many.
    """

    def __init__(
        self,
        *,
        phones: Mapping[str, str],
        trunks: Collection[str],
        users: Mapping[str, User],
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        clock: Callable[[], float] = time.time,
        displayed: Callable[[Display], None] | None = None,
        cel: CelWriter | None = None,
    ) -> None:
        """Prepare; nothing is bound yet.

        Args:
            phones: Extension -> the name configured for it, all `PJSIP/<extension>`.
            trunks: Endpoints such as `PJSIP/gsm1`.
            users: AMI users by name.
            host: Literal address of the AMI listener.
            port: 0 picks a free one.
            speed: How many times faster than life calls go.
            clock: Seconds since the epoch.
            displayed: Told of each display as it happens.
            cel: Keeps the records; None keeps none.
        """
        self.manager = Manager(host, port, users=users, perform=functools.partial(pbx_actions.perform, self))
        self.switch = Switch(clock, self._publish)
        self.subroutine: Subroutine | None = None
        self.click = ClickToCall()
        self.displays: list[Display] = []
        self._phones = dict(phones)
        self._trunks = frozenset(trunks)
        self._speed = speed
        self._displayed = displayed
        self._cel = cel
        self._queued: Counter[str] = Counter()
        self._calls: dict[str, Call] = {}
        self._originated = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        """Open the AMI port. Raises PortTaken."""
        await self.manager.__aenter__()
        await self._originated.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Hang up what was originated and close."""
        for channel in self.switch.channels.values():
            self.hang_up(channel)
        await self._originated.__aexit__(None, None, None)
        await self.manager.__aexit__(kind, error, traceback)

    async def inbound(
        self,
        *,
        trunk: str,
        did: str,
        caller: str,
        caller_name: str = "",
        ring: Sequence[str],
        then: Sequence[Sequence[str]] = (),
        answer: str = "",
        after_s: float = 1.0,
        talk_s: float = 2.5,
        caller_hangs_up: bool = True,
        timeout_s: float = 20.0,
        gives_up_s: float | None = None,
        greeting_s: float = 0.0,
        far: Mapping[str, Far] | None = None,
        queue: str = "",
        transfer_to: str = "",
    ) -> str:
        """A call from outside, from its first channel to its last hangup.

        Args:
            trunk: The endpoint it comes through.
            did: The number that was dialled.
            caller: As the line presents it; "" or `anonymous` for a hidden one.
            caller_name: As the line presents it.
            ring: Extensions that ring together.
            then: Groups tried one after the other when nobody answers.
            answer: The extension that picks up, "" for nobody.
            after_s: Seconds it rings before that.
            talk_s: Seconds of conversation.
            caller_hangs_up: Who ends the conversation.
            timeout_s: Seconds each group rings.
            gives_up_s: Seconds from the start after which the caller leaves, whatever goes on.
            greeting_s: Seconds the PBX answers and plays before any phone is dialled.
            far: How extensions behave that do not simply ring.
            queue: The queue in which `ring` are the members; "" dials them.
            transfer_to: Whom the one who answers sends the caller on to, in the middle of the conversation.

        Returns:
            The linkedid.
        """
        self._known_trunk(trunk)
        source = self.switch.new_channel(
            trunk, state=RING, caller=CallerId(caller, caller_name), context=TRUNKS_CONTEXT, exten=did
        )
        groups = [
            [self._phone(extension, (far or {}).get(extension), after_s if extension == answer else None)
             for extension in group]
            for group in (ring, *then)
        ]  # fmt: skip
        async with self._call(source, gives_up_s) as call:
            if self.subroutine:
                await self.subroutine.run(self.switch, source, call.cut)
            if greeting_s and not call.cut.done():
                self.switch.set_state(source, UP)
                await call.pause(greeting_s)
            if transfer_to:
                call.hand_over = HandOver(self._phone(transfer_to, None, after_s), talk_s / 2)
                talk_s /= 2
            if queue:
                plan = Waiting(queue=queue, members=groups[0], timeout_s=timeout_s, callers=self._queued)
                await wait_in_queue(self.switch, call, source, plan, talk_s, source_hangs_up=caller_hangs_up)
            else:
                await call.go(source, groups, timeout_s, talk_s, source_hangs_up=caller_hangs_up)
        return source.linkedid

    async def outbound(
        self,
        *,
        extension: str,
        number: str,
        trunk: str,
        line: str = "",
        shown: str = "",
        far: Far = Far.RINGS,
        answered: bool = True,
        after_s: float = 1.0,
        talk_s: float = 2.5,
        caller_hangs_up: bool = True,
        timeout_s: float = 40.0,
        gives_up_s: float | None = None,
    ) -> str:
        """A call from a phone through a trunk; arguments as for `inbound`.

        Args:
            extension: Who calls.
            number: The digits that are dialled, prefix and all.
            trunk: The endpoint it goes through.
            line: `VOCHI_LINE`, when the dialplan tells it.
            shown: The number the dialplan presents.
            far: How the other end behaves.
            answered: Whether a far end that rings picks up.
            after_s: Seconds it rings before that.
            talk_s: Seconds of conversation.
            caller_hangs_up: Who ends the conversation.
            timeout_s: Seconds it rings at most.
            gives_up_s: Seconds after which the phone hangs up, whatever goes on.

        Returns:
            The linkedid.
        """
        source = self._lift(extension, number)
        target = self._trunk(trunk, number, far, after_s if answered else None)
        async with self._call(source, gives_up_s) as call:
            if line:
                self.switch.set_variable(source, "__VOCHI_LINE", line)
            if shown:
                self.switch.set_variable(source, "CALLERID(num)", shown)
            await call.go(source, [[target]], timeout_s, talk_s, source_hangs_up=caller_hangs_up)
        return source.linkedid

    async def internal(
        self,
        *,
        extension: str,
        to: str,
        far: Far = Far.RINGS,
        answered: bool = True,
        after_s: float = 1.0,
        talk_s: float = 2.5,
        caller_hangs_up: bool = True,
        timeout_s: float = 20.0,
        gives_up_s: float | None = None,
    ) -> str:
        """A call from one phone to another; arguments as for `outbound`. Returns the linkedid."""
        source = self._lift(extension, to)
        target = self._phone(to, far, after_s if answered else None)
        async with self._call(source, gives_up_s) as call:
            await call.go(source, [[target]], timeout_s, talk_s, source_hangs_up=caller_hangs_up)
        return source.linkedid

    def hang_up(self, channel: Channel) -> None:
        """End a call from the side of this channel, as the AMI action does."""
        self._calls[channel.linkedid].end_from_outside(channel)

    def originate(self, message: Message) -> str:
        """The AMI action: begin a click-to-call in the background; returns why it cannot be, "" when it is queued."""
        endpoint, number = message.get("Channel"), message.get("Exten")
        if not endpoint:
            return "Channel not specified"
        extension = endpoint.partition("/")[2]
        if not extension:
            return "Invalid channel"
        if not number:
            return "Extension does not exist."
        self._originated.create_task(self._click(endpoint, message), name=f"click-to-call-{extension}")
        return ""

    def _trunk(self, trunk: str, number: str, far: Far, answers_after_s: float | None) -> Target:
        """A number behind a trunk."""
        self._known_trunk(trunk)
        return Target(
            endpoint=trunk,
            dialled=f"{number}@{trunk.partition('/')[2]}",
            context=TRUNKS_CONTEXT,
            identity=None,
            far=far,
            answers_after_s=answers_after_s,
        )

    async def _click(self, endpoint: str, message: Message) -> None:
        extension = endpoint.partition("/")[2]
        name = self._phones.get(extension, "")
        leg = self.click.begin(self.switch, endpoint, CallerId(extension, name), message)
        async with self._call(leg, None) as call:
            outcome = await self.click.ring(self.switch, call, leg, message)
            self.click.report(self.switch, leg, message, outcome)
            if outcome.leg is None:
                self.switch.hang_up(leg, outcome.cause)
                return
            number = message.get("Exten")
            if number in self._phones:
                target = self._phone(number, self.click.far, self.click.client_answers_after_s)
            else:
                target = self._trunk(self.click.trunk, number, self.click.far, self.click.client_answers_after_s)
                if self.click.shown:
                    self.switch.set_variable(leg, "CALLERID(num)", self.click.shown)
            await call.go(leg, [[target]], self.click.timeout_s, self.click.talk_s, source_hangs_up=True)

    @contextlib.asynccontextmanager
    async def _call(self, source: Channel, gives_up_s: float | None) -> AsyncIterator[Call]:
        """Keep the call where AMI finds it, and let the caller lose patience in time."""
        call = Call(self.switch, speed=self._speed, displayed=self._show)
        self._calls[source.linkedid] = call
        loop = asyncio.get_running_loop()
        patience = None
        if gives_up_s is not None:
            patience = loop.call_later(gives_up_s / self._speed, call.hang_up_by, source)
        try:
            yield call
        finally:
            if patience:
                patience.cancel()
            # Nothing is left of a call that went its way; one that was cancelled in the middle is hung up.
            for channel in [c for c in self.switch.channels.values() if c.linkedid == source.linkedid]:
                self.switch.leave_bridge(channel)
                self.switch.hang_up(channel, NORMAL)
            del self._calls[source.linkedid]

    def device_state(self, device: str) -> str:
        """What `DEVICE_STATE(PJSIP/151)` gives; every phone is registered."""
        known = device in self._trunks or device.removeprefix("PJSIP/") in self._phones
        return self.switch.device_state(device) if known else "INVALID"

    def _lift(self, extension: str, dialled: str) -> Channel:
        caller = CallerId(extension, self._phones[extension])
        return self.switch.new_channel(
            f"PJSIP/{extension}", state=RING, caller=caller, context=PHONES_CONTEXT, exten=dialled
        )

    def _phone(self, extension: str, far: Far | None, answers_after_s: float | None) -> Target:
        return Target(
            endpoint=f"PJSIP/{extension}",
            dialled=extension,
            context=PHONES_CONTEXT,
            identity=CallerId(extension, self._phones[extension]),
            far=far or Far.RINGS,
            answers_after_s=answers_after_s,
        )

    def _known_trunk(self, trunk: str) -> None:
        if trunk not in self._trunks:
            raise LookupError(f"the simulated PBX has no trunk {trunk}")

    def _publish(self, event_class: str, headers: Headers) -> None:
        self.manager.publish(event_class, headers)
        if self._cel:
            self._cel.receive(headers)

    def _show(self, leg: Channel) -> None:
        if leg.extension not in self._phones:
            return
        display = Display(leg.extension, leg.connected.name, leg.connected.number, self.switch.clock())
        self.displays.append(display)
        if len(self.displays) > MOST_DISPLAYS:
            del self.displays[: MOST_DISPLAYS // 2]
        if self._displayed:
            self._displayed(display)
