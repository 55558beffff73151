"""What others do to customers (a command, another daemon) reaches what this daemon remembers of them.

The channel `vochi_customers` carries `enterprise number` for every row whose names, identity or marks have changed.
Whoever listens again after an outage has missed some: then everything remembered is read again.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

from vochi_agent.errors import StoreUnavailable

from .database import Database
from .directory import Customers
from .family import CUSTOMERS_CHANNEL
from .remembered import RememberedCustomers

__all__ = ["CustomerNews"]

BATCH: Final = 500
AGAIN_S: Final = 1.0


class CustomerNews:
    """Keeps the memory of customers true.

    Attributes:
        heard: Told each change, by enterprise and number.
        missed: Told that changes were missed.
    """

    def __init__(self, database: Database, memory: RememberedCustomers, *, enterprises: Sequence[str]) -> None:
        self.heard: Callable[[str, str], None] = lambda *_: None
        self.missed: Callable[[], None] = lambda: None
        self._database = database
        self._customers = Customers(database)
        self._memory = memory
        self._enterprises = enterprises
        self._changed: dict[str, set[str]] = {}
        self._something = asyncio.Event()

    async def run(self) -> None:
        """Listen and read again, for ever; while the database is away, quietly: others say that it is."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="news of customers")
            tasks.create_task(self._read_again(), name="memory of customers")

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):
                await self._database.listen(CUSTOMERS_CHANNEL, self._take)
            await asyncio.sleep(AGAIN_S)

    def _take(self, told: str) -> None:
        enterprise_number, _, phone = told.rpartition(" ")
        if phone:
            self.heard(enterprise_number, phone)
            self._changed.setdefault(enterprise_number, set()).add(phone)
        else:
            self.missed()
            for number in self._enterprises:
                self._changed.setdefault(number, set()).update(self._memory.remembered(number))
        self._something.set()

    async def _read_again(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            while self._changed:
                enterprise_number, phones = next(iter(self._changed.items()))
                batch = sorted(phones & self._memory.remembered(enterprise_number))[:BATCH]
                if not batch:
                    del self._changed[enterprise_number]
                    continue
                phones.difference_update(batch)
                await self._read(enterprise_number, batch)

    async def _read(self, enterprise_number: str, phones: Sequence[str]) -> None:
        # When the database is away the listener's connection ends too, and everything is read again afterwards.
        with contextlib.suppress(StoreUnavailable):
            rows = await self._customers.customers(enterprise_number, phones)
            self._memory.correct(enterprise_number, phones, rows)
