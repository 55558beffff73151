"""Profiles on their way from a CRM to the customers' table: one task a number, patient while the database is away."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

from prometheus_client import Gauge
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from vochi_agent.customers.model import Profile
from vochi_agent.errors import StoreUnavailable

__all__ = ["Keeper", "OnProfile"]

log = logging.getLogger(__name__)

SAVE_LIMIT_S: Final = 10.0
SAVE_ATTEMPTS: Final = 5
MAX_UNSAVED: Final = 256  # profiles that wait for the database, a CRM


class OnProfile(Protocol):
    """Takes every profile found, late or not; `ports.CustomerDirectory.enrich` is one."""

    async def __call__(self, enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> object:
        """Keep the profile. Raises StoreUnavailable; it is called again then."""
        ...


class Keeper:
    """The profiles of one CRM of one enterprise.

    Args:
        on_profile: Keeps one.
        primary: The CRM's names win.
        start: Runs a coroutine as a task that somebody owns, under a name.
        kept: Told each profile of a caller that is stored.
        waiting: Shows how many are not.
    """

    def __init__(
        self,
        enterprise_number: str,
        source: str,
        on_profile: OnProfile,
        *,
        primary: bool,
        start: Callable[[Coroutine[None, None, None], str], None],
        kept: Callable[[Profile], None],
        waiting: Gauge,
    ) -> None:
        self._enterprise_number = enterprise_number
        self._source = source
        self._on_profile = on_profile
        self._primary = primary
        self._start = start
        self._kept = kept
        self._waiting = waiting
        self._unsaved: dict[str, Profile] = {}

    def keep(self, phone: str, profile: Profile) -> None:
        """Take a caller's profile; returns at once. What arrives while one of the same number waits replaces it."""
        waiting = phone in self._unsaved
        if not waiting and len(self._unsaved) >= MAX_UNSAVED:
            log.debug("The database is too far behind for one more profile", extra={"action": "profile_dropped"})
            return
        self._unsaved[phone] = profile
        self._waiting.set(len(self._unsaved))
        if not waiting:
            self._start(self._save(phone), "profile save")

    async def put(self, phone: str, profile: Profile) -> None:
        """Keep the profile of somebody who does not call, once. Raises StoreUnavailable, TimeoutError."""
        if phone not in self._unsaved:  # else he calls at this moment, and what is on its way is fresher
            await self._put(phone, profile)

    async def _save(self, phone: str) -> None:
        try:
            saved: Profile | None = None
            while saved is not self._unsaved[phone]:
                retrying = AsyncRetrying(
                    retry=retry_if_exception_type((StoreUnavailable, TimeoutError)),
                    stop=stop_after_attempt(SAVE_ATTEMPTS),
                    wait=wait_random_exponential(multiplier=0.2, max=10.0),
                    reraise=True,
                )
                saved = await retrying(self._save_once, phone)
            self._kept(saved)
        except (StoreUnavailable, TimeoutError):
            # The next call of this number brings the profile again.
            log.info("A profile of %s could not be kept", self._source, extra={"action": "profile_dropped"})
        finally:
            del self._unsaved[phone]
            self._waiting.set(len(self._unsaved))

    async def _save_once(self, phone: str) -> Profile:
        profile = self._unsaved[phone]
        await self._put(phone, profile)
        return profile

    async def _put(self, phone: str, profile: Profile) -> None:
        async with asyncio.timeout(SAVE_LIMIT_S):
            await self._on_profile(self._enterprise_number, phone, profile, primary=self._primary)
