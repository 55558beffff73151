"""The table of customers with a memory for bad times: while PostgreSQL is away, who was seen lately is still known.

Invariant: memory answers only when the database does not; while it works every answer is the database's own.

After a failure nobody waits for the database any more: callers get what is remembered at once, and one lookup at a
time, which no caller waits for, finds out whether it is back.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from vochi_agent.calls.call_backs import CallBack
from vochi_agent.calls.model import Call, Direction
from vochi_agent.customers.model import Customer, History, Profile
from vochi_agent.errors import StoreUnavailable
from vochi_agent.ports import CardDraft, CustomerDirectory, Renderer, Talked, TalkHistory

__all__ = ["Directory", "RememberedCustomers"]

REMEMBERED: Final = 10_000
# A lookup takes milliseconds; a caller's telephone rings only when all is asked.
PATIENCE_S: Final = 0.5
PAUSE_S: Final = 1.0


class Directory(CustomerDirectory, TalkHistory, Protocol):
    """The table of customers, and who talked with them."""


class RememberedCustomers:
    """Fulfils `ports.CustomerDirectory` and `ports.TalkHistory` around another one.

    Args:
        size: How many customers are remembered; those not seen for longest make room.
        patience_s: How long a caller waits for the database.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        size: int = REMEMBERED,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._size = size
        self._patience_s = patience_s
        self._clock = clock
        self._memory: OrderedDict[tuple[str, str], Customer] = OrderedDict()
        self._paused_until: float | None = None
        self._trial: asyncio.Task[None] | None = None

    @property
    def from_memory(self) -> bool:
        """The database is away; memory answers."""
        return self._paused_until is not None

    async def customer(self, enterprise_number: str, phone: str, *, within_s: float | None = None) -> Customer | None:
        """The row of an E.164 number, or what is remembered of it.

        Args:
            within_s: For a caller who cannot wait as long as others.

        Raises:
            StoreUnavailable: the database is away and nothing is remembered.
        """
        if self._paused_until is not None:
            self._try_again(enterprise_number, phone)
            return self._remembered(enterprise_number, phone)
        try:
            return await self._ask(
                enterprise_number,
                phone,
                within_s=self._patience_s if within_s is None else min(self._patience_s, within_s),
            )
        except StoreUnavailable:
            return self._remembered(enterprise_number, phone)

    async def talked(self, enterprise_number: str, phone: str) -> Talked:
        """Who talked with a number; while the database is away only who talked last, as far as it is remembered.

        Raises:
            StoreUnavailable: the database is away and nothing is remembered.
        """
        if self._paused_until is None:
            try:
                async with asyncio.timeout(self._patience_s):
                    return await self._directory.talked(enterprise_number, phone)
            except (StoreUnavailable, TimeoutError):
                self._pause()
        else:
            self._try_again(enterprise_number, phone)
        history = self._remembered(enterprise_number, phone).history
        return Talked(last=history.last_agent_internal or "")

    async def enrich(self, enterprise_number: str, phone: str, profile: Profile, *, primary: bool) -> Customer | None:
        """See `ports.CustomerDirectory.enrich`. Raises StoreUnavailable."""
        customer = await self._directory.enrich(enterprise_number, phone, profile, primary=primary)
        if customer is not None:
            self._remember(customer)
        return customer

    def remembered(self, enterprise_number: str) -> set[str]:
        """The numbers of an enterprise that are remembered."""
        return {phone for number, phone in self._memory if number == enterprise_number}

    def correct(self, enterprise_number: str, phones: Sequence[str], rows: Sequence[Customer]) -> None:
        """Somebody else changed the rows of these numbers: what is remembered of them becomes what they are now."""
        fresh = {row.phone_e164: row for row in rows}
        for phone in phones:
            key = (enterprise_number, phone)
            before = self._memory.get(key)
            if before and phone in fresh:
                # In its old place: to be edited is not to be seen.
                self._memory[key] = _as_we_called(fresh[phone], before)
            else:
                self._memory.pop(key, None)

    def watching(self, render: Renderer) -> Renderer:
        """`render`, and the customer of every call that is stored is remembered."""

        def rendered(
            call: Call, customer: Customer | None, before: History | None, *, call_back: CallBack | None = None
        ) -> Sequence[CardDraft]:
            if customer is not None:
                called = call.started_at if call.direction is Direction.OUT else None
                self._remember(replace(customer, called_at=called))
            return render(call, customer, before, call_back=call_back)

        return rendered

    async def aclose(self) -> None:
        """End a lookup that is under way."""
        if self._trial is not None:
            self._trial.cancel()
            await asyncio.wait([self._trial])

    async def _ask(self, enterprise_number: str, phone: str, *, within_s: float | None) -> Customer | None:
        try:
            customer = await self._directory.customer(enterprise_number, phone, within_s=within_s)
        except StoreUnavailable:
            # One that was given less time than it may take has not failed.
            if within_s is None or within_s >= self._patience_s:
                self._pause()
            raise
        self._paused_until = None
        if customer is None:
            self._memory.pop((enterprise_number, phone), None)
        else:
            self._remember(customer)
        return customer

    def _pause(self) -> None:
        self._paused_until = self._clock() + PAUSE_S

    def _try_again(self, enterprise_number: str, phone: str) -> None:
        under_way = self._trial is not None and not self._trial.done()
        if under_way or self._paused_until is None or self._clock() < self._paused_until:
            return
        # Not a TaskGroup: the asker leaves at once, and no task lives as long as this object.
        self._trial = asyncio.get_running_loop().create_task(
            self._try(enterprise_number, phone), name="lookup of a customer"
        )

    async def _try(self, enterprise_number: str, phone: str) -> None:
        try:
            # With the database's own deadline: one that is slow to come back is back.
            await self._ask(enterprise_number, phone, within_s=None)
        except StoreUnavailable:
            return

    def _remember(self, customer: Customer) -> None:
        key = (customer.enterprise_number, customer.phone_e164)
        self._memory[key] = _as_we_called(customer, self._memory.get(key))
        self._memory.move_to_end(key)
        if len(self._memory) > self._size:
            self._memory.popitem(last=False)

    def _remembered(self, enterprise_number: str, phone: str) -> Customer:
        customer = self._memory.get((enterprise_number, phone))
        if customer is None:
            raise StoreUnavailable("the database is away and the number is not remembered")
        return customer


def _as_we_called(customer: Customer, before: Customer | None) -> Customer:
    """Not every row says when we called last; what one said stays known."""
    if before and before.called_at and (customer.called_at is None or customer.called_at < before.called_at):
        return replace(customer, called_at=before.called_at)
    return customer
