"""What the store says to PostgreSQL, overheard and written down as a script of pgbench.

Each statement is the text of `queries.sql` with a variable for each parameter: the linkedid and the customer's number
are others in every transaction, everything else is as it was overheard.
"""

import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from vochi_agent.store.database import Database, Isolation, Session
from vochi_agent.store.statements import statement

__all__ = ["Overheard", "Script", "run_pgbench", "script"]

PARAMETER: Final = re.compile(r"\$(\d+)")
TPS: Final = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
# pgbench can add numbers and no texts: the plus of a telephone number is put before it by the server.
LINKEDID, PHONE = ":linkedid", "'+' || :phone"
BEGINNING: Final = (
    "\\set phone {first_phone} + random(0, {phones} - 1)\n"
    "\\set number :number + 1\n"
    "\\set linkedid 100 * :number + :client_id\n"
)

Said = tuple[str, tuple[object, ...]]


class Overheard(Database):
    """A database that remembers what is said to it.

    Attributes:
        said: Names of statements with their parameters, in order.
    """

    def __init__(self, dsn: str, *, pool_size: int) -> None:
        super().__init__(dsn, pool_size=pool_size)
        self.said: list[Said] = []

    @asynccontextmanager
    async def transaction(
        self, *, deadline_s: float | None = None, isolation: Isolation = "read_committed"
    ) -> AsyncIterator[Session]:
        """See `Database.transaction`."""
        async with super().transaction(deadline_s=deadline_s, isolation=isolation) as session:
            yield _Listening(session, self.said)


class _Listening(Session):
    def __init__(self, session: Session, said: list[Said]) -> None:
        self._session = session
        self._said = said

    async def fetch(self, name: str, *arguments: object) -> list[Any]:
        self._said.append((name, arguments))
        return await self._session.fetch(name, *arguments)

    async def fetchrow(self, name: str, *arguments: object) -> Any:
        self._said.append((name, arguments))
        return await self._session.fetchrow(name, *arguments)

    async def execute(self, name: str, *arguments: object) -> None:
        self._said.append((name, arguments))
        await self._session.execute(name, *arguments)

    async def fetch_each(self, name: str, arguments: Iterable[Sequence[object]]) -> list[Any]:
        each = [tuple(values) for values in arguments]
        self._said.extend((name, values) for values in each)
        return await self._session.fetch_each(name, each)

    async def execute_each(self, name: str, arguments: Iterable[Sequence[object]]) -> None:
        each = [tuple(values) for values in arguments]
        self._said.extend((name, values) for values in each)
        await self._session.execute_each(name, each)


@dataclass(frozen=True, slots=True)
class Script:
    """A transaction for pgbench.

    Attributes:
        text: The file.
        variables: What does not change from one transaction to the next.
        statements: The names of its statements.
    """

    text: str
    variables: Sequence[tuple[str, str]]
    statements: Sequence[str]


async def script(
    connection: asyncpg.Connection, said: Sequence[Said], *, linkedid: str, phone: str, phones: range, prefix: str
) -> Script:
    """One transaction of the statements that were said about one call.

    Args:
        linkedid: Of the call.
        phone: Of its customer, with the plus.
        phones: The numbers of which each transaction takes one, without it.
        prefix: Begins the names of its variables.
    """
    variables: list[tuple[str, str]] = []
    text = BEGINNING.format(first_phone=phones.start, phones=len(phones)) + "BEGIN;\n"
    known = {linkedid: LINKEDID, phone: PHONE}
    for place, (name, arguments) in enumerate(said):
        types = [each.name for each in (await connection.prepare(statement(name))).get_parameters()]
        words = []
        for number, (value, kind) in enumerate(zip(arguments, types, strict=True)):
            if (changing := known.get(_only(value))) is not None:
                word = f"ARRAY[{changing}]" if isinstance(value, list) else f"({changing})"
            elif constant := await _as_text(connection, value, kind):
                word = f":{prefix}{place}_{number}"
                variables.append((word[1:], constant))
            else:
                word = "NULL" if value is None else "''"  # pgbench has no variable for either
            words.append(f"{word}::{kind}")
        text += _with_words(statement(name), words)
    return Script(text + "COMMIT;\n", variables, [name for name, _ in said])


def run_pgbench(
    programs: Path, dsn: str, folder: Path, scripts: Sequence[Script], *, clients: int, seconds: float
) -> float:
    """Transactions a second; each client takes one of the scripts by chance.

    Args:
        folder: Where the scripts are put.

    Raises:
        RuntimeError: pgbench or a statement failed.
    """
    options = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", f"--jobs={min(clients, 2)}"]
    options += [f"--time={max(1, round(seconds))}", f"--define=number={time.time_ns() // 1000}"]
    for number, each in enumerate(scripts):
        path = folder / f"{number}.sql"
        path.write_text(each.text, encoding="utf-8")
        options += [f"--file={path}", *(f"--define={name}={value}" for name, value in each.variables)]
    done = subprocess.run([programs / "pgbench", *options, dsn], check=False, capture_output=True, text=True)
    found = TPS.search(done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"pgbench: {done.stderr.strip()}")
    return float(found[1])


def _only(value: object) -> str:
    """A text, or the only one of a list; "" for everything else."""
    if isinstance(value, list) and len(value) == 1:
        [value] = value
    return value if isinstance(value, str) else ""


async def _as_text(connection: asyncpg.Connection, value: object, kind: str) -> str:
    """A parameter as PostgreSQL writes it."""
    if value is None:
        return ""
    if kind == "jsonb":
        return json.dumps(value, ensure_ascii=False)
    return str(await connection.fetchval(f"SELECT $1::{kind}::text", value))


def _with_words(text: str, words: Sequence[str]) -> str:
    """A statement with words for its parameters; what its comments say of them is left out."""
    bare = "".join(line.partition(" -- ")[0] + "\n" for line in text.splitlines() if not line.startswith("--"))
    return PARAMETER.sub(lambda found: words[int(found[1]) - 1], bare)
