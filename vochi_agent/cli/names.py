"""Where a command learns whose a number is: from the table and the CRMs, as the daemon does. Nothing is kept of it."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from vochi_agent.caller_id import Customers
from vochi_agent.config import Config, Enterprise
from vochi_agent.crms import crms_of
from vochi_agent.customers.model import Customer, Profile
from vochi_agent.enrichment import Enrichment
from vochi_agent.errors import StoreUnavailable
from vochi_agent.metrics import Metrics

from .stored import existing_store

__all__ = ["sources_of"]


@asynccontextmanager
async def sources_of(
    config: Config, enterprise: Enterprise, session: aiohttp.ClientSession
) -> AsyncIterator[tuple[Customers, Enrichment]]:
    """The table, which may be empty or away, and the enterprise's CRMs, which are asked through `session`.

    Raises:
        ConfigError: see `existing_store`.
    """
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(existing_store(config))
            customers: Customers = store.customers if store else _Nobody()
        except StoreUnavailable as exc:
            customers = _Nobody(exc)
        metrics = Metrics()
        crms = {enterprise.number: crms_of(enterprise, session, metrics, state_dir=config.daemon.state_dir)}
        enrichment = Enrichment(crms, on_profile=_keep_nothing, metrics=metrics, clock=time.monotonic)
        stack.push_async_callback(enrichment.aclose)
        yield customers, enrichment


class _Nobody:
    """A table of customers that is empty, or that does not answer."""

    def __init__(self, failure: StoreUnavailable | None = None) -> None:
        self._failure = failure

    async def customer(self, enterprise_number: str, phone: str, *, within_s: float | None = None) -> Customer | None:
        """Fulfils `caller_id.Customers`."""
        del enterprise_number, phone, within_s
        if self._failure:
            raise self._failure
        return None


async def _keep_nothing(enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> None:
    """Only the daemon keeps what a CRM says, when it sees the call."""
    del enterprise_number, phone, profile, primary
