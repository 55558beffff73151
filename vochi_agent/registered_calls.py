"""Calls that a CRM has registered by itself when somebody clicked on a number, before it told us of the click.

The call that follows has to be ended under the CRM's own id, or it would stand there twice; so the id is noted before
the telephone rings. A click that no call follows (it is refused, the PBX is away, nobody picks up his telephone) is
closed in the CRM: its card would stay on the screen for ever.
The id alone is kept. A daemon that dies between click and call leaves a card open, and never a call listed twice.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from vochi_agent.calls.model import CallFinished, CallProgress, CallUpdate, Direction
from vochi_agent.change_ports import Click, ClickRegistry
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable, StoreUnavailable

__all__ = ["NoteCall", "RegisteredCalls"]

log = logging.getLogger(__name__)

# A telephone rings half a minute; whoever picked it up at the last moment is dialling out by then.
CAME_ABOUT_S: Final = 45.0
MOST_OPEN: Final = 100

# Enterprise, CRM, linkedid, the CRM's own id of the call. Raises StoreUnavailable.
NoteCall = Callable[[str, str, str, str], Awaitable[None]]


class RegisteredCalls:
    """The registered calls of one CRM of one enterprise.

    Args:
        note: Keeps the CRM's id for everybody who tells the CRM of the call.
        ours: Whether this daemon hears what becomes of calls; another one does otherwise.
        came_about_s: How long after the telephone began to ring a call may come about.
    """

    def __init__(
        self,
        enterprise_number: str,
        crm: ClickRegistry,
        *,
        note: NoteCall,
        ours: Callable[[], bool],
        came_about_s: float = CAME_ABOUT_S,
    ) -> None:
        self._enterprise_number = enterprise_number
        self._crm = crm
        self._note = note
        self._ours = ours
        self._came_about_s = came_about_s
        self._expected: dict[str, tuple[Click, asyncio.TimerHandle]] = {}
        self._closing: asyncio.Queue[Click] = asyncio.Queue(MOST_OPEN)

    async def extension_of(self, user: str) -> str:
        """The extension of a user as the CRM has it, "" for none. Raises CrmUnavailable, CrmAuthFailed, CrmRejected."""
        return await self._crm.extension_of(user)

    async def begins(self, linkedid: str, click: Click) -> None:
        """A telephone is about to ring for a click."""
        if not click.remote_id:
            return
        timer = asyncio.get_running_loop().call_later(self._came_about_s, self._nothing_came, linkedid)
        self._expected[linkedid] = (click, timer)
        try:
            await self._note(self._enterprise_number, self._crm.name, linkedid, click.remote_id)
        except StoreUnavailable as reason:
            log.warning(
                "A click in %s of %s: its id is not kept, the call may be listed under another one: %s",
                self._crm.name, self._enterprise_number, reason, extra={"action": "click", "linkedid": linkedid},
            )  # fmt: skip

    def refused(self, click: Click) -> None:
        """No telephone rings for a click."""
        for linkedid in [each for each, (expected, _) in self._expected.items() if expected == click]:
            self._forget(linkedid)
        if not click.remote_id:
            return
        try:
            self._closing.put_nowait(click)
        except asyncio.QueueFull:
            log.debug("%s: too many clicks to close", self._crm.name, extra={"action": "click_closed"})

    def doubtful(self, click: Click) -> None:
        """Nobody knows whether a telephone rings for a click; when it was asked to, time will tell."""
        if all(expected != click for expected, _ in self._expected.values()):
            self.refused(click)

    def tell(self, update: CallUpdate) -> None:
        """Take an update; never waits."""
        if isinstance(update, CallProgress):
            if update.direction is Direction.OUT:
                self._forget(update.linkedid)
        elif isinstance(update, CallFinished):
            if update.call.direction is Direction.OUT:
                self._forget(update.call.linkedid)
            else:
                self._nothing_came(update.call.linkedid)

    async def run(self) -> None:
        """Close in the CRM what no call follows, for ever."""
        while True:
            click = await self._closing.get()
            try:
                await self._crm.close_click(click)
            except (CrmUnavailable, CrmAuthFailed, CrmRejected) as failure:
                # The CRM's client warned already, once an outage; a card that stays open is closed by hand.
                log.debug("%s: a click stays open: %s", self._crm.name, failure, extra={"action": "click_closed"})

    def _nothing_came(self, linkedid: str) -> None:
        click = self._forget(linkedid)
        if click is not None and self._ours():
            self.refused(click)

    def _forget(self, linkedid: str) -> Click | None:
        click, timer = self._expected.pop(linkedid, (None, None))
        if timer is not None:
            timer.cancel()
        return click
