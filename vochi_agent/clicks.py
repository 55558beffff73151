"""A click on a phone number in a CRM, or on a button in a chat, becomes a call: the phone of who clicked rings first,
then the number is called.

What comes from a browser rings telephones and costs money, so nothing of it is taken on trust: who clicked has to be a
colleague of the configuration or of the CRM, the number one that may be called, and nobody clicks without end. A click
is never kept and never repeated: one that finds the PBX away is over, and its sender was answered before anything rang.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from vochi_agent.calls.model import CallUpdate
from vochi_agent.calls.outward import outward
from vochi_agent.change_ports import Click
from vochi_agent.errors import NotPossible, NotReachable, TooOften, VochiError
from vochi_agent.metrics import Metrics
from vochi_agent.registered_calls import RegisteredCalls

__all__ = ["Clicks", "Placing"]

log = logging.getLogger(__name__)

# A browser's second click, a CRM that sends again because our answer was lost.
REPETITION_S: Final = 5.0
MINUTE_S: Final = 60.0
MOST_A_MINUTE: Final = 10
MOST_WAITING: Final = 20
WORKERS: Final = 4
# Whoever clicked has long picked up his telephone himself: while it waited here, and on its way to us.
FRESH_S: Final = 10.0
LATE_S: Final = 15.0
CALL_LIMIT_S: Final = 10.0
NOBODY: Final = "who clicked has no extension here (agents)"


class Placing(Protocol):
    """Places a call; `control.ClickToCall.call_out` is one."""

    def __call__(
        self, extension: str, phone: str, *, begins: Callable[[str], Awaitable[None]] | None = None
    ) -> Awaitable[str]:
        """Ring the extension, then call the number; returns the linkedid, of which `begins` was told before.

        Raises VochiError.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Taken:
    """A click that is to ring a phone.

    Attributes:
        who: Whose it is, for the limits.
        extension: "" when the CRM has to be asked for it.
    """

    at: float
    who: str
    extension: str
    phone: str
    click: Click


class Clicks:
    """The clicks in one CRM of one enterprise, or in its chats.

    Args:
        agents: CRM user's id -> extension.
        country: ISO 3166 code of the enterprise.
        prefixes: See `calls.outward.outward`.
        registered: What becomes of the calls that the CRM registers by itself; None for a CRM that does not.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        enterprise_number: str,
        source: str,
        *,
        agents: Mapping[str, str],
        country: str,
        prefixes: Sequence[str],
        place: Placing,
        registered: RegisteredCalls | None = None,
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self.enterprise_number = enterprise_number
        self.source = source
        self._agents = agents
        self._country = country
        self._prefixes = prefixes
        self._place = place
        self._registered = registered
        self._clock = clock
        # 0 from the beginning, not nothing: what appears with its first event has not grown, so no alert sees it.
        self._results = {
            result: metrics.crm_clicks.labels(enterprise_number, source, result)
            for result in ("placed", "refused", "failed")
        }
        self._waiting: asyncio.Queue[_Taken] = asyncio.Queue(MOST_WAITING)
        self._recent: deque[_Taken] = deque()

    def take(self, click: Click) -> None:
        """Take a click; the telephone rings soon after. A repetition of the last seconds is taken once.

        Raises:
            NotPossible: nobody here clicked, or that number is not called.
            TooOften: this colleague, or everybody together, clicks too much.
        """
        self._forget_old()
        if click.remote_id and any(each.click.remote_id == click.remote_id for each in self._recent):
            return
        if taken := self._admitted(click):
            self._waiting.put_nowait(taken)

    async def ring(self, extension: str, phone: str) -> bool:
        """A click of somebody who waits for what comes of it: his phone rings now. False: it was a repetition.

        Raises:
            NotPossible, TooOften: as `take`.
            VochiError, TimeoutError: the PBX does not do it.
        """
        self._forget_old()
        taken = self._admitted(Click(phone=phone, extension=extension))
        if taken is None:
            return False
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                linkedid = await self._ring(taken.extension, taken)
        except (VochiError, TimeoutError):
            self._counted("failed")
            raise
        self._placed(taken.extension, linkedid)
        return True

    def tell(self, update: CallUpdate) -> None:
        """Take an update of a call; never waits."""
        if self._registered:
            self._registered.tell(update)

    async def run(self) -> None:
        """Place calls for ever."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(WORKERS):
                tasks.create_task(self._work(), name=f"clicks in {self.source} {number}")
            if self._registered:
                tasks.create_task(self._registered.run(), name=f"calls registered by {self.source}")

    def _admitted(self, click: Click) -> _Taken | None:
        """A click that is to ring a phone; None for a repetition. Raises NotPossible, TooOften."""
        try:
            if click.age_s > LATE_S:
                raise NotPossible("it came too late")
            extension = self._extension(click)
            phone = outward(click.phone, country=self._country, prefixes=self._prefixes)
            taken = _Taken(self._clock(), extension or f"user {click.user}", extension, phone, click)
            if self._is_repeated(taken):
                self._refused(click)
                return None
            self._admit(taken)
        except (NotPossible, TooOften):
            self._counted("refused")
            self._refused(click)
            raise
        self._recent.append(taken)
        return taken

    def _extension(self, click: Click) -> str:
        if extension := self._agents.get(click.user):
            return extension
        # Some CRMs name the extension themselves; where colleagues are configured it has to be one of theirs.
        if click.extension and (not self._agents or click.extension in self._agents.values()):
            return click.extension
        if click.user and self._registered:
            return ""
        raise NotPossible(NOBODY)

    def _forget_old(self) -> None:
        now = self._clock()
        while self._recent and self._recent[0].at <= now - MINUTE_S:
            self._recent.popleft()

    def _is_repeated(self, taken: _Taken) -> bool:
        since = taken.at - REPETITION_S
        return any((each.who, each.phone) == (taken.who, taken.phone) and each.at > since for each in self._recent)

    def _admit(self, taken: _Taken) -> None:
        if sum(each.who == taken.who for each in self._recent) >= MOST_A_MINUTE or self._waiting.full():
            raise TooOften("too many clicks, wait a minute")

    async def _work(self) -> None:
        while True:
            taken = await self._waiting.get()
            if self._clock() - taken.at > FRESH_S:
                self._counted("failed")
                self._refused(taken.click)
                continue
            try:
                async with asyncio.timeout(CALL_LIMIT_S):
                    extension = taken.extension or await self._asked_for(taken.click)
                    linkedid = await self._ring(extension, taken)
            except (VochiError, TimeoutError) as failure:
                self._counted("failed")
                self._failed(taken.click, failure)
            else:
                self._placed(extension, linkedid)

    def _placed(self, extension: str, linkedid: str) -> None:
        self._counted("placed")
        log.info(
            "A click in %s of %s rings %s", self.source, self.enterprise_number, extension,
            extra={"action": "click", "linkedid": linkedid},
        )  # fmt: skip

    async def _asked_for(self, click: Click) -> str:
        extension = await self._registered.extension_of(click.user) if self._registered else ""
        if not extension:
            raise NotPossible(NOBODY)
        return extension

    async def _ring(self, extension: str, taken: _Taken) -> str:
        registered = self._registered
        if registered is None:
            return await self._place(extension, taken.phone)

        async def begins(linkedid: str) -> None:
            await registered.begins(linkedid, taken.click)

        return await self._place(extension, taken.phone, begins=begins)

    def _failed(self, click: Click, failure: Exception) -> None:
        why = str(failure) or "no answer in time"
        log.warning(
            "A click in %s of %s rang no phone: %s", self.source, self.enterprise_number, why,
            extra={"action": "click_failed"},
        )  # fmt: skip
        if self._registered and isinstance(failure, NotReachable | TimeoutError):
            self._registered.doubtful(click)
        else:
            self._refused(click)

    def _refused(self, click: Click) -> None:
        # Of an older one we would not know any more whether it rang: its call may go on.
        if self._registered and click.age_s < MINUTE_S:
            self._registered.refused(click)

    def _counted(self, result: str) -> None:
        self._results[result].inc()
