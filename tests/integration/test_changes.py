"""The work on changes that CRMs told of: claims, repetitions, bugs; on a real PostgreSQL."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import asyncpg
import pytest

from tests.support.audit import audit
from tests.support.calls import answered
from tests.support.polling import until
from tests.support.renderers import no_cards
from tests.support.served import served
from vochi_agent.change_ports import Change, Click, HistoryPage
from vochi_agent.changes import Changes
from vochi_agent.config.tables import MoySkladConfig
from vochi_agent.crm.moysklad_changes import MoySkladWebhook
from vochi_agent.customers.model import Names, Profile
from vochi_agent.errors import CrmRejected, CrmUnavailable, NotPossible
from vochi_agent.metrics import Metrics
from vochi_agent.store.changes import CrmChanges
from vochi_agent.store.database import Database
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.web.webhooks import Receiver, webhook_routes

PHONE = "+375290000022"


def person(external_id: str, name: str, *phones: str) -> Profile:
    return Profile(source="uon", external_id=external_id, names=Names(last_name=name), phones=phones)


class Scripted:
    """A CRM that answers for each id what the test says; an exception is raised."""

    name = "uon"

    def __init__(self, people: dict[str, Profile | Exception | None]) -> None:
        self.people = people
        self.asked: list[str] = []

    async def profile(self, phone: str) -> Profile | None:
        """Nobody asks by phone here."""
        raise NotImplementedError(phone)

    async def person(self, external_id: str) -> Profile | None:
        """What the script says."""
        self.asked.append(external_id)
        answer = self.people.get(external_id)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Queue:
    """A history that tells of these clicks and of a person, once."""

    histories = ("events",)
    period_s = 0.02

    def __init__(self, *clicks: Click) -> None:
        self._clicks = clicks

    async def present(self, history: str, now: datetime) -> int:
        """Empty."""
        return 0

    async def after(self, history: str, since_id: int, started_at: datetime) -> HistoryPage:
        """As the class says."""
        if since_id:
            return HistoryPage(changes=[], since_id=since_id, more=False)
        return HistoryPage(changes=[Change(external_id="1")], since_id=7, more=False, clicks=self._clicks)

    async def contacts(self, company_id: str) -> list[str]:
        """Nobody asks."""
        raise NotImplementedError(company_id)


@asynccontextmanager
async def working(
    crm: Scripted,
    store: PostgresStore,
    *,
    metrics: Metrics | None = None,
    feed: Queue | None = None,
    click: Callable[[Click], None] | None = None,
) -> AsyncIterator[Changes]:
    ready = asyncio.Event()
    ready.set()
    changes = Changes(
        "0901",
        crm,
        feed,
        store.changes,
        primary=True,
        on_profile=store.customers.enrich,
        forget=lambda *_: None,
        click=click,
        asks_per_s=1000,
        ours=lambda: True,
        ready=ready,
        clock=lambda: datetime.now(UTC),
        metrics=metrics or Metrics(),
    )
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(changes.run())
        yield changes
        task.cancel()


def outcome(metrics: Metrics, name: str) -> float:
    labels = {"enterprise": "0901", "source": "uon", "outcome": name}
    return metrics.registry.get_sample_value("vochi_crm_changes_total", labels) or 0.0


async def test_a_later_word_while_somebody_works_on_the_earlier_is_not_lost(store: PostgresStore) -> None:
    await store.changes.put("0901", "uon", [Change(external_id="7", profile=person("7", "Первая", PHONE))])
    claimed = await store.changes.claim("0901", "uon")
    assert claimed is not None
    await store.changes.put("0901", "uon", [Change(external_id="7", profile=person("7", "Вторая", PHONE))])
    assert await store.changes.claim("0901", "uon") is None  # one at a time about one person

    await store.changes.done(claimed)

    again = await store.changes.claim("0901", "uon")
    assert again is not None
    assert again.change.profile == person("7", "Вторая", PHONE)
    await store.changes.done(again)
    assert await store.changes.waiting("0901", "uon") == 0


async def test_a_failure_about_an_earlier_word_does_not_hold_up_the_later(store: PostgresStore) -> None:
    await store.changes.put("0901", "uon", [Change(external_id="7")])
    claimed = await store.changes.claim("0901", "uon")
    assert claimed is not None
    await store.changes.put("0901", "uon", [Change(external_id="7")])
    await store.changes.failed(claimed, timedelta(hours=1))

    assert await store.changes.claim("0901", "uon") is not None


async def test_what_a_dead_daemon_had_claimed_is_claimed_again_after_the_lease(dsn: str) -> None:
    async with Database(dsn) as database:
        changes = CrmChanges(database, lease=timedelta(seconds=0.2))
        await changes.put("0901", "uon", [Change(external_id="7")])
        assert await changes.claim("0901", "uon") is not None
        assert await changes.claim("0901", "uon") is None
        await asyncio.sleep(0.25)

        assert await changes.claim("0901", "uon") is not None


async def test_changes_of_another_crm_and_enterprise_are_not_ours(store: PostgresStore) -> None:
    await store.changes.put("0901", "retailcrm", [Change(external_id="7")])
    await store.changes.put("0902", "uon", [Change(external_id="7")])

    assert await store.changes.claim("0901", "uon") is None


async def test_a_hostile_profile_is_kept_as_postgresql_can_hold_it(store: PostgresStore) -> None:
    profile = person("7", "А\x00\ud800" + "я" * 5000, PHONE)
    await store.changes.put("0901", "uon", [Change(external_id="7", profile=profile)])
    metrics = Metrics()
    async with working(Scripted({}), store, metrics=metrics):
        await until(lambda: asyncio.sleep(0, outcome(metrics, "merged") == 1), within=10)

    row = await store.customers.customer("0901", PHONE)
    assert row is not None
    assert len(row.names.last_name) == 100


async def test_a_bug_and_a_refusal_cost_one_change_each_and_the_next_is_done(
    store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    crm = Scripted({
        "1": KeyError("bug"), "2": CrmRejected("never"), "3": CrmUnavailable("away"),
        "4": person("4", "Четвёртая", PHONE), "5": None, "6": person("6", "Безномерная"),
    })  # fmt: skip
    metrics = Metrics()

    async def two_wait() -> bool:
        return await store.changes.waiting("0901", "uon") == 2

    async with working(crm, store, metrics=metrics) as changes:
        for external_id in crm.people:
            await changes.take([Change(external_id=external_id)])
        await until(lambda: asyncio.sleep(0, outcome(metrics, "gone") == 2), within=10)
        await until(two_wait, within=10)  # what became of a change is counted before it is put away

    assert [outcome(metrics, name) for name in ("taken", "merged", "given_up", "retried")] == [6, 1, 1, 2]
    assert (await store.customers.customer("0901", PHONE)).names.last_name == "Четвёртая"
    assert "KeyError" in caplog.text
    assert PHONE not in caplog.text


async def test_clicks_of_a_history_are_taken_once_and_one_that_is_refused_stops_nothing(
    store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    taken = list[str]()

    def take(click: Click) -> None:
        taken.append(click.user)
        if click.user == "8":
            raise NotPossible("who clicked has no extension here")

    async def renamed() -> bool:
        row = await store.customers.customer("0901", PHONE)
        return row is not None and row.names.last_name == "Первая"

    queue = Queue(Click(phone=PHONE, user="8"), Click(phone=PHONE, user="9"))
    async with working(Scripted({"1": person("1", "Первая", PHONE)}), store, feed=queue, click=take):
        await until(renamed, within=10)
        await until(lambda: asyncio.sleep(0, len(taken) == 2), within=10)

    assert taken == ["8", "9"]
    assert "A click in 0901/uon calls nobody: who clicked has no extension here" in caplog.text
    assert PHONE not in caplog.text


async def test_a_change_that_fails_for_a_week_is_given_up(dsn: str, store: PostgresStore) -> None:
    await store.changes.put("0901", "uon", [Change(external_id="3")])
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE crm_changes SET received_at = now() - interval '8 days'")
    await connection.close()
    metrics = Metrics()

    async with working(Scripted({"3": CrmUnavailable("away")}), store, metrics=metrics):
        await until(lambda: asyncio.sleep(0, outcome(metrics, "given_up") == 1), within=10)

    assert await store.changes.waiting("0901", "uon") == 0


async def test_a_word_that_waited_too_long_is_not_taken_but_asked_again(dsn: str, store: PostgresStore) -> None:
    await store.changes.put("0901", "uon", [Change(external_id="7", profile=person("7", "Прежняя", PHONE))])
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE crm_changes SET received_at = now() - interval '1 hour'")
    await connection.close()
    metrics = Metrics()

    async with working(Scripted({"7": person("7", "Нынешняя", PHONE)}), store, metrics=metrics):
        await until(lambda: asyncio.sleep(0, outcome(metrics, "merged") == 1), within=10)

    row = await store.customers.customer("0901", PHONE)
    assert row is not None
    assert row.names.last_name == "Нынешняя"


async def test_a_message_about_hundreds_is_kept_at_one_stroke(store: PostgresStore, dsn: str) -> None:
    """MoySklad waits for a second and a half, sends it all again three times, and then gives the message up."""
    people = [f"11111111-aaaa-11ee-0a80-{number:012}" for number in range(700)]
    links = [f"https://api.moysklad.ru/api/remap/1.2/entity/counterparty/{each}" for each in people]
    events = [
        {
            "meta": {"type": "counterparty", "href": link},
            "action": "UPDATE",
            "accountId": people[0],
            "updatedFields": [],
        }
        for link in links
    ]
    read = MoySkladWebhook(MoySkladConfig(api_key="k", account_id=people[0]))
    async with AsyncExitStack() as stack:
        changes = await stack.enter_async_context(
            working(Scripted(dict.fromkeys(people, CrmUnavailable("away"))), store)
        )
        receiver = Receiver(secret="s", read=read, take=changes.take, read_click=None, click=lambda _: None)
        routes = webhook_routes({("0901", "moysklad"): receiver}, Metrics())
        url = await stack.enter_async_context(served(list(routes)))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        answer = await session.post(f"{url}/webhooks/0901/moysklad/s", json={"events": events})
        assert answer.status == 200

    connection = await asyncpg.connect(dsn)
    kept = await connection.fetchrow("SELECT count(*), count(DISTINCT received_at) FROM crm_changes")
    await connection.close()
    assert tuple(kept) == (700, 1)


async def test_two_daemons_do_each_change_and_end_with_the_same_rows(store: PostgresStore, dsn: str) -> None:
    people: dict[str, Profile | Exception | None] = {
        str(number): person(str(number), f"Имя{number}", f"+37529000{number:04}") for number in range(60)
    }
    one, other = Scripted(people), Scripted(people)
    async with PostgresStore(dsn, pool_size=4) as second, working(one, store) as first, working(other, second):
        for external_id in people:
            await first.take([Change(external_id=external_id)])

        async def empty() -> bool:
            return await store.changes.waiting("0901", "uon") == 0

        await until(empty, within=20)

    assert sorted(one.asked + other.asked, key=int) == sorted(people, key=int)
    for number in (0, 30, 59):
        row = await store.customers.customer("0901", f"+37529000{number:04}")
        assert row is not None
        assert row.names.last_name == f"Имя{number}"


async def test_a_call_and_a_webhook_at_the_same_moment_in_two_daemons_make_one_person_with_right_counters(
    store: PostgresStore, dsn: str
) -> None:
    """Two hundred times, in random order: both daemons store the same call, and one of them is told of the client."""
    dice = random.Random(20261120)
    rounds = range(200)
    async with PostgresStore(dsn, pool_size=4) as second:
        crm = Scripted({})
        async with working(crm, store) as first_changes, working(crm, second) as second_changes:

            async def soon(work: Awaitable[object]) -> None:
                await asyncio.sleep(dice.random() * 0.004)
                await work

            for number in rounds:
                one, other = f"+37529100{number:04}", f"+37529200{number:04}"
                call = answered(linkedid=f"17951{number:05}.1", phone=one, raw_number=one)
                told = Change(external_id=str(1000 + number), profile=person(str(1000 + number), "Иванова", one, other))
                async with asyncio.TaskGroup() as group:
                    group.create_task(soon(store.calls.record(call, no_cards)))
                    group.create_task(soon(second.calls.record(call, no_cards)))
                    group.create_task(soon(dice.choice([first_changes, second_changes]).take([told])))

            async def empty() -> bool:
                return await store.changes.waiting("0901", "uon") == 0

            await until(empty, within=20)

    assert await audit(dsn) == []
    for number in rounds:
        rows = [await store.customers.customer("0901", f"+3752{kind}{number:04}") for kind in ("9100", "9200")]
        assert [row and row.names.last_name for row in rows] == ["Иванова"] * 2, number
        assert {row and row.meta["person_uid"] for row in rows} == {f"uon:{1000 + number}"}, number
        assert [row and row.history.calls_answered_in for row in rows] == [1, 0], number
