"""A caller's colleagues: behind the call of a company's contact its CRM is asked for all the others.

Invariants: no call waits for this; a company is asked about at most once in `PERIOD_S`, companies one after another, so
that at most one request of ours stands before a live call's in the CRM's rate limit; what a CRM does not answer in
full lets nobody go.
"""

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

from vochi_agent.customers.model import Company, Profile
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable, StoreUnavailable
from vochi_agent.expiring import Expiring
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CompanySource

__all__ = ["Contacts", "Fetched", "LetGo", "SaveProfile"]

log = logging.getLogger(__name__)

PERIOD_S: Final = 600.0
MAX_KNOWN: Final = 4096
MAX_WAITING: Final = 64  # companies; who does not fit is asked about behind a later call


class Fetched(StrEnum):
    """What became of a company."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    UNKNOWN = "unknown"
    ERROR = "error"
    UNSAVED = "unsaved"


class SaveProfile(Protocol):
    """Keeps the profile of one number."""

    async def __call__(self, phone: str, profile: Profile) -> object:
        """Keep it. Raises StoreUnavailable."""
        ...


class LetGo(Protocol):
    """Parts numbers that a company no longer lists; `store.directory.Customers.let_go` is one."""

    async def __call__(self, enterprise_number: str, company: Company) -> object:
        """Part them. Raises StoreUnavailable."""
        ...


class Contacts:
    """The companies of one CRM of one enterprise.

    Args:
        save: Called for each contact, one after another.
        let_go: Called when a company was complete.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        enterprise_number: str,
        source: CompanySource,
        *,
        save: SaveProfile,
        let_go: LetGo,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._enterprise_number = enterprise_number
        self._source = source
        self._save = save
        self._let_go = let_go
        self._fetched = {
            outcome: metrics.crm_companies.labels(enterprise_number, source.name, outcome.value) for outcome in Fetched
        }
        self._asked: Expiring[str, bool] = Expiring(ttl_s=PERIOD_S, size=MAX_KNOWN, clock=clock)
        self._waiting: dict[str, None] = {}
        self._working = False

    def want(self, company_id: str) -> bool:
        """Somebody of this company called. True: `work` has to be run now; it is not running."""
        if not company_id or self._asked.get(company_id) or len(self._waiting) >= MAX_WAITING:
            return False
        self._asked.put(company_id, value=True)
        self._waiting[company_id] = None
        idle, self._working = not self._working, True
        return idle

    async def work(self) -> None:
        """Fetch the companies that are wanted, until none is."""
        try:
            while self._waiting:
                company_id = next(iter(self._waiting))
                del self._waiting[company_id]
                self._fetched[await self._fetch(company_id)].inc()
        finally:
            self._working = False

    async def _fetch(self, company_id: str) -> Fetched:
        try:
            company = await self._source.company(company_id)
            if company is None:
                return Fetched.UNKNOWN
            await self._keep(company)
        except (CrmUnavailable, CrmRejected, CrmAuthFailed) as failure:
            log.debug("No contacts from %s: %s", self._source.name, failure, extra={"action": "crm_company"})
            return Fetched.ERROR
        except (StoreUnavailable, TimeoutError):
            # The company's next caller brings them again.
            log.info("Contacts of %s could not be kept", self._source.name, extra={"action": "profile_dropped"})
            return Fetched.UNSAVED
        return Fetched.COMPLETE if company.complete else Fetched.PARTIAL

    async def _keep(self, company: Company) -> None:
        saved: set[str] = set()
        for phone, profile in company.contacts.items():
            # One save does for all numbers of a person; a number of two contacts is his who was named last.
            if profile.external_id not in saved or phone not in profile.phones:
                await self._save(phone, profile)
                saved.add(profile.external_id)
        if company.complete:
            await self._let_go(self._enterprise_number, company)
