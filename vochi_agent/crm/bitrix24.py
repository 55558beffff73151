"""Bitrix24 REST: the call's card on screens, the call in the CRM's telephony statistics, and who is calling.

A call is registered under an id of ours, so a repetition is known again; what is finished stays as it is. Who finished
it is responsible for it: the user who talked last. The call of a click is the one that the portal registered itself.
Source: the vendor's documentation of its REST API.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from vochi_agent.calls.model import Call, Direction, Phase, Reason
from vochi_agent.change_ports import Click
from vochi_agent.crm.bitrix24_cards import KINDS, SOURCE, Card, cards_of, company_cards, find_cards, mark_of, to_profile
from vochi_agent.crm.bitrix24_portal import Portal
from vochi_agent.crm.bitrix24_recordings import Recordings
from vochi_agent.crm.call_facts import agent_of, call_back
from vochi_agent.crm.companies import company_of
from vochi_agent.crm.fields import identifier, mapping, numeric_id, objects, text
from vochi_agent.customers.model import Company, Profile
from vochi_agent.errors import CrmRejected
from vochi_agent.expiring import Expiring
from vochi_agent.ports import Popup, Post

__all__ = ["Bitrix24"]

USERS_S: Final = 600.0
MOST_USERS: Final = 1000
REGISTERED_S: Final = 86400.0
MOST_REGISTERED: Final = 1000
OUTGOING, INCOMING = 1, 2
STATUS_CODES: Final[Mapping[Reason, str]] = {
    Reason.TALKED: "200",
    Reason.BUSY: "486",
    Reason.REJECTED: "603",
    Reason.CANCELLED: "603-S",
    Reason.FORBIDDEN: "403",
    Reason.BLOCKED: "423",
    Reason.FAILED: "503",
    Reason.UNREACHABLE: "480",
}
MISSED: Final = "304"


class Bitrix24:
    """One portal; fulfils `ports.CompanySource`, `ports.CallBook`, `ports.CallScreen`, `change_ports.ClickRegistry`.

    Args:
        url: The portal's address, for links.
        agents: User id -> extension; users that are not there are found by the extension in their own card.
        default_user: User id that a call which reached no user is given; "" for none.
        line: The external line that calls are shown under; "" for the line's own id.
        country: ISO 3166 code; how numbers without a country are read.
        clock: Monotonic seconds.
    """

    name = SOURCE

    def __init__(
        self,
        portal: Portal,
        *,
        url: str,
        agents: Mapping[str, str],
        default_user: str,
        line: str = "",
        lists_calls: bool = True,
        country: str,
        clock: Callable[[], float],
    ) -> None:
        self._portal = portal
        self._calls = portal.apart("calls")
        self._recordings = Recordings(portal)
        self._behind = portal.apart("changes")
        self._url = url.rstrip("/")
        self._agents = agents
        self._users = {extension: user for user, extension in reversed(list(agents.items()))}
        self._default_user = default_user
        self._line = line
        self._lists_calls = lists_calls
        self._country = country
        self._found_users: Expiring[str, str] = Expiring(ttl_s=USERS_S, size=MOST_USERS, clock=clock)
        # Whether our id of a call that is finished is known again is UNCONFIRMED; the portal's own id is.
        self._registered: Expiring[str, str] = Expiring(ttl_s=REGISTERED_S, size=MOST_REGISTERED, clock=clock)

    @property
    def portal(self) -> Portal:
        """For the portal's other methods, with a breaker of their own."""
        return self._behind

    async def profile(self, phone: str) -> Profile | None:
        """The person or company behind an E.164 number; see `ports.ProfileSource`."""
        cards, who = await find_cards(self._portal, phone, self._portal.http.deadline())
        return self._profile(cards, who, phone)

    async def person(self, external_id: str) -> Profile | None:
        """The contact, lead or company with this id; see `ports.ProfileSource`."""
        prefix = next((each for each in KINDS if each and external_id.startswith(each)), "")
        kind, number = KINDS[prefix], numeric_id(external_id.removeprefix(prefix))
        cards = await cards_of(self._behind, {kind: [number]}, self._behind.http.deadline()) if number else []
        return self._profile(cards, [], "")

    async def company(self, company_id: str) -> Company | None:
        """A company with its own numbers and those of its contacts; see `ports.CompanySource`."""
        number, deadline = numeric_id(company_id), self._behind.http.deadline()
        cards, whole = await company_cards(self._behind, number, deadline) if number else ([], False)
        profiles = [profile for card in cards if (profile := self._profile([card], [], ""))]
        return company_of(SOURCE, company_id, profiles, whole=whole) if cards else None

    async def scopes(self) -> Sequence[str]:
        """What we may do in the portal, in its words: `crm`, `telephony`, `user`. Raises as `profile`."""
        body = await self._behind.call("scope", {}, deadline=self._behind.http.deadline(), repeatable=True)
        found = body.get("result")
        return [text(each) for each in found] if isinstance(found, list) else []

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """See `ports.CallBook`. What is finished stays as it is: of a correction only a recording is added."""
        if not self._portal.telephony:
            raise CrmRejected("calls want an application (client_id, client_secret, refresh_token), not a webhook")
        call, deadline = post.call, self._calls.http.deadline()
        call_id = post.remote_id or await self._register(call, deadline)
        if not post.corrects:
            # Of an attempt that failed, for whatever reason, the end may have arrived.
            await self._finish(call, call_id, deadline, again=post.uncertain or post.failures > 0)
        if recording_url:
            await self._recordings.attach(post, call_id, recording_url)
        return call_id

    async def make_contact(self, call: Call) -> str:
        """See `rules.MakesContacts`."""
        return await self._make("crm.contact.add", {"NAME": call.phone, **await self._stranger(call)})

    async def make_lead(self, call: Call) -> str:
        """See `rules.MakesLeads`."""
        return await self._make("crm.lead.add", {"TITLE": call.phone, **await self._stranger(call)})

    async def make_task(self, call: Call, *, minutes: int) -> str:
        """See `rules.MakesTasks`; wants the right `task`."""
        deadline = self._calls.http.deadline()
        customer = await self.profile(call.phone) if call.phone else None
        user = ""
        for extension in (agent_of(call), customer.responsible if customer else ""):
            user = user or (await self._user_of(extension, deadline) if extension else "")
        if not user:
            return ""
        task = {
            "TITLE": call_back(call),
            "RESPONSIBLE_ID": user,
            "DEADLINE": (call.ended_at + timedelta(minutes=minutes)).isoformat(timespec="seconds"),
            **({"UF_CRM_TASK": [mark_of(customer)]} if customer else {}),
        }
        return await self._make("tasks.task.add", task)

    async def _stranger(self, call: Call) -> dict[str, object]:
        """His number is all that is known of him; the responsible user is who talked."""
        talked = call.last_agent
        user = await self._user_of(talked, self._calls.http.deadline()) if talked else ""
        phones = [{"VALUE": call.phone, "VALUE_TYPE": "WORK"}]
        return {"PHONE": phones, **({"ASSIGNED_BY_ID": user} if user else {})}

    async def _make(self, method: str, fields: Mapping[str, object]) -> str:
        deadline = self._behind.http.deadline()
        body = await self._behind.call(method, {"fields": fields}, deadline=deadline, repeatable=False)
        made = body.get("result")  # of a task the whole of it
        return identifier(mapping(mapping(made).get("task")).get("id")) or identifier(made)

    async def show(self, popup: Popup) -> str:
        """See `ports.CallScreen`. The portal hears of a call when the first phone rings; its end is `log_call`'s.

        The card of a call that no `log_call` will end is hidden: it became part of another, or calls are not listed.
        """
        progress = popup.progress
        ended_by_list = popup.finished is not None and self._lists_calls
        if not self._portal.telephony or progress.phone is None or ended_by_list:
            return popup.remote_id
        deadline, call_id = self._calls.http.deadline(), popup.remote_id
        began = [user for each in popup.began if (user := await self._user_of(each, deadline))]
        if not call_id:
            if not began:
                return ""
            facts = _registration(
                phone=progress.phone,
                outgoing=progress.direction is Direction.OUT,
                started_at=datetime.fromtimestamp(progress.started_at, UTC),
                line=self._line or progress.line,
                external_id=_external_id(progress.enterprise_number, progress.linkedid),
            )
            result = await self._ask(
                "telephony.externalcall.register", {**facts, "USER_ID": began[0], "SHOW": 1}, deadline
            )
            call_id, began = text(result.get("CALL_ID")), began[1:]
        ended = [user for each in popup.ended if (user := await self._user_of(each, deadline))]
        for method, users in (("show", began), ("hide", ended)):
            if users and (progress.phase is Phase.DIAL or method == "hide"):
                await self._ask(f"telephony.externalcall.{method}", {"CALL_ID": call_id, "USER_ID": users}, deadline)
        return call_id

    async def extension_of(self, user: str) -> str:
        """See `change_ports.ClickRegistry`: the inner number in the user's card."""
        if user in self._agents:
            return self._agents[user]
        wanted = {"FILTER": {"ID": user, "ACTIVE": True}}
        body = await self._calls.call("user.get", wanted, deadline=self._calls.http.deadline(), repeatable=True)
        found = (each for each in objects(body.get("result")) if identifier(each.get("ID")) == user)
        return text(next(found, {}).get("UF_PHONE_INNER"))

    async def close_click(self, click: Click) -> None:
        """See `change_ports.ClickRegistry`: a call that was cancelled, as the portal's own statistics have it."""
        if self._portal.telephony:
            facts = {"CALL_ID": click.remote_id, "USER_ID": click.user, "DURATION": 0, "ADD_TO_CHAT": 0}
            cancelled = {**facts, "STATUS_CODE": STATUS_CODES[Reason.CANCELLED]}
            await self._ask("telephony.externalcall.finish", cancelled, self._calls.http.deadline(), repeatable=False)

    async def _register(self, call: Call, deadline: float) -> str:
        external_id = _external_id(call.enterprise_number, call.linkedid)
        if known := self._registered.get(external_id):
            return known
        facts = _registration(
            phone=call.phone or call.raw_number,
            outgoing=call.direction is Direction.OUT,
            started_at=call.started_at,
            line=self._line or call.line,
            external_id=external_id,
        )
        result = await self._ask(
            "telephony.externalcall.register",
            {**facts, "USER_ID": await self._whose(call, deadline), "SHOW": 0},
            deadline,
        )
        call_id = text(result.get("CALL_ID"))
        self._registered.put(external_id, call_id)
        return call_id

    async def _finish(self, call: Call, call_id: str, deadline: float, *, again: bool) -> None:
        parameters = {
            "CALL_ID": call_id,
            "USER_ID": await self._whose(call, deadline),
            "DURATION": round(call.talk_seconds),
            "STATUS_CODE": STATUS_CODES.get(call.reason, MISSED),
            "ADD_TO_CHAT": 0,
        }
        try:
            await self._ask("telephony.externalcall.finish", parameters, deadline, repeatable=False)
        except CrmRejected as refusal:
            # A finished call is not found any more: our earlier request, whose answer was lost, had arrived.
            if not again or "not found" not in str(refusal).lower():
                raise

    async def _whose(self, call: Call, deadline: float) -> str:
        """The user it is written to: who talked last, else who placed it, else whose phone rang first."""
        for extension in dict.fromkeys((call.last_agent or "", call.first_agent or "", *call.rung)):
            if extension and (user := await self._user_of(extension, deadline)):
                return user
        if self._default_user:
            return self._default_user
        raise CrmRejected("no user of the portal has an extension of this call, and default_user is not configured")

    async def _user_of(self, extension: str, deadline: float) -> str:
        """The user with this inner number, "" when there is none."""
        if extension in self._users:
            return self._users[extension]
        known = self._found_users.get(extension)
        if known is None:
            wanted = {"FILTER": {"UF_PHONE_INNER": extension, "ACTIVE": True}}
            body = await self._calls.call("user.get", wanted, deadline=deadline, repeatable=True)
            # A filter that is ignored would bring everybody.
            users = [each for each in objects(body.get("result")) if text(each.get("UF_PHONE_INNER")) == extension]
            known = identifier(users[0].get("ID")) if users else ""
            self._found_users.put(extension, known)
        return known

    async def _ask(
        self, method: str, parameters: Mapping[str, object], deadline: float, *, repeatable: bool = True
    ) -> Mapping[str, object]:
        body = await self._calls.call(method, parameters, deadline=deadline, repeatable=repeatable)
        return mapping(body.get("result"))

    def _profile(self, cards: Sequence[Card], who: Sequence[Mapping[str, object]], phone: str) -> Profile | None:
        return to_profile(cards, who, phone=phone, url=self._url, agents=self._agents, country=self._country)


def _registration(
    *, phone: str, outgoing: bool, started_at: datetime, line: str | None, external_id: str
) -> dict[str, object]:
    return {
        "PHONE_NUMBER": phone,
        "TYPE": OUTGOING if outgoing else INCOMING,
        "CALL_START_DATE": started_at.isoformat(timespec="seconds"),
        "CRM_CREATE": 0,
        # Without it two calls of one number within half an hour are taken for one.
        "EXTERNAL_CALL_ID": external_id,
        **({"LINE_NUMBER": line} if line else {}),
    }


def _external_id(enterprise_number: str, linkedid: str) -> str:
    return f"{enterprise_number}-{linkedid}"
