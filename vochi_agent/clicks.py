"""A click on a phone number in a CRM becomes a call: the phone of who clicked rings first, then the number is called.

What comes from a browser rings telephones and costs money, so nothing of it is taken on trust: who clicked has to be a
colleague of the configuration, the number one that may be called, and nobody clicks without end. A click is never kept
and never repeated: one that finds the PBX away is over, and its sender was answered before anything rang.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from vochi_agent.calls.outward import outward
from vochi_agent.change_ports import Click
from vochi_agent.errors import NotPossible, TooOften, VochiError
from vochi_agent.metrics import Metrics

__all__ = ["Clicks", "Placing"]

log = logging.getLogger(__name__)

# A browser's second click, a CRM that sends again because our answer was lost.
REPETITION_S: Final = 5.0
MINUTE_S: Final = 60.0
MOST_A_MINUTE: Final = 10
MOST_WAITING: Final = 20
WORKERS: Final = 4
# Whoever clicked has long picked up his telephone himself.
FRESH_S: Final = 10.0
CALL_LIMIT_S: Final = 10.0


class Placing(Protocol):
    """Places a call; `control.ClickToCall.call_out` is one."""

    def __call__(self, extension: str, phone: str) -> Awaitable[str]:
        """Ring the extension, then call the number; returns the linkedid. Raises VochiError."""
        ...


class Clicks:
    """The clicks in one CRM of one enterprise.

    Args:
        agents: CRM user's id -> extension.
        country: ISO 3166 code of the enterprise.
        prefixes: See `calls.outward.outward`.
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
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self.enterprise_number = enterprise_number
        self.source = source
        self._agents = agents
        self._country = country
        self._prefixes = prefixes
        self._place = place
        self._clock = clock
        self._count = metrics.crm_clicks.labels
        self._waiting: asyncio.Queue[tuple[float, str, str]] = asyncio.Queue(MOST_WAITING)
        self._recent: deque[tuple[float, str, str]] = deque()

    def take(self, click: Click) -> None:
        """Take a click; the telephone rings soon after. A repetition of the last seconds is taken once.

        Raises:
            NotPossible: nobody here clicked, or that number is not called.
            TooOften: this colleague, or everybody together, clicks too much.
        """
        try:
            extension = self._extension(click)
            phone = outward(click.phone, country=self._country, prefixes=self._prefixes)
            if self._is_repeated(extension, phone):
                return
            self._admit(extension)
        except (NotPossible, TooOften):
            self._counted("refused")
            raise
        self._recent.append((self._clock(), extension, phone))
        self._waiting.put_nowait((self._clock(), extension, phone))

    async def run(self) -> None:
        """Place calls for ever."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(WORKERS):
                tasks.create_task(self._work(), name=f"clicks in {self.source} {number}")

    def _extension(self, click: Click) -> str:
        if extension := self._agents.get(click.user):
            return extension
        # Some CRMs name the extension themselves; where colleagues are configured it has to be one of theirs.
        if click.extension and (not self._agents or click.extension in self._agents.values()):
            return click.extension
        raise NotPossible("who clicked has no extension here (agents)")

    def _is_repeated(self, extension: str, phone: str) -> bool:
        now = self._clock()
        while self._recent and self._recent[0][0] <= now - MINUTE_S:
            self._recent.popleft()
        return any(each[1:] == (extension, phone) and each[0] > now - REPETITION_S for each in self._recent)

    def _admit(self, extension: str) -> None:
        if sum(each[1] == extension for each in self._recent) >= MOST_A_MINUTE or self._waiting.full():
            raise TooOften("too many clicks, wait a minute")

    async def _work(self) -> None:
        while True:
            taken_at, extension, phone = await self._waiting.get()
            if self._clock() - taken_at > FRESH_S:
                self._counted("failed")
                continue
            try:
                async with asyncio.timeout(CALL_LIMIT_S):
                    linkedid = await self._place(extension, phone)
            except (VochiError, TimeoutError) as failure:
                self._counted("failed")
                log.warning(
                    "A click in %s of %s rang no phone: %s", self.source, self.enterprise_number, failure,
                    extra={"action": "click_failed"},
                )  # fmt: skip
            else:
                self._counted("placed")
                log.info(
                    "A click in %s of %s rings %s", self.source, self.enterprise_number, extension,
                    extra={"action": "click", "linkedid": linkedid},
                )  # fmt: skip

    def _counted(self, result: str) -> None:
        self._count(self.enterprise_number, self.source, result).inc()
