"""Who may not call: refused before a telephone rings, and one call with reason `blocked`, live and from CEL alike."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.commands import Workplace
from tests.support.polling import until
from tests.support.postgres import PostgresServer
from tests.support.required import require
from tests.support.sipp import CallResult, Sipp
from tests.support.tcp_gate import TcpGate
from tests.support.world import World, world_around

pytestmark = pytest.mark.asterisk

FORBIDDEN = 403
Company = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture(params=["asterisk22", "asterisk16"])
async def asterisk(request: pytest.FixtureRequest) -> AsyncIterator[Asterisk]:
    async with Asterisk(require(request.param)) as instance:
        yield instance


@pytest.fixture
def company(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> Company:
    return partial(world_around, asterisk, sipp, postgres, tmp_path, chats=())


async def dial_in(world: World, caller: str) -> CallResult:
    result = await world.sipp.call("0000101", caller, hold_s=0.1, patience_s=2)
    await world.asterisk.until_idle()
    return result


async def assert_blocked(world: World, caller: str) -> None:
    """He is refused, and no telephone has rung for him."""
    before = len(world.sipp.invites())
    result = await dial_in(world, caller)

    assert (result.ended, result.code, result.ringing_s) == ("refused", FORBIDDEN, None)
    assert len(world.sipp.invites()) == before


async def assert_rings(world: World, caller: str) -> None:
    assert (await dial_in(world, caller)).code == 200


async def test_a_blocked_customer_never_rings_and_is_one_call(company: Company) -> None:
    async with company() as world:
        await world.store.customers.edit("0901", "+375290000022", {"black_list": True})
        await assert_blocked(world, "80290000022")
        await assert_rings(world, "80290000033")

        async def stored() -> bool:
            return len(await world.calls()) == 2

        await until(stored, within=10)
        assert {(call.phone, call.status, call.reason, call.rung) for call in await world.calls()} == {
            ("+375290000022", "missed", "blocked", ()),
            ("+375290000033", "answered", "talked", ("101",)),
        }
        blocked = await world.customer("+375290000022")
        assert blocked is not None
        assert (blocked.history.calls_total_in, blocked.history.calls_missed_in) == (1, 1)
        await until(partial(both_ended, world.asterisk), within=10)
        answer = await Workplace(world.daemon.config.parent).vochi("replay", "--cel", str(world.asterisk.cel))
        assert '"reason":"blocked"' in answer.out.splitlines()[0].replace(" ", "")


async def both_ended(pbx: Asterisk) -> bool:
    return pbx.cel.read_text().count("LINKEDID_END") >= 2


async def test_patterns_block_the_allow_list_wins_and_whom_we_called_may_call_back(company: Company) -> None:
    keys = 'block = ["+37529000*", "hidden"]\nallow = ["+375290000022"]'
    async with company(of_enterprise=keys) as world:
        await world.store.customers.edit("0901", "+375290000022", {"black_list": True})
        await assert_rings(world, "80290000022")
        await assert_blocked(world, "80290000033")
        await assert_blocked(world, "anonymous")
        await assert_rings(world, "+74950000011")
        await world.sipp.dial("101", "80290000044", hold_s=0.1)

        async def called() -> bool:
            row = await world.customer("+375290000044")
            return row is not None and row.called_at is not None

        await until(called, within=10)
        await assert_rings(world, "80290000044")


async def test_without_the_database_what_is_remembered_decides_and_doubt_lets_in(
    asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path
) -> None:
    keys = 'block = ["+3752900000*"]'
    async with (
        TcpGate(postgres.port) as gate,
        world_around(
            asterisk, sipp, postgres, tmp_path, postgres_port=gate.port, chats=(), of_enterprise=keys
        ) as world,
    ):
        await world.store.customers.edit("0901", "+375290000022", {"black_list": True})
        await assert_blocked(world, "80290000022")
        await gate.close()

        await assert_blocked(world, "80290000022")
        # A pattern has him, but nobody can say whether we have called him.
        await assert_rings(world, "80290000033")
        await gate.open()
