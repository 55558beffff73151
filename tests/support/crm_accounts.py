"""One account of each CRM with the same people in it, so that one suite can be run over every adapter."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from tests.support.crm import API_KEY, retailcrm_at, uon_at
from vochi_agent.config.tables import CrmConfig, RetailCrmConfig, UonConfig
from vochi_agent.ports import ProfileSource
from vochi_agent.simulator.crm_server import Fault
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.uon import UonSandbox

__all__ = ["ACCOUNTS", "CONTACT_COMPANY", "HOME", "KNOWN", "NAME", "STRANGER", "Account"]

KNOWN = "+375290000022"
SECOND = "+375290000023"
HOME = "+375290000055"
STRANGER = "+4930000001"
NAME = "Тестов Тест"
CONTACT_COMPANY = "Ромашка"


class Sandbox(Protocol):
    """What every stand-in can do."""

    fault: Fault | None
    silence_s: float
    url: str
    requests: Sequence[Any]

    async def wait_for_requests(self, count: int) -> None:
        """Returns as soon as so many requests have come."""
        ...


class Account:
    """An account with two people: one with two numbers and a manager, one whose number is written as at home.

    Attributes:
        name: Of the CRM.
        person_id: The first one's.
        search_route: Where a search arrives.
    """

    name: str
    person_id = "2002"
    search_route: str

    def __init__(self, *, requests_per_s: int = 1000) -> None:
        self.sandbox: Any = self.stand_in(requests_per_s)
        self.person("2001", "Чужой", "", ["+375290000044"])
        self.person(self.person_id, "Тестов", "Тест", ["375290000022", SECOND], manager="7")
        self.person("2004", "Домашний", "", ["8 (029) 000-00-55"])

    def stand_in(self, requests_per_s: int) -> Any:
        """The server, not running yet."""
        raise NotImplementedError

    def person(self, external_id: str, last: str, first: str, phones: Sequence[str], *, manager: str = "") -> None:
        """Add a person, or replace his card."""
        raise NotImplementedError

    def adapter(self, session: aiohttp.ClientSession, *, url: str = "", **facts: Any) -> ProfileSource:
        """The adapter against the stand-in, or against another address."""
        raise NotImplementedError

    def config(self, **facts: Any) -> CrmConfig:
        """A table of the configuration."""
        raise NotImplementedError

    def listed(self) -> Sequence[str]:
        """The numbers of the calls in the account's own list, each as often as it is there."""
        raise NotImplementedError

    def shown(self) -> Sequence[str]:
        """Whose screens were told of a live call, in order: extension or user."""
        raise NotImplementedError

    def found(self, phone: str) -> Mapping[str, object]:
        """The body of a search that found somebody."""
        raise NotImplementedError

    def refused(self, message: str) -> web.Response:
        """How a key is refused."""
        raise NotImplementedError


class RetailCrmAccount(Account):
    """Of RetailCRM."""

    name = "retailcrm"
    search_route = "/api/v5/customers"

    def stand_in(self, requests_per_s: int) -> RetailCrmSandbox:
        return RetailCrmSandbox(api_key=API_KEY, requests_per_s=requests_per_s)

    def person(self, external_id: str, last: str, first: str, phones: Sequence[str], *, manager: str = "") -> None:
        manager_id = int(manager) if manager else None
        self.sandbox.add_customer(
            int(external_id), last_name=last, first_name=first, phones=phones, manager_id=manager_id
        )

    def adapter(self, session: aiohttp.ClientSession, *, url: str = "", **facts: Any) -> ProfileSource:
        return retailcrm_at(url or self.sandbox.url, session, **facts)

    def config(self, **facts: Any) -> CrmConfig:
        return RetailCrmConfig(url=self.sandbox.url, api_key=API_KEY, **facts)

    def listed(self) -> Sequence[str]:
        return [str(call["phone"]) for call in self.sandbox.calls]

    def shown(self) -> Sequence[str]:
        return [code for event in self.sandbox.events for code in event["codes"]]

    def found(self, phone: str) -> Mapping[str, object]:
        return {"success": True, "customers": [{"id": 5, "lastName": "Найденов", "phones": [{"number": phone}]}]}

    def refused(self, message: str) -> web.Response:
        return web.json_response({"success": False, "errorMsg": f'Wrong "apiKey" value. {message}'}, status=403)


class UonAccount(Account):
    """Of U-ON."""

    name = "uon"
    agents: Mapping[str, str] = {"5": "151"}
    search_route = "/{key}/user/phone/{phone}"

    def stand_in(self, requests_per_s: int) -> UonSandbox:
        return UonSandbox(api_key=API_KEY, requests_per_s=requests_per_s)

    def person(self, external_id: str, last: str, first: str, phones: Sequence[str], *, manager: str = "") -> None:
        # The manager's id of the suite in this CRM.
        manager_id = 5 if manager else None
        self.sandbox.add_user(int(external_id), surname=last, name=first, phones=phones, manager_id=manager_id)

    def adapter(self, session: aiohttp.ClientSession, *, url: str = "", **facts: Any) -> ProfileSource:
        return uon_at(url or self.sandbox.url, session, **facts)

    def config(self, **facts: Any) -> CrmConfig:
        return UonConfig(url=self.sandbox.url, api_key=API_KEY, **facts)

    def listed(self) -> Sequence[str]:
        return [call["phone"] for call in self.sandbox.calls]

    def shown(self) -> Sequence[str]:
        return [self.agents[notice["manager_id"]] for notice in self.sandbox.notices]

    def found(self, phone: str) -> Mapping[str, object]:
        return {"result": 200, "users": [{"u_id": 5, "u_surname": "Найденов", "u_phone": phone}]}

    def refused(self, message: str) -> web.Response:
        return web.json_response({"error": {"message": f"API key is wrong. {message}"}}, status=403)


ACCOUNTS = (RetailCrmAccount, UonAccount)
