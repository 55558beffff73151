"""The folder sql/ against real servers."""

import asyncio
import re
import subprocess
from pathlib import Path

import asyncpg

from tests.support.postgres import PostgresServer
from vochi_agent.store import statements
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
