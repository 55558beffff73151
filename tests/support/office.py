"""A daemon with RetailCRM and U-ON, a database and no PBX: what CRMs tell by themselves, over real HTTP."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from tests.support.polling import until
from tests.support.ports import free_port
from vochi_agent.config import load
from vochi_agent.customers.model import Customer
from vochi_agent.daemon import Daemon, assembled
from vochi_agent.lifetime import living
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.uon import UonSandbox
from vochi_agent.store.postgres import PostgresStore

__all__ = ["HOOKS", "Office", "office"]

HOOKS = {"uon": "Uon-Hook-11", "retailcrm": "Retail-Hook-22"}

CONFIGURATION = """
[daemon]
state_dir = "{folder}/state"
[database]
url = "{dsn}"
[fastagi]
listen = "127.0.0.1:{agi_port}"
[http]
listen = "127.0.0.1:{http_port}"
[[enterprises]]
number = "0901"
country = "BY"
primary_source = "{primary}"
  [enterprises.asterisk]
  ami = "127.0.0.1:{ami_port}"
  ami_username = "vochi"
  ami_secret = "s"
  [enterprises.crm.uon]
  url = "{uon_url}"
  api_key = "uon-key"
  webhook_secret = "{uon_hook}"
  account_id = "900"
  subdomain = "demo"
  agents = {{ "5" = "151" }}
  [enterprises.crm.retailcrm]
  url = "{retailcrm_url}"
  api_key = "retail-key"
  webhook_secret = "{retailcrm_hook}"
  history_s = {history_s}
"""


@dataclass
class Office:
    """The daemon, its CRMs and its database."""

    daemon: Daemon
    uon: UonSandbox
    retailcrm: RetailCrmSandbox
    store: PostgresStore
    session: aiohttp.ClientSession

    def address(self, crm: str = "uon", *, secret: str | None = None, enterprise: str = "0901") -> str:
        """Where a CRM sends its webhooks."""
        secret = HOOKS.get(crm, "x") if secret is None else secret
        return f"http://127.0.0.1:{self.daemon.http_port}/webhooks/{enterprise}/{crm}/{secret}"

    async def post(self, fields: Mapping[str, Any] | bytes, crm: str = "uon", **where: Any) -> int:
        """Send a form, or bytes as they are; returns the status."""
        body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        async with self.session.post(self.address(crm, **where), data=body, headers=headers) as response:
            await response.read()
            return response.status

    async def post_json(self, value: object, crm: str = "uon", **where: Any) -> int:
        """Send JSON."""
        async with self.session.post(self.address(crm, **where), json=value) as response:
            await response.read()
            return response.status

    async def customer(self, phone: str) -> Customer | None:
        """The row of a number."""
        return await self.store.customers.customer("0901", phone)

    async def named(self, phone: str, last_name: str, *, within: float = 5.0) -> Customer:
        """The row of a number, once it has this name."""

        async def there() -> bool:
            row = await self.customer(phone)
            return row is not None and row.names.last_name == last_name

        await until(there, within=within)
        row = await self.customer(phone)
        assert row is not None
        return row

    async def settled(self, crm: str = "uon", *, within: float = 5.0) -> None:
        """Return when no change of a CRM waits any more."""

        async def empty() -> bool:
            return await self.store.changes.waiting("0901", crm) == 0

        await until(empty, within=within)

    def count(self, name: str, crm: str = "uon", **labels: str) -> float:
        """A metric of a CRM."""
        value = self.daemon.metrics.registry.get_sample_value(name, {"enterprise": "0901", "source": crm} | labels)
        return value or 0.0


@asynccontextmanager
async def office(
    folder: Path, dsn: str, store: PostgresStore, *, primary: str = "uon", history_s: float = 0, **changes: object
) -> AsyncIterator[Office]:
    """The office at work; `changes` of the configuration's values."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        uon = await enter(UonSandbox(api_key="uon-key"))
        retailcrm = await enter(RetailCrmSandbox(api_key="retail-key"))
        values: dict[str, object] = {
            "folder": folder,
            "dsn": dsn,
            "agi_port": free_port(),
            "http_port": free_port(),
            "ami_port": free_port(),
            "primary": primary,
            "uon_url": uon.url,
            "uon_hook": HOOKS["uon"],
            "retailcrm_url": retailcrm.url,
            "retailcrm_hook": HOOKS["retailcrm"],
            "history_s": history_s,
        }
        path = folder / "config.toml"
        path.write_text(CONFIGURATION.format(**values | changes))
        session = await enter(aiohttp.ClientSession())
        daemon = await enter(assembled(load(path)))
        await enter(living(daemon))
        await daemon.schema_ready.wait()
        yield Office(daemon, uon, retailcrm, store, session)
