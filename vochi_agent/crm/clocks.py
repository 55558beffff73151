"""Whether the clocks of CRMs agree with ours: every answer says in `Date` what time it is there (RFC 9110 §6.6.1).

Nothing is decided by a CRM's clock. But calls are told at our times, so an hour between the two puts every call of a
CRM's list in the wrong place; it is said once, and once more when it is over.
"""

import logging
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Final

import aiohttp

__all__ = ["TOLERANCE_S", "Clocks"]

log = logging.getLogger(__name__)

# `Date` has whole seconds, and an answer may have been long on its way.
TOLERANCE_S: Final = 60.0


class Clocks:
    """The clocks of all servers that a session speaks with.

    Args:
        clock: Ours, epoch seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._offsets: dict[str, float] = {}

    @property
    def offsets(self) -> Mapping[str, float]:
        """By host: how many seconds its clock was ahead of ours at its last answer."""
        return self._offsets

    def trace(self) -> aiohttp.TraceConfig:
        """What makes a session look at every answer."""
        config = aiohttp.TraceConfig()
        config.on_request_end.append(self._answered)
        return config

    async def _answered(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, answered: aiohttp.TraceRequestEndParams
    ) -> None:
        del session, context
        try:
            said = parsedate_to_datetime(answered.response.headers.get("Date", ""))
            offset = said.timestamp() - self._clock()
        except (ValueError, OverflowError, TypeError, IndexError):
            return  # whatever a hostile header makes of the parser, the answer itself may be fine
        host = answered.url.host_port_subcomponent or ""
        was, self._offsets[host] = self._offsets.get(host, 0.0), offset
        if abs(offset) > TOLERANCE_S >= abs(was):
            log.warning(
                "The clock of %s is %.0f s %s ours: calls are listed there at our times", host, abs(offset),
                "ahead of" if offset > 0 else "behind", extra={"action": "crm_clock"},
            )  # fmt: skip
        elif abs(was) > TOLERANCE_S >= abs(offset):
            log.info("The clock of %s agrees with ours again", host, extra={"action": "crm_clock"})
