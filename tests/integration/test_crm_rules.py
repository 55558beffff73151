"""What follows from calls in CRMs: a contact for a stranger, a reminder of a missed call; once, and none by default."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.calls import answered, missed
from tests.support.crm import HandClock
from tests.support.crm_accounts import ACCOUNTS, Account, AmoCrmAccount, Bitrix24Account, UonAccount, built
from tests.support.polling import until
from vochi_agent.call_books import CallBooks, Pace
from vochi_agent.calls.model import Direction, Reason
from vochi_agent.crm import CRMS, Surroundings, books_of, lists_of
from vochi_agent.errors import CrmRejected, CrmUncertain
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CallBook, Post
from vochi_agent.simulator.crm_server import Fault
from vochi_agent.store.postgres import PostgresStore

STRANGER, KNOWN = "+375290000099", "+375290000022"
EVERY = pytest.mark.parametrize("kind", ACCOUNTS, ids=lambda kind: kind.name)
LEADING = pytest.mark.parametrize("kind", [UonAccount, Bitrix24Account, AmoCrmAccount], ids=lambda kind: kind.name)
# Requests of a search for a stranger at home, where they are not two.
SEARCHES = {"moysklad": 1, "bitrix24": 1}


def rules_of(account: Account, session: aiohttp.ClientSession, **keys: Any) -> list[CallBook]:
    """The rules that a configuration switches on, as the daemon builds them."""
    config = account.config(agents=account.agents, **keys)
    around = Surroundings(
        enterprise_number="0901",
        country="BY",
        session=session,
        clock=HandClock(),
        on_state=[].append,
        state_dir=Path("/nonexistent"),
    )
    source = CRMS[account.name](config, around)
    books = books_of(source, config, clock=HandClock())
    assert [book.name for book in books] == lists_of(account.name, config)
    return books[1:]


def post(call: Any, **facts: Any) -> Post:
    return Post(id=1, call=call, customer=None, **facts)


@EVERY
async def test_by_default_nothing_follows(kind: type[Account], session: aiohttp.ClientSession) -> None:
    assert rules_of(kind(), session) == []


@EVERY
async def test_a_stranger_who_calls_becomes_a_contact_once_and_who_is_known_stays(
    kind: type[Account], session: aiohttp.ClientSession
) -> None:
    account = kind()
    async with account.sandbox:
        (rule,) = rules_of(account, session, unknown_in="contact")
        for number in range(3):
            await rule.log_call(post(answered(linkedid=f"1.{number}", phone=STRANGER)), recording_url="")
        await rule.log_call(post(answered(phone=KNOWN)), recording_url="")
        found = await account.adapter(session).profile(STRANGER)

    assert (account.sandbox.holders(STRANGER), account.sandbox.holders(KNOWN)) == (1, 1)
    assert found is not None
    assert found.responsible == "151"


@EVERY
async def test_a_blocked_caller_and_the_other_direction_make_nobody(
    kind: type[Account], session: aiohttp.ClientSession
) -> None:
    account = kind()
    async with account.sandbox:
        (rule,) = rules_of(account, session, unknown_in="contact")
        await rule.log_call(post(missed(phone=STRANGER, reason=Reason.BLOCKED)), recording_url="")
        await rule.log_call(post(answered(phone=STRANGER, direction=Direction.OUT)), recording_url="")

    assert account.sandbox.holders(STRANGER) == 0


@EVERY
async def test_a_contact_whose_answer_was_lost_is_looked_for(
    kind: type[Account], session: aiohttp.ClientSession
) -> None:
    account = kind()
    async with account.sandbox:
        (rule,) = rules_of(account, session, unknown_in="contact")

        async def lose_the_answer() -> None:
            # The search comes first.
            await account.sandbox.wait_for_requests(SEARCHES.get(account.name, 2))
            account.sandbox.fault = Fault.LOST

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(lose_the_answer())
            with pytest.raises(CrmUncertain) as doubt:
                await rule.log_call(post(answered(phone=STRANGER)), recording_url="")
        account.sandbox.fault = None
        await rule.log_call(post(answered(phone=STRANGER), uncertain=True), recording_url="")

    assert doubt.value.settles_s >= 30
    assert account.sandbox.holders(STRANGER) == 1


async def test_a_lead_whose_answer_was_lost_is_left_to_a_person(session: aiohttp.ClientSession) -> None:
    account = UonAccount()
    async with account.sandbox:
        (rule,) = rules_of(account, session, unknown_out="lead")
        outbound = answered(phone=STRANGER, direction=Direction.OUT)
        await rule.log_call(post(outbound), recording_url="")
        with pytest.raises(CrmRejected, match="outbox --listed"):
            await rules_of(account, session, unknown_out="lead")[0].log_call(
                post(outbound, uncertain=True), recording_url=""
            )

    assert [lead["u_phone"] for lead in account.sandbox.leads] == [STRANGER.removeprefix("+")]


@LEADING
async def test_a_lead_is_made_of_a_number_that_is_called_once(
    kind: type[Account], session: aiohttp.ClientSession
) -> None:
    account = kind()
    async with account.sandbox:
        (rule,) = rules_of(account, session, unknown_out="lead")
        for number in range(2):
            call = answered(linkedid=f"1.{number}", phone=STRANGER, direction=Direction.OUT)
            await rule.log_call(post(call), recording_url="")
        await rule.log_call(post(answered(phone=STRANGER)), recording_url="")

    leads = account.sandbox.leads if account.name != "bitrix24" else account.sandbox.holders(STRANGER) * [1]
    assert len(leads) == 1


@EVERY
async def test_a_missed_call_is_a_task_for_whom_it_was_or_for_the_customers_manager_and_nobody_else(
    kind: type[Account], session: aiohttp.ClientSession
) -> None:
    account = kind()
    async with account.sandbox:
        (rule,) = rules_of(account, session, missed_task=15)
        for call in (
            missed(phone=STRANGER, rung=("151",)),
            missed(phone=KNOWN, rung=("150", "152")),
            missed(phone=STRANGER, rung=("150", "152")),
            answered(phone=KNOWN),
            missed(phone=KNOWN, direction=Direction.OUT),
        ):
            await rule.log_call(post(call), recording_url="")
        with pytest.raises(CrmRejected):
            await rule.log_call(post(missed(phone=KNOWN), uncertain=True), recording_url="")

    manager = next(user for user, extension in account.agents.items() if extension == "151")
    assert account.tasks() == [
        (manager, "2026-11-20 12:15", "Перезвонить: +375 (29) 000-00-99. Нет ответа", ""),
        (manager, "2026-11-20 12:15", "Перезвонить: +375 (29) 000-00-22. Нет ответа", account.person_id),
    ]


@asynccontextmanager
async def working(store: PostgresStore, books: list[CallBook]):
    """The outbox's workers."""
    call_books = CallBooks(
        [("0901", book) for book in books],
        store.outbox,
        ours=lambda _: True,
        recording_url=lambda _: "",
        metrics=Metrics(),
        pace=Pace(look_again=0.05),
    )
    task = asyncio.create_task(call_books.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@EVERY
async def test_two_calls_of_one_stranger_at_once_make_one_contact(
    kind: type[Account], store: PostgresStore, session: aiohttp.ClientSession
) -> None:
    account = kind()
    async with account.sandbox:
        rules = rules_of(account, session, unknown_in="contact")
        store.calls.crms = {"0901": [rule.name for rule in rules]}
        started = datetime.now(UTC) - timedelta(minutes=5)
        async with working(store, rules):
            calls = [answered(linkedid=f"1.{number}", phone=STRANGER, started_at=started) for number in range(4)]
            await asyncio.gather(*(store.calls.record(call, lambda *_, **__: []) for call in calls))

            async def done() -> bool:
                return not await store.outbox.states()

            await until(done, within=10)

    assert account.sandbox.holders(STRANGER) == 1


async def test_amocrm_lists_a_strangers_call_once_its_contact_is_there(
    store: PostgresStore, session: aiohttp.ClientSession
) -> None:
    """A call without a card could not be attached to anything."""
    account = AmoCrmAccount()
    async with account.sandbox:
        config = account.config(agents=account.agents, unknown_in="contact")
        books = books_of(built(config, account.name, session), config, clock=HandClock())
        store.calls.crms = {"0901": lists_of(account.name, config)}
        async with working(store, books):
            started = datetime.now(UTC) - timedelta(minutes=5)
            await store.calls.record(answered(phone=STRANGER, started_at=started), lambda *_, **__: [])

            async def done() -> bool:
                return not await store.outbox.states()

            await until(done, within=10)

    assert account.listed() == [STRANGER]
