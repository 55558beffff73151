"""The folder sql/ against real servers."""

import asyncio
import re
import subprocess
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from tests.support.audit import audit
from tests.support.calls import NOON, answered, missed
from tests.support.postgres import PostgresServer
from vochi_agent.errors import StoreForbidden, StoreUnavailable
from vochi_agent.rendering import no_cards
from vochi_agent.store import database, statements
from vochi_agent.store.migrate import LOCK_KEY
from vochi_agent.store.postgres import PostgresStore

ROOT = Path(__file__).resolve().parents[2]


def dump(postgres: PostgresServer, dsn: str) -> str:
    """The schema of a database as pg_dump prints it, without what differs from run to run."""
    command = [str(postgres.programs / "pg_dump"), "--schema-only", "--no-owner", f"--dbname={dsn}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith((r"\restrict", r"\unrestrict")))


async def test_schema_sql_and_the_migrations_make_the_same_database(postgres: PostgresServer, dsn: str) -> None:
    async with postgres.database("template0") as read_dsn:
        connection = await asyncpg.connect(read_dsn)
        await connection.execute(statements.schema())
        await connection.close()

        assert "CREATE TABLE public.customers" in dump(postgres, dsn)
        assert dump(postgres, read_dsn) == dump(postgres, dsn)


async def test_every_statement_can_be_prepared(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    for name, text in statements.statements().items():
        prepared = await connection.prepare(text)
        documented = {int(number) for line in text.splitlines() if line.startswith("--") for number in numbers(line)}

        assert documented == set(range(1, len(prepared.get_parameters()) + 1)) or name == "correct_call", name
    await connection.close()


def numbers(line: str) -> list[str]:
    """The parameters that a comment documents; `$3..$8` is six of them."""
    ranges = re.findall(r"\$(\d+)\.\.\$(\d+)", line)
    spread = [str(number) for first, last in ranges for number in range(int(first), int(last) + 1)]
    return spread + re.findall(r"\$(\d+)", line)


def test_every_statement_has_a_purpose_and_is_used() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "vochi_agent" / "store").glob("*.py"))
    for name, text in statements.statements().items():
        assert text.startswith("-- "), name
        assert f'"{name}"' in code, name


def test_python_holds_no_sql() -> None:
    sql = re.compile(r"\b(SELECT .+ FROM|INSERT INTO|UPDATE .+ SET|DELETE FROM|CREATE TABLE)\b")
    found = [path.name for path in (ROOT / "vochi_agent").rglob("*.py") if sql.search(path.read_text())]

    assert found == []


async def test_migrating_again_does_nothing(store: PostgresStore) -> None:
    assert await store.migrate() == []


async def test_two_daemons_migrate_an_empty_database_together(postgres: PostgresServer) -> None:
    async with postgres.database("template0") as dsn, PostgresStore(dsn) as one, PostgresStore(dsn) as other:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(one.migrate())
            second = group.create_task(other.migrate())

        assert sorted([first.result(), second.result()]) == [[], [each.name for each in statements.migrations()]]


async def test_a_database_of_the_first_version_is_brought_to_ours_with_what_it_holds(postgres: PostgresServer) -> None:
    async with postgres.database("template0") as dsn, PostgresStore(dsn) as store:
        await make_as_it_was(dsn)
        with pytest.raises(StoreUnavailable):  # until somebody migrates: a column is missing, a table
            await store.database.fetch("pending_chats", timedelta(seconds=1))
        with pytest.raises(StoreUnavailable):
            await store.calls.record(answered(linkedid="1.3"), no_cards)

        assert await store.migrate() == [each.name for each in statements.migrations()[1:]]
        again = missed(linkedid="1.2", phone="+375290000011", started_at=NOON, partial=True)
        with pytest.raises(StoreUnavailable):  # once: statements that were prepared before are made anew
            await store.calls.record(again, no_cards)
        assert not (await store.calls.record(again, no_cards)).changed
        assert (await store.calls.record(answered(linkedid="1.3"), no_cards)).inserted
        assert await audit(dsn) == []
        assert [each async for each in store.recount.differences("0901")] == []


async def make_as_it_was(dsn: str) -> None:
    """A database after the first migration, with two calls of a customer and the card that a chat has of one."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(statements.statement("migration_table"))
    first = statements.migrations()[0]
    await connection.execute(first.text)
    await connection.execute(statements.statement("migration_done"), first.version, first.name)
    for linkedid, status, reason, agent in (("1.1", "answered", "talked", "151"), ("1.2", "missed", "no_answer", None)):
        await connection.execute(
            "INSERT INTO calls (enterprise_number, linkedid, direction, status, reason, phone_e164, raw_number,"
            " started_at, ended_at, wait_seconds, talk_seconds, last_agent, source)"
            " VALUES ('0901', $1, 'in', $2, $3, '+375290000011', '', $5, $5, 0, 0, $4, 'live')",
            *(linkedid, status, reason, agent, NOON),
        )
    await connection.execute(
        "INSERT INTO customers (enterprise_number, phone_e164, calls_total_in, calls_answered_in, calls_missed_in,"
        " first_seen_at, last_seen_at, last_call_at, last_call_direction, last_call_status, last_success_at,"
        " last_agent_internal, meta)"
        " VALUES ('0901', '+375290000011', 2, 1, 1, $1, $1, $1, 'in', 'missed', $1, '151', $2)",
        *(NOON, '{"person_uid": "retail:5", "ids": {"retail": ["5"]}}'),
    )
    await connection.execute(
        "INSERT INTO cards (enterprise_number, linkedid, chat_id, phase, text, silent, sent_revision, message_id)"
        " VALUES ('0901', '1.1', -100, 'hangup', 'card', false, 1, 7)"
    )
    await connection.close()


async def test_a_migration_may_take_longer_than_what_calls_wait_for(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of millions of rows, or the migration of another daemon before ours."""
    monkeypatch.setitem(database.SERVER_SETTINGS, "statement_timeout", "100ms")
    async with postgres.database("template0") as dsn, PostgresStore(dsn) as store:
        other = await asyncpg.connect(dsn)
        async with other.transaction():
            await other.execute(statements.statement("migration_lock"), LOCK_KEY)
            migrating = asyncio.create_task(store.migrate())
            await asyncio.wait([migrating], timeout=0.5)
        await other.close()

        assert len(await migrating) == len(statements.migrations())


async def test_a_user_who_lacks_a_right_is_waited_for(postgres: PostgresServer, dsn: str) -> None:
    """Since 15 nobody but its owner makes tables in a database's `public`; and those of another user are his."""
    await postgres.run("CREATE ROLE stranger LOGIN PASSWORD 'password'")
    as_stranger = re.sub("//.*@", "//stranger:password@", dsn)
    owner = await asyncpg.connect(dsn)
    async with PostgresStore(as_stranger) as store:
        with pytest.raises(StoreForbidden, match="permission denied"):
            await store.migrate()
        with pytest.raises(StoreForbidden, match="permission denied"):
            await store.calls.record(answered(), no_cards)
        await owner.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO stranger")

        assert (await store.calls.record(answered(), no_cards)).inserted
    await owner.execute("DROP OWNED BY stranger")
    await owner.close()
    await postgres.run("DROP ROLE stranger")
