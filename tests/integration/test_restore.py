"""A backup as the page about data describes it, restored: nothing is counted wrong and nothing since then is lost."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from tests.support.calls import NOON, answered
from tests.support.commands import Workplace
from tests.support.company import Site
from tests.support.pbx_records import cel_lines
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.renderers import no_cards
from vochi_agent.config import load
from vochi_agent.store.account import borrowed_capability, choose_account
from vochi_agent.store.embedded import EmbeddedPostgres
from vochi_agent.store.installations import find_installation
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.postmaster import running_server

BEFORE = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)  # the lab's calls are later


async def tool(*command: str, **environment: str) -> str:
    """Run a program of PostgreSQL."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": os.defpath, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.parametrize("postgres", ["15"], indirect=True)
async def test_after_a_restore_the_daemon_finds_what_came_since_and_audit_is_silent(
    site: Site, postgres: PostgresServer
) -> None:
    """The backup knows one call; three more came before the disk broke. They are in CEL, where the daemon looks."""
    await site.store.calls.record(answered(linkedid="1.1", started_at=BEFORE), no_cards)
    await site.store.customers.edit("0901", "+375290000011", {"last_name": "Тестов"})
    span = await site.store.watched.open_span("0901", BEFORE)
    await site.store.watched.advance(span, BEFORE.replace(hour=9))
    dump = str(site.folder / "vochi.dump")
    dsn = str(site.values["dsn"])
    await tool(str(postgres.programs / "pg_dump"), "--format=custom", "--no-owner", f"--file={dump}", f"--dbname={dsn}")
    lines = cel_lines("inbound-answered", "inbound-noanswer", "outbound-answered")
    text = "".join(lines).replace("PJSIP/trunk", "PJSIP/gsm1").replace("PJSIP/101", "PJSIP/151")
    (site.folder / "vochi.csv").write_text(text, encoding="utf-8")

    async with postgres.database("template0") as restored:
        await tool(str(postgres.programs / "pg_restore"), "--exit-on-error", "--no-owner", f"--dbname={restored}", dump)
        site.configure(dsn=restored)
        assert (await site.vochi("audit")).code == 0
        async with PostgresStore(restored, pool_size=2) as store, site.daemon() as daemon:
            await site.until_ready(daemon)

            async def whole() -> bool:
                rows = await store.database.fetch("known_linkedids", "0901", ["1.1"])
                connection = await asyncpg.connect(restored)
                calls = await connection.fetchval("SELECT count(*) FROM calls")
                await connection.close()
                return len(rows) == 1 and calls == 4

            await until(whole, within=40)
            customer = await store.customers.customer("0901", "+375290000011")
        audit = await site.vochi("audit")
        recovered = (await site.vochi("recover", "--since", "2026-11-20T09:00", "--json")).json()[0]

        assert (audit.code, audit.out) == (0, "")
        assert (recovered["found"], recovered["known"]) == (3, 3)
        assert customer is not None
        assert customer.names.last_name == "Тестов"


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A configuration with the embedded database."""
    place = Workplace(tmp_path)
    place.write(
        f'[daemon]\nstate_dir = "{tmp_path}/state"\n[[enterprises]]\nnumber = "0901"\ncountry = "BY"\n'
        '[enterprises.asterisk]\nami = "127.0.0.1:5038"\nami_username = "vochi"\nami_secret = "secret"\n'
        '[[enterprises.lines]]\nid = "0001701"\nendpoint = "PJSIP/gsm1"\n'
    )
    return place


async def test_the_embedded_database_is_dumped_while_it_runs_and_restored_by_its_own_programs(
    place: Workplace, tmp_path: Path
) -> None:
    state_dir, programs = load(place.config).daemon.state_dir, find_installation().path / "bin"
    folder, dump = state_dir / "postgres", tmp_path / "vochi.dump"
    where = ("--host=127.0.0.1", "--username=vochi")
    async with EmbeddedPostgres(state_dir) as dsn, PostgresStore(dsn) as store:
        await store.migrate()
        await store.calls.record(answered(started_at=NOON), no_cards)
        server = running_server(folder / "data")
        assert server is not None
        assert (folder / "data" / "postmaster.pid").read_text().splitlines()[3] == str(server.port)
        password = (folder / "password").read_text().strip()
        arguments = (*where, f"--port={server.port}", "--format=custom", "--no-owner", f"--file={dump}", "postgres")
        await tool(str(programs / "pg_dump"), *arguments, PGPASSWORD=password)
    folder.rename(state_dir / "postgres.before")
    assert (await place.vochi("migrate")).code == 0
    assert (await place.vochi("calls", "--json")).json() == []

    account = choose_account(folder)
    capability = borrowed_capability() if account.drops else ""

    async def control(*words: str) -> None:
        command = [str(programs / "pg_ctl"), *words, "--wait", f"--pgdata={folder / 'data'}"]
        process = await asyncio.create_subprocess_exec(
            *account.command(command, capability=capability)[:1],
            *(word for word in account.command(command, capability=capability)[1:] if "pdeathsig" not in word),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert await process.wait() == 0

    port = free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c dynamic_shared_memory_type=mmap"
    await control("start", f"--log={folder / 'restore.log'}", f"--options={options}")
    try:
        password = (folder / "password").read_text().strip()
        arguments = (*where, f"--port={port}", "--dbname=postgres", "--clean", "--if-exists", "--exit-on-error")
        await tool(str(programs / "pg_restore"), *arguments, "--no-owner", str(dump), PGPASSWORD=password)
    finally:
        await control("stop")

    assert [call["linkedid"] for call in (await place.vochi("calls", "--json")).json()] == [answered().linkedid]
    audit = await place.vochi("audit")
    assert (audit.code, audit.out) == (0, "")
