"""CRMs that keep no history of changes: their webhooks tell what changed, and of a company who its people are."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from vochi_agent.change_ports import HistoryPage

__all__ = ["NoHistory"]


class NoHistory:
    """Fulfils `change_ports.ChangeFeed` with no history to look at.

    Args:
        people: Ids of the people of a company. Raises as `ProfileSource.profile`.
    """

    histories: Sequence[str] = ()
    period_s = 0.0

    def __init__(self, people: Callable[[str], Awaitable[Sequence[str]]]) -> None:
        self._people = people

    async def present(self, history: str, now: datetime) -> int:
        """Never asked."""
        raise NotImplementedError

    async def after(self, history: str, since_id: int, started_at: datetime) -> HistoryPage:
        """Never asked."""
        raise NotImplementedError

    async def contacts(self, company_id: str) -> Sequence[str]:
        """See `change_ports.ChangeFeed`."""
        return await self._people(company_id)
