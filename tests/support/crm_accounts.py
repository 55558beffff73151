"""One account of each CRM with the same people in it, so that one suite can be run over every adapter."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from aiohttp import web

from tests.support.crm import API_KEY, HandClock
from vochi_agent.calls.model import Reason
from vochi_agent.config.tables import (
    AmoCrmConfig,
    Bitrix24Config,
    CrmConfig,
    MoySkladConfig,
    RetailCrmConfig,
    UonConfig,
)
from vochi_agent.crm import CRMS, Surroundings
from vochi_agent.crm.http import CrmHttp
from vochi_agent.ports import CallBook, ProfileSource
from vochi_agent.simulator.amocrm import AmoCrmSandbox
from vochi_agent.simulator.bitrix24 import Bitrix24Sandbox
from vochi_agent.simulator.crm_server import Fault
from vochi_agent.simulator.moysklad import MoySkladSandbox
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.uon import UonSandbox

__all__ = ["ACCOUNTS", "COMPANIES", "CONTACT_COMPANY", "HOME", "KNOWN", "NAME", "STRANGER", "Account", "built"]

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
        agents: User id -> extension; the person's manager is the one with 151.
        person_id: The first one's.
        search_route: Where a search arrives.
        results: Reason of a call -> what `result` says then.
        corrected: What `result` says of a missed call that is corrected into a conversation.
        costs: Requests that the search for a person takes, that for a stranger, and that for a number written as at
            home.
    """

    name: str
    agents: Mapping[str, str] = {"7": "151", "8": "150"}
    costs = (1, 1, 2)
    results: Mapping[Reason, object] = {}
    corrected: object = None
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

    def company(self, company_id: str, name: str, people: Mapping[str, Sequence[str]], *, phone: str = "") -> None:
        """Add a company of these people, by id with their numbers; `phone`: its own, where there is such a thing."""
        raise NotImplementedError

    def config(self, **facts: Any) -> CrmConfig:
        """A table of the configuration."""
        raise NotImplementedError

    def adapter(self, session: aiohttp.ClientSession, *, url: str = "", **facts: Any) -> ProfileSource:
        """The adapter against the stand-in, or against another address, with a clock and patience of the test."""
        key = {"api_key": facts.pop("api_key")} if "api_key" in facts else {}
        table = self.config(**key, agents=self.agents)
        table = table.model_copy(update={"rps": facts.pop("rps", 1000.0)} | ({"url": url} if url else {}))
        return built(table, self.name, session, **facts)

    def book(self, session: aiohttp.ClientSession, folder: Path, *, url: str = "", **facts: Any) -> CallBook:
        """The adapter with all that lists and cards of calls need."""
        keys = {key: facts.pop(key) for key in ("phone_key", "api_key") if key in facts}
        table = self.config(**{**self.telephony(), **keys}, agents=self.agents)
        table = table.model_copy(update={"rps": facts.pop("rps", 1000.0)} | ({"url": url} if url else {}))
        crm = built(table, self.name, session, state_dir=folder, **{"budget_s": 2.0, **facts})
        assert isinstance(crm, CallBook)
        return crm

    def telephony(self) -> Mapping[str, Any]:
        """The keys that lists and cards of calls need besides."""
        return {}

    def secrets(self) -> Sequence[str]:
        """What the adapter of `book` knows and nobody may read."""
        return [API_KEY]

    def listed(self) -> Sequence[str]:
        """The numbers of the calls in the account's own list, each as often as it is there."""
        raise NotImplementedError

    def shown(self) -> Sequence[str]:
        """Whose screens were told of a live call, in order: extension or user."""
        raise NotImplementedError

    def result(self) -> object:
        """What the account says became of its last call."""
        raise NotImplementedError

    def tasks(self) -> Sequence[tuple[str, str, str, str]]:
        """The tasks of the account's users: whose, when in UTC to the minute, what, about which card."""
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
    results: Mapping[Reason, object] = {
        Reason.TALKED: ("answered", 62),
        Reason.NO_ANSWER: ("no answer", 0),
        Reason.BUSY: ("busy", 0),
        Reason.REJECTED: ("busy", 0),
    }
    corrected = ("no answer", 0)

    def stand_in(self, requests_per_s: int) -> RetailCrmSandbox:
        return RetailCrmSandbox(api_key=API_KEY, requests_per_s=requests_per_s)

    def person(self, external_id: str, last: str, first: str, phones: Sequence[str], *, manager: str = "") -> None:
        manager_id = int(manager) if manager else None
        self.sandbox.add_customer(
            int(external_id), last_name=last, first_name=first, phones=phones, manager_id=manager_id
        )

    def config(self, **facts: Any) -> CrmConfig:
        return RetailCrmConfig(**{"url": self.sandbox.url, "api_key": API_KEY, **facts})

    def listed(self) -> Sequence[str]:
        return [f"+{call['phone']}" for call in self.sandbox.calls]

    def shown(self) -> Sequence[str]:
        return [code for event in self.sandbox.events for code in event["codes"]]

    def result(self) -> object:
        return self.sandbox.calls[-1]["result"], self.sandbox.calls[-1]["duration"]

    def company(self, company_id: str, name: str, people: Mapping[str, Sequence[str]], *, phone: str = "") -> None:
        for person, phones in people.items():
            self.person(person, f"К{person}", "", phones)
        self.sandbox.add_company(int(company_id), nick_name=name, contacts=list(map(int, people)))

    def tasks(self) -> Sequence[tuple[str, str, str, str]]:
        return [
            (str(each["performerId"]), each["datetime"], each["text"], str(each.get("customer", {}).get("id", "")))
            for each in self.sandbox.tasks
        ]

    def found(self, phone: str) -> Mapping[str, object]:
        return {"success": True, "customers": [{"id": 5, "lastName": "Найденов", "phones": [{"number": phone}]}]}

    def refused(self, message: str) -> web.Response:
        return web.json_response({"success": False, "errorMsg": f'Wrong "apiKey" value. {message}'}, status=403)


class UonAccount(Account):
    """Of U-ON."""

    name = "uon"
    agents: Mapping[str, str] = {"5": "151", "6": "150"}
    results: Mapping[Reason, object] = {
        Reason.TALKED: ("", "62"),
        Reason.NO_ANSWER: ("Нет ответа", "0"),
        Reason.BUSY: ("Занято", "0"),
        Reason.REJECTED: ("Звонок отклонён", "0"),
    }
    corrected = ("Нет ответа", "0")
    search_route = "/{key}/user/phone/{phone}"

    def stand_in(self, requests_per_s: int) -> UonSandbox:
        return UonSandbox(api_key=API_KEY, requests_per_s=requests_per_s)

    def person(self, external_id: str, last: str, first: str, phones: Sequence[str], *, manager: str = "") -> None:
        # The manager's id of the suite in this CRM.
        manager_id = 5 if manager else None
        self.sandbox.add_user(int(external_id), surname=last, name=first, phones=phones, manager_id=manager_id)

    def config(self, **facts: Any) -> CrmConfig:
        return UonConfig(**{"url": self.sandbox.url, "api_key": API_KEY, **facts})

    def listed(self) -> Sequence[str]:
        return [f"+{call['phone']}" for call in self.sandbox.calls]

    def shown(self) -> Sequence[str]:
        return [self.agents[notice["manager_id"]] for notice in self.sandbox.notices]

    def result(self) -> object:
        return self.sandbox.calls[-1].get("note", ""), self.sandbox.calls[-1]["duration"]

    def tasks(self) -> Sequence[tuple[str, str, str, str]]:
        return [
            (each["manager_id"], each["datetime"][:16], each["text"], each.get("tr_id", ""))
            for each in self.sandbox.reminders
        ]

    def found(self, phone: str) -> Mapping[str, object]:
        return {"result": 200, "users": [{"u_id": 5, "u_surname": "Найденов", "u_phone": phone}]}

    def refused(self, message: str) -> web.Response:
        return web.json_response({"error": {"message": f"API key is wrong. {message}"}}, status=403)


class MoySkladAccount(Account):
    """Of MoySklad; without a telephony key, so that employees are those of the configuration."""

    name = "moysklad"
    costs = (1, 1, 1)
    search_route = "/api/remap/1.2/entity/counterparty"
    results: Mapping[Reason, object] = {
        Reason.TALKED: ("Разговор: 151", 62_000),
        Reason.NO_ANSWER: ("Нет ответа", 0),
        Reason.BUSY: ("Занято", 0),
        Reason.REJECTED: ("Звонок отклонён", 0),
    }
    corrected = ("Разговор: 151", 0)  # what is filled once stays, but for the comment

    def stand_in(self, requests_per_s: int) -> MoySkladSandbox:
        return MoySkladSandbox(data_key=API_KEY, phone_key="phone-key", data_limit=(requests_per_s, 1.0))

    def person(self, external_id: str, last: str, first: str, phones: Sequence[str], *, manager: str = "") -> None:
        # One field for the name, one for all numbers.
        self.sandbox.add_counterparty(
            external_id, name=f"{last} {first}".strip(), phone=", ".join(phones), owner=manager
        )

    def company(self, company_id: str, name: str, people: Mapping[str, Sequence[str]], *, phone: str = "") -> None:
        contacts = [(person, f"К{person}", ", ".join(phones)) for person, phones in people.items()]
        self.sandbox.add_counterparty(company_id, name=name, company_type="legal", phone=phone, contacts=contacts)

    def telephony(self) -> Mapping[str, Any]:
        return {"phone_key": "phone-key"}

    def secrets(self) -> Sequence[str]:
        return [API_KEY, "phone-key"]

    def listed(self) -> Sequence[str]:
        return [call.fields["number"] for call in self.sandbox.calls.values() if "duration" in call.fields]

    def shown(self) -> Sequence[str]:
        events = [event for call in self.sandbox.calls.values() for event in call.events]
        return [event["extension"] for event in events if event["eventType"] == "SHOW"]

    def result(self) -> object:
        fields = list(self.sandbox.calls.values())[-1].fields
        return fields["comment"], fields["duration"]

    def config(self, **facts: Any) -> CrmConfig:
        return MoySkladConfig(**{"url": self.sandbox.url, "api_key": API_KEY, **facts})

    def tasks(self) -> Sequence[tuple[str, str, str, str]]:
        def linked(task: Mapping[str, Any], name: str) -> str:
            return str(task[name]["meta"]["href"].rpartition("/")[2]) if name in task else ""

        def at(task: Mapping[str, Any]) -> datetime:
            return datetime.fromisoformat(task["dueToDate"]).replace(tzinfo=ZoneInfo("Europe/Moscow")).astimezone(UTC)

        return [
            (linked(each, "assignee"), f"{at(each):%Y-%m-%d %H:%M}", each["description"], linked(each, "agent"))
            for each in self.sandbox.tasks
        ]

    def found(self, phone: str) -> Mapping[str, object]:
        return {"rows": [{"id": "5", "name": "Найденов", "phone": phone}]}

    def refused(self, message: str) -> web.Response:
        return web.json_response({"errors": [{"error": f"Ошибка аутентификации: {message}", "code": 1056}]}, status=403)


class Bitrix24Account(Account):
    """Of Bitrix24, by an inbound webhook."""

    name = "bitrix24"
    costs = (2, 1, 2)
    search_route = "/rest/1/{secret}/batch.json"
    results: Mapping[Reason, object] = {
        Reason.TALKED: ("200", 62),
        Reason.NO_ANSWER: ("304", 0),
        Reason.BUSY: ("486", 0),
        Reason.REJECTED: ("603", 0),
    }
    corrected = ("304", 0)

    def stand_in(self, requests_per_s: int) -> Bitrix24Sandbox:
        return Bitrix24Sandbox(webhook_secret=API_KEY, bucket=requests_per_s * 2)

    def person(self, external_id: str, last: str, first: str, phones: Sequence[str], *, manager: str = "") -> None:
        self.sandbox.add_contact(external_id, last_name=last, name=first, phones=phones, user=manager)

    def company(self, company_id: str, name: str, people: Mapping[str, Sequence[str]], *, phone: str = "") -> None:
        self.sandbox.add_company(company_id, title=name, phones=[phone] if phone else [])
        for person, phones in people.items():
            self.sandbox.add_contact(person, last_name=f"К{person}", phones=phones, company=company_id)

    def telephony(self) -> Mapping[str, Any]:
        self.sandbox.add_user("7", extension="151")
        self.sandbox.add_user("8", extension="150")
        client_id, client_secret = self.sandbox.client
        application = {"client_id": client_id, "client_secret": client_secret, "refresh_token": "first-refresh"}
        return {"user_id": "", "api_key": "", "oauth_url": self.sandbox.url, **application}

    def secrets(self) -> Sequence[str]:
        return [self.sandbox.client[1], "first-refresh", self.sandbox.token, self.sandbox.refresh_token]

    def listed(self) -> Sequence[str]:
        return [call.fields["PHONE_NUMBER"] for call in self.sandbox.calls.values() if call.finished]

    def shown(self) -> Sequence[str]:
        bodies = [each.body for each in self.sandbox.requests if each.path.startswith("/rest/telephony.externalcall.")]
        opened = [each["USER_ID"] for each in bodies if each.get("SHOW")]
        return [{"7": "151", "8": "150"}[user] for user in opened]

    def result(self) -> object:
        finished = list(self.sandbox.calls.values())[-1].finished
        return finished["STATUS_CODE"], finished["DURATION"]

    def config(self, **facts: Any) -> CrmConfig:
        return Bitrix24Config(**{"url": self.sandbox.url, "user_id": "1", "api_key": API_KEY, **facts})

    def tasks(self) -> Sequence[tuple[str, str, str, str]]:
        return [
            (
                each["RESPONSIBLE_ID"],
                f"{datetime.fromisoformat(each['DEADLINE']).astimezone(UTC):%Y-%m-%d %H:%M}",
                each["TITLE"],
                each.get("UF_CRM_TASK", [""])[0].removeprefix("C_"),
            )
            for each in self.sandbox.tasks
        ]

    def found(self, phone: str) -> Mapping[str, object]:
        return {"result": {"result": {"ids": {"CONTACT": [5]}}, "result_error": []}}

    def refused(self, message: str) -> web.Response:
        return web.json_response({"error": "NO_AUTH_FOUND", "error_description": message}, status=401)


class AmoCrmAccount(Account):
    """Of amoCRM, with a long-lived token."""

    name = "amocrm"
    costs = (1, 2, 1)
    search_route = "/api/v4/contacts"
    results: Mapping[Reason, object] = {
        Reason.TALKED: (4, 62),
        Reason.NO_ANSWER: (6, 0),
        Reason.BUSY: (7, 0),
        Reason.REJECTED: (6, 0),
    }
    corrected = (6, 0)

    def stand_in(self, requests_per_s: int) -> AmoCrmSandbox:
        return AmoCrmSandbox(token=API_KEY, requests_per_s=requests_per_s)

    def person(self, external_id: str, last: str, first: str, phones: Sequence[str], *, manager: str = "") -> None:
        name = f"{last} {first}".strip()
        self.sandbox.add_contact(
            int(external_id), name=name, last_name=last, first_name=first, phones=phones, user=int(manager or 0)
        )

    def listed(self) -> Sequence[str]:
        calls = [call["phone"] for calls in self.sandbox.calls.values() for call in calls]
        return [f"+{phone}" for phone in (*calls, *(lead["metadata"]["from"] for lead in self.sandbox.unsorted))]

    def company(self, company_id: str, name: str, people: Mapping[str, Sequence[str]], *, phone: str = "") -> None:
        self.sandbox.add_company(int(company_id), name=name, phones=[phone] if phone else [])
        for person, phones in people.items():
            self.sandbox.add_contact(
                int(person), name=f"К{person}", last_name=f"К{person}", phones=phones, company=int(company_id)
            )

    def shown(self) -> Sequence[str]:
        return [{7: "151", 8: "150"}[user] for popup in self.sandbox.popups for user in popup["users"]]

    def result(self) -> object:
        call = [call for calls in self.sandbox.calls.values() for call in calls][-1]
        return call["call_status"], call["duration"]

    def config(self, **facts: Any) -> CrmConfig:
        return AmoCrmConfig(**{"url": self.sandbox.url, "api_key": API_KEY, **facts})

    def tasks(self) -> Sequence[tuple[str, str, str, str]]:
        return [
            (
                str(each["responsible_user_id"]),
                f"{datetime.fromtimestamp(each['complete_till'], UTC):%Y-%m-%d %H:%M}",
                each["text"],
                str(each.get("entity_id", "")),
            )
            for each in self.sandbox.tasks
        ]

    def found(self, phone: str) -> Mapping[str, object]:
        values = [{"field_code": "PHONE", "values": [{"value": phone}]}]
        return {"_embedded": {"contacts": [{"id": 5, "name": "Найденов", "custom_fields_values": values}]}}

    def refused(self, message: str) -> web.Response:
        return web.json_response({"title": "Forbidden", "status": 403, "detail": message}, status=403)


def built(config: CrmConfig, name: str, session: aiohttp.ClientSession, **facts: Any) -> ProfileSource:
    """The adapter that the registry makes of a table; `facts` may bring a clock, a place for states, patience.

    Raises:
        KeyError: nobody knows this CRM.
    """
    states = facts.pop("states", None)
    state_dir = facts.pop("state_dir", Path("/nowhere"))
    clock = facts.pop("clock", None) or HandClock()
    limiters = facts.pop("limiters", {})
    patience = {key: facts.pop(key) for key in ("attempt_s", "budget_s") if key in facts}
    assert not facts, facts
    around = Surroundings(
        enterprise_number="0901",
        country="BY",
        session=session,
        clock=clock,
        on_state=(states if states is not None else []).append,
        state_dir=state_dir,
        limiters=limiters,
    )
    with short_patience(**patience):
        return CRMS[name](config, around)


@contextmanager
def short_patience(**seconds: float) -> Iterator[None]:
    """Clients that are made meanwhile wait no longer than this."""
    with pytest.MonkeyPatch.context() as patch:
        usual = dict(CrmHttp.__init__.__kwdefaults__)
        patch.setattr(CrmHttp.__init__, "__kwdefaults__", {**usual, **seconds})
        yield


ACCOUNTS = (RetailCrmAccount, UonAccount, MoySkladAccount, Bitrix24Account, AmoCrmAccount)
# Those that know companies: with U-ON a company is a field of a person's card.
COMPANIES = tuple(account for account in ACCOUNTS if account is not UonAccount)
