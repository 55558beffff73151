"""Identity over real PostgreSQL: any sequence and interleaving of profiles and links keeps its promises."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vochi_agent.customers.identity import ids_of, is_corporate
from vochi_agent.customers.model import Customer, Names, Profile
from vochi_agent.customers.parting import uid_of
from vochi_agent.errors import LinkRefused
from vochi_agent.store.postgres import PostgresStore

PHONES = tuple(f"+3752900000{number}1" for number in range(6))
PRIMARY = "retailcrm"
PLACEHOLDERS = ("", "0", "unknown", "None")
# Other programs keep things there too.
FOREIGN = {"tags": ["vip"], "uon_client_id": 5}


@dataclass(frozen=True)
class Link:
    """A person says that two numbers are one customer's."""

    first: str
    second: str


Step = Profile | Link
Rows = Mapping[str, Customer]


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    source = draw(st.sampled_from([PRIMARY, PRIMARY, "uon", "phonebook"]))
    numbers = draw(st.lists(st.sampled_from(PHONES), min_size=1, max_size=3, unique=True))
    external_id = draw(st.sampled_from(["1", "2", "3", "1", "2", "3", *PLACEHOLDERS]))
    company = draw(st.sampled_from(["", "", "", "77", "78", "0"])) if source == PRIMARY else ""
    names = Names(last_name=f"{source} {external_id}", enterprise_name=company)
    return Profile(
        source=source, external_id=external_id, company_id=company, names=names, phones=tuple(numbers),
        phones_complete=draw(st.sampled_from([False, False, True])),
    )  # fmt: skip


links = st.builds(Link, st.sampled_from(PHONES), st.sampled_from(PHONES))
few = settings(
    max_examples=80,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Beside the store."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def began_anew(connection: asyncpg.Connection) -> None:
    """Six numbers that were known before any of our sources; the last of them are not there yet."""
    await connection.execute("TRUNCATE customers")
    await connection.execute(
        "INSERT INTO customers (enterprise_number, phone_e164, meta) SELECT '0901', unnest($1::text[]), $2::jsonb",
        PHONES[:4],
        '{"tags": ["vip"], "uon_client_id": 5}',
    )


async def do(store: PostgresStore, step: Step) -> None:
    if isinstance(step, Link):
        with contextlib.suppress(LinkRefused):
            await store.customers.link("0901", step.first, step.second)
    else:
        await store.customers.enrich("0901", step.phones[0], step, primary=step.source == PRIMARY)


async def rows_of(store: PostgresStore) -> dict[str, Customer]:
    """By number; PHONES is the order in which the rows were made only for the first four."""
    return {row.phone_e164: row for row in await store.customers.customers("0901", PHONES)}


async def ages_of(connection: asyncpg.Connection) -> dict[str, int]:
    return {row["phone_e164"]: row["id"] for row in await connection.fetch("SELECT id, phone_e164 FROM customers")}


def ids(row: Customer) -> set[tuple[str, str]]:
    return {(source, each) for source, known in ids_of(row.meta).items() for each in known}


@few
@given(steps=st.lists(st.one_of(profiles(), profiles(), profiles(), links), min_size=3, max_size=10))
async def test_whatever_is_said_nothing_is_lost_and_nobody_is_joined_by_mistake(
    steps: Sequence[Step], dsn: str, connection: asyncpg.Connection
) -> None:
    await began_anew(connection)
    async with PostgresStore(dsn, pool_size=1) as store:
        for step in steps:
            before = await rows_of(store)
            await do(store, step)
            now, ages = await rows_of(store), await ages_of(connection)
            for phone, row in before.items():
                keeps_keys_and_ids(row, now[phone], step)
                keeps_its_uid_or_moves_to_an_older_one(row, now[phone], before, ages, step)
            if isinstance(step, Profile) and step.source == PRIMARY:
                names_are_shared(step, now)
            await do(store, step)
            assert await rows_of(store) == now, "a repetition changes something"


def keeps_keys_and_ids(old: Customer, new: Customer, step: Step) -> None:
    if old.meta.get("tags"):
        assert {key: new.meta[key] for key in FOREIGN} == FOREIGN
    kept = {"person_uid"} if uid_of(old) and not uid_of(new) else set()
    assert old.meta.keys() - kept <= new.meta.keys()
    lost = ids(old) - ids(new)
    if lost:
        assert isinstance(step, Profile)
        assert step.phones_complete
        assert old.phone_e164 not in step.phones
        assert (step.source, step.external_id) in lost
        assert {source for source, _ in lost} <= {step.source, f"{step.source}_corporate"}
    assert not any(each in PLACEHOLDERS for _, each in ids(new))
    assert new.names.last_name or not old.names.last_name


def keeps_its_uid_or_moves_to_an_older_one(
    old: Customer, new: Customer, before: Rows, ages: Mapping[str, int], step: Step
) -> None:
    was, uid = uid_of(old), uid_of(new)
    if not was or was == uid:
        return
    assert new.meta["person_uid_was"] == was
    if not uid:
        assert isinstance(step, Profile), "only a complete list lets go"
        assert step.phones_complete
    elif is_corporate(uid):
        assert not is_corporate(was)
    else:

        def age(of: str) -> int:
            return min((ages[phone] for phone, row in before.items() if uid_of(row) == of), default=1 << 60)

        assert age(uid) < age(was), "the oldest uid wins"
    if isinstance(step, Profile):
        assert step.external_id not in PLACEHOLDERS or is_corporate(uid), "a placeholder joined somebody"


def names_are_shared(profile: Profile, rows: Rows) -> None:
    """Every row of the person has the name, whatever source knows the row."""
    his = [row for row in rows.values() if ids_of(row.meta).get(PRIMARY) == [profile.external_id]]
    uids = {uid_of(row) for row in his if row.phone_e164 in profile.phones} - {""}
    # More than one: another source has two cards for the numbers of this one, and we join them for nobody.
    for row in rows.values():
        if {uid_of(row)} == uids and not is_corporate(uid_of(row)):
            assert row.names.last_name == profile.names.last_name


@few
@given(batches=st.lists(st.lists(st.one_of(profiles(), links), min_size=2, max_size=4), min_size=1, max_size=3))
async def test_merges_that_meet_lose_nothing_either(
    batches: Sequence[Sequence[Step]], dsn: str, connection: asyncpg.Connection
) -> None:
    """All steps of a batch at once, from two pools. No complete lists: what they take away depends on the order."""
    await began_anew(connection)
    async with PostgresStore(dsn, pool_size=3) as one, PostgresStore(dsn, pool_size=3) as other:
        for batch in batches:
            before = await rows_of(one)
            steps = [step for step in batch if isinstance(step, Link) or not step.phones_complete]
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                for place, step in enumerate(steps):
                    group.create_task(do((one, other)[place % 2], step))
            now = await rows_of(one)
            for phone, row in before.items():
                assert ids(row) <= ids(now[phone])
                assert row.meta.keys() <= now[phone].meta.keys()
            for step in steps:
                if isinstance(step, Profile) and step.external_id not in PLACEHOLDERS:
                    for phone in step.phones:
                        assert (step.source, step.external_id) in ids(now[phone])
                        assert uid_of(now[phone])
