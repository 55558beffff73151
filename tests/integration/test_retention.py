"""Old rows leave, and nobody who counts notices: any calls in any order, with any leaving in between."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.test_counters import AGGREGATION, STORED, merges, records
from tests.support.calls import NOON, answered, internal, missed
from tests.support.company import Site
from tests.support.pbx_records import cel_lines
from tests.support.polling import until
from tests.support.postgres import PostgresServer
from tests.support.renderers import no_cards
from vochi_agent.calls.evidence import LegEvidence, LegRole
from vochi_agent.calls.model import Call, Direction, Phase, Source
from vochi_agent.config import RetentionConfig
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CardDraft, Recorded, Reminder, Talked
from vochi_agent.retention import Kind, Retention, terms_of
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.recount import ALL_TIME

OURS, OTHER = "+375290000011", "+375290000022"
LATER = NOON + timedelta(days=400)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """An observer beside the store."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def all_dsn(postgres: PostgresServer) -> AsyncIterator[str]:
    """A database that nothing leaves."""
    async with postgres.database() as dsn:
        yield dsn


@pytest.fixture
async def everything(all_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """An observer of that one."""
    connection = await asyncpg.connect(all_dsn)
    yield connection
    await connection.close()


async def leave(store: PostgresStore, before: datetime, *, kind: Kind = Kind.CALLS) -> int:
    return await store.old_rows.delete(kind, "0901", before, 1000)


async def differences(store: PostgresStore) -> list[object]:
    return [each async for some in store.recount.differences("0901") for each in some]


async def counts_again(store: PostgresStore) -> int:
    """How many customers a backfill of everything finds wrong."""
    return [place async for place in store.recount.backfill("0901", ALL_TIME, anew=True)][-1].changed


@settings(
    max_examples=30,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=st.lists(
        st.one_of(records(), records(), records(), merges, st.integers(-60, 400).map(lambda m: timedelta(minutes=m))),
        min_size=4,
        max_size=24,
    )
)
async def test_customers_are_the_sum_of_all_calls_that_ever_were(
    steps: list[Call | str | timedelta],
    dsn: str,
    connection: asyncpg.Connection,
    all_dsn: str,
    everything: asyncpg.Connection,
) -> None:
    """Beside a database that keeps every call: what one takes the other is given, and one look at that one is right."""
    await connection.execute("TRUNCATE calls, customers, cards, past_calls, retention")
    await everything.execute("TRUNCATE calls, customers, cards")
    async with PostgresStore(dsn, pool_size=1) as store, PostgresStore(all_dsn, pool_size=1) as keeper:
        for step in steps:
            if isinstance(step, timedelta):
                await leave(store, NOON + step)
            elif isinstance(step, str):
                if await store.calls.merge("0901", step, "9.9"):
                    assert await keeper.calls.merge("0901", step, "9.9")
            elif (told := await store.calls.record(step, no_cards)).changed:
                assert await keeper.calls.record(step, no_cards) == told
        expected = [tuple(row) for row in await everything.fetch(AGGREGATION)]

        assert [tuple(row) for row in await connection.fetch(STORED)] == expected
        assert await differences(store) == []
        assert await counts_again(store) == 0
        await leave(store, LATER)
        await connection.execute("UPDATE customers SET calls_total_in = 9, last_line = 'x', last_call_at = now()")
        await counts_again(store)
        assert [tuple(row) for row in await connection.fetch(STORED)] == expected


async def test_calls_leave_while_they_are_recorded_corrected_and_counted_again(dsn: str, store: PostgresStore) -> None:
    """Every call is told several times, by two daemons; each counts once or, when its time has left, never."""
    dice = random.Random(7)
    calls = [
        dice.choice([answered, missed])(
            linkedid=f"1.{number}",
            phone=f"+37529000{dice.randrange(20):04}",
            started_at=NOON + timedelta(hours=number),
            source=dice.choice(list(Source)),
        )
        for number in range(150)
    ]
    counted: Counter[str] = Counter()
    going = True

    async def daemon(one: PostgresStore) -> None:
        for _ in range(300):
            call = dice.choice(calls)
            if (await one.calls.record(call, no_cards)).inserted:
                counted[str(call.phone)] += 1

    async def leaver() -> None:
        while going:
            await leave(store, NOON + timedelta(hours=dice.randrange(160)))
            await asyncio.sleep(0.01)

    async def counter() -> None:
        while going:
            assert await counts_again(store) == 0
            assert await differences(store) == []

    async with PostgresStore(dsn, pool_size=4) as other, asyncio.timeout(100), asyncio.TaskGroup() as around:
        for work in (leaver, counter):
            around.create_task(work())
        async with asyncio.TaskGroup() as daemons:
            for one in (store, other):
                daemons.create_task(daemon(one))
                daemons.create_task(daemon(one))
        going = False

    connection = await asyncpg.connect(dsn)
    kept = dict(await connection.fetch("SELECT phone_e164, calls_total_in FROM customers WHERE calls_total_in > 0"))
    await connection.close()
    assert sum(counted.values()) <= len(calls)
    assert kept == dict(counted)


async def test_a_call_that_has_left_is_not_brought_back_and_a_new_one_with_its_linkedid_is_another(
    store: PostgresStore,
) -> None:
    old = answered(linkedid="1.1", phone=OURS)
    await store.calls.record(old, no_cards)
    assert await leave(store, NOON + timedelta(days=1)) == 1

    for again in (old, answered(linkedid="1.1", phone=OURS, source=Source.RECOVERY, partial=True)):
        assert await store.calls.record(again, no_cards) == Recorded(inserted=False, changed=False)
    assert not await store.calls.merge("0901", "1.1", "1.2")
    new = answered(linkedid="1.1", phone=OURS, started_at=NOON + timedelta(days=30))
    assert (await store.calls.record(new, no_cards)).inserted
    customer = await store.customers.customer("0901", OURS)

    assert customer is not None
    assert (customer.history.calls_total_in, customer.first_seen_at) == (2, NOON)
    assert await differences(store) == []


async def test_calls_of_a_past_that_was_never_known_are_taken_until_something_of_it_has_left(
    store: PostgresStore,
) -> None:
    """On the first day a PBX's whole past is recovered; it is counted, and then leaves."""
    assert await leave(store, LATER) == 0
    assert (await store.calls.record(missed(linkedid="1.1", source=Source.RECOVERY), no_cards)).inserted


async def test_who_talked_and_whom_we_called_back_is_still_known(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    for days, path in ((9, ("+375291112233",)), (8, ("152",)), (7, ("151", "153")), (6, ("153", "375291112233"))):
        call = answered(
            linkedid=f"1.{days}", phone=OURS, started_at=now - timedelta(days=days), path=path, last_agent=path[-1]
        )
        await store.calls.record(call, no_cards)
    out = missed(linkedid="2.1", phone=OURS, started_at=now - timedelta(days=5), direction=Direction.OUT)
    await store.calls.record(out, no_cards)
    talked = await store.customers.talked("0901", OURS)
    for days in (7.5, 5.5, 1):
        await leave(store, now - timedelta(days=days))
    customer = await store.customers.customer("0901", OURS)

    assert await connection.fetchval("SELECT count(*) FROM calls") == 0
    assert talked == Talked(first="152", last="153")
    assert (await store.customers.talked("0901", OURS)).first == "152"
    assert customer is not None
    assert customer.called_at == out.ended_at


async def test_a_call_that_somebody_corrects_at_this_moment_stays_for_the_next_time(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    for number in (1, 2):
        await store.calls.record(answered(linkedid=f"1.{number}", phone=OURS), no_cards)
    async with connection.transaction():
        await connection.execute("SELECT FROM calls WHERE linkedid = '1.1' FOR UPDATE")
        assert await leave(store, LATER) == 1

    assert await connection.fetchval("SELECT linkedid FROM calls") == "1.1"
    assert await leave(store, LATER) == 1
    assert await differences(store) == []


async def test_with_a_call_leave_its_cards_and_what_crms_were_told_and_calls_that_count_for_nobody(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    store.calls.crms = {"0901": ["uon"]}
    young = datetime.fromtimestamp(time.time(), UTC) - timedelta(hours=1)

    def card(*_: object, **__: object) -> list[CardDraft]:
        due = Reminder(text="<b>text</b>", brief="text", at=young + timedelta(minutes=30))
        return [CardDraft(chat_id=-1, topic=0, text="<b>text</b>", silent=False, reminder=due)]

    for linkedid, phone in (("1.1", OURS), ("1.2", OTHER)):
        await store.calls.record(missed(linkedid=linkedid, phone=phone, started_at=young), card)
    await store.calls.record(internal(linkedid="1.3", started_at=young), card)
    await store.calls.merge("0901", "1.2", "1.1")
    assert await connection.fetchval("SELECT count(*) FROM cards WHERE kind = 'reminder'") > 0
    assert await connection.fetchval("SELECT count(*) FROM call_backs") == 1
    assert await leave(store, young + timedelta(minutes=30)) == 3

    left = (
        "SELECT (SELECT count(*) FROM cards), (SELECT count(*) FROM outbox), (SELECT count(*) FROM call_backs),"
        " (SELECT sum(calls) FROM past_calls)"
    )
    assert tuple(await connection.fetchrow(left)) == (0, 0, 0, 1)


async def test_evidence_cards_posts_and_remains_leave_at_their_own_time(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    leg = LegEvidence(endpoint="PJSIP/gsm1", extension="", role=LegRole.CUSTOMER, entered=True, started=0.0)
    for number in range(3):
        started = NOON + timedelta(days=number)
        await store.calls.record(answered(linkedid=f"1.{number}", started_at=started, evidence=(leg,)), no_cards)
    draft = CardDraft(chat_id=-1, topic=0, text="text", silent=False)
    for linkedid, phase in (("1.1", Phase.HANGUP), ("1.2", Phase.HANGUP), ("1.9", Phase.BRIDGE)):
        await store.cards.put_live("0901", linkedid, phase, [draft])
    await connection.execute("UPDATE cards SET updated_at = $1 WHERE linkedid <> '1.2'", NOON)
    await connection.execute(
        "INSERT INTO outbox (enterprise_number, crm, linkedid, sent_revision, updated_at)"
        " VALUES ('0901', 'uon', '1.1', 1, $1), ('0901', 'uon', '1.2', 0, $1), ('0901', 'uon', '1.3', 1, now())",
        NOON,
    )
    await connection.execute(
        "INSERT INTO crm_changes (enterprise_number, source, kind, external_id, received_at)"
        " VALUES ('0901', 'gone', 'person', '7', $1), ('0901', 'uon', 'person', '7', now())",
        NOON,
    )
    await connection.execute(
        "INSERT INTO call_backs (enterprise_number, linkedid, phone_e164, began_at, ended_at)"
        " VALUES ('0901', '1.1', $1, $2, $2), ('0901', '1.2', $1, now(), now())",
        OURS,
        NOON,
    )
    before = NOON + timedelta(days=1, hours=1)
    done = [await leave(store, before, kind=kind) for kind in (Kind.EVIDENCE, Kind.CARDS, Kind.POSTS, Kind.REMAINS)]

    assert done == [2, 1, 1, 1]
    assert await leave(store, before, kind=Kind.EVIDENCE) == 0
    assert await connection.fetchval("SELECT linkedid FROM calls WHERE evidence IS NOT NULL") == "1.2"
    assert await connection.fetchval("SELECT count(*) FROM calls") == 3
    assert {row[0] for row in await connection.fetch("SELECT linkedid FROM cards")} == {"1.2", "1.9"}
    assert await connection.fetchval("SELECT linkedid FROM call_backs") == "1.2"
    assert {row[0] for row in await connection.fetch("SELECT linkedid FROM outbox")} == {"1.2", "1.3"}
    assert await connection.fetchval("SELECT source FROM crm_changes") == "uon"


def retention(store: PostgresStore, ours: list[bool], metrics: Metrics) -> Retention:
    ready = asyncio.Event()
    ready.set()
    return Retention(
        "0901",
        store.old_rows,
        terms=terms_of(RetentionConfig(calls_days=30, cards_days=0, outbox_days=0)),
        may=lambda: ours.pop(0) if len(ours) > 1 else ours[0],
        clock=lambda: NOON + timedelta(days=60),
        ready=ready,
        metrics=metrics,
    )


async def test_many_leave_in_batches_and_only_while_it_is_our_turn(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "INSERT INTO calls (enterprise_number, linkedid, direction, status, reason, phone_e164, raw_number, started_at,"
        " ended_at, wait_seconds, talk_seconds, source) SELECT '0901', '1.' || n, 'in', 'missed', 'no_answer',"
        " '+37529' || (1000000 + n % 70), '', $1, $1::timestamptz + n * interval '1 second', 0, 0, 'live'"
        " FROM generate_series(1, 1300) AS n",
        NOON,
    )
    await counts_again(store)
    metrics = Metrics()
    interrupted = await retention(store, [True, False], metrics).let_go()
    left = await connection.fetchval("SELECT count(*) FROM calls")
    finished = await retention(store, [True], metrics).let_go()

    assert (interrupted, left, finished) == (False, 800, True)
    assert await connection.fetchval("SELECT count(*) FROM calls") == 0
    assert b'vochi_retired_rows_total{enterprise="0901",kind="calls"} 1300.0' in metrics.render()
    assert await differences(store) == []


@pytest.mark.parametrize("postgres", ["18"], indirect=True)
async def test_recover_finds_calls_that_have_left_known_and_audit_is_silent(site: Site) -> None:
    lines = cel_lines("inbound-answered", "inbound-noanswer", "outbound-answered")
    text = "".join(lines).replace("PJSIP/trunk", "PJSIP/gsm1").replace("PJSIP/101", "PJSIP/151")
    (site.folder / "vochi.csv").write_text(text, encoding="utf-8")
    first = (await site.vochi("recover", "--since", "2026-11-20T13:24:00", "--json")).json()[0]
    assert await leave(site.store, LATER) == 3
    again = (await site.vochi("recover", "--since", "2026-11-20T13:24:00", "--json")).json()[0]
    audit = await site.vochi("audit")

    assert (first["stored"], again["found"], again["known"], again["stored"]) == (3, 3, 3, 0)
    assert (audit.code, audit.out) == (0, "")
    assert (await site.vochi("calls", "--json")).json() == []


@pytest.mark.parametrize("postgres", ["18"], indirect=True)
async def test_a_daemon_lets_go_of_old_calls_by_itself(site: Site) -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    for days in (1, 40, 50):
        started = now - timedelta(days=days)
        await site.store.calls.record(answered(linkedid=f"{days}.1", phone=OURS, started_at=started), no_cards)
    site.config.write_text(site.config.read_text().replace("[fastagi]", "[retention]\ncalls_days = 30\n[fastagi]"))

    async def gone() -> bool:
        return len((await site.vochi("calls", "--json")).json()) == 1

    async with site.daemon() as daemon:
        await site.until_ready(daemon)
        await until(gone, within=30)
    audit = await site.vochi("audit", "--fix")
    customer = (await site.vochi("customer", OURS, "--json")).json()

    assert (audit.code, audit.out) == (0, "")
    assert (customer["calls_total_in"], len(customer["calls"])) == (3, 1)
