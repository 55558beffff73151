"""Tokens that are spent by use: one purchase at a time, kept before use, shared between processes."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.crm import HandClock
from vochi_agent.crm.oauth import TokenKeeper, Tokens
from vochi_agent.errors import CrmAuthFailed, CrmUnavailable


class Shop:
    """Sells pairs; each refresh token buys once."""

    def __init__(self) -> None:
        self.valid = "r0"
        self.sold = 0
        self.open = asyncio.Event()
        self.open.set()

    async def buy(self, refresh: str) -> Tokens:
        """A pair for the one token that is valid, when the shop is open."""
        await self.open.wait()
        if refresh != self.valid:
            raise CrmAuthFailed("spent")
        self.sold += 1
        self.valid = f"r{self.sold}"
        return Tokens(access=f"a{self.sold}", refresh=self.valid)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def keeper(folder: Path, shop: Shop, clock: HandClock, *, first: str = "r0") -> TokenKeeper:
    return TokenKeeper(folder / "crm" / "x.json", first=first, refresh=shop.buy, clock=clock)


async def test_of_several_askers_one_buys(tmp_path: Path, shop: Shop, clock: HandClock) -> None:
    tokens = keeper(tmp_path, shop, clock)

    assert await asyncio.gather(*(tokens.access() for _ in range(5))) == ["a1"] * 5
    clock.now += 3600
    assert await asyncio.gather(*(tokens.renew("a1") for _ in range(5))) == ["a2"] * 5
    assert shop.sold == 2


@pytest.mark.parametrize("name", ["x.json.lock", "x.json.new"])
async def test_a_link_in_the_services_folder_leads_root_nowhere(
    tmp_path: Path, shop: Shop, clock: HandClock, name: str
) -> None:
    """Whoever has broken into the service would be given any file of the machine by the next command of root."""
    (tmp_path / "crm").mkdir()
    (tmp_path / "crm" / name).symlink_to(tmp_path / "victim")

    with suppress(CrmUnavailable):
        await keeper(tmp_path, shop, clock).access()

    assert not (tmp_path / "victim").exists()


async def test_what_another_process_has_bought_is_taken(tmp_path: Path, shop: Shop, clock: HandClock) -> None:
    daemon, doctor = keeper(tmp_path, shop, clock), keeper(tmp_path, shop, clock)
    assert await daemon.access() == await doctor.access() == "a1"
    clock.now += 3600
    assert await doctor.renew("a1") == "a2"

    assert await daemon.renew("a1") == "a2"
    assert shop.sold == 2


async def test_two_processes_that_want_a_pair_at_once_buy_one(tmp_path: Path, shop: Shop, clock: HandClock) -> None:
    found = await asyncio.gather(*(keeper(tmp_path, shop, clock).access() for _ in range(4)))

    assert (found, shop.sold) == (["a1"] * 4, 1)


async def test_a_purchase_is_brought_to_its_end_though_its_asker_leaves(
    tmp_path: Path, shop: Shop, clock: HandClock
) -> None:
    tokens = keeper(tmp_path, shop, clock)
    shop.open.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await tokens.access()
    shop.open.set()

    assert await tokens.access() == "a1"
    assert json.loads((tmp_path / "crm" / "x.json").read_text()) == {"access": "a1", "refresh": "r1", "host": ""}
    assert shop.sold == 1


async def test_a_dead_pair_is_not_offered_again_at_once(tmp_path: Path, shop: Shop, clock: HandClock) -> None:
    tokens = keeper(tmp_path, shop, clock, first="spent")
    for _ in range(2):
        with pytest.raises(CrmAuthFailed, match="allow the application again"):
            await tokens.access()
    shop.valid = "spent"
    with pytest.raises(CrmAuthFailed):
        await tokens.access()
    clock.now += 301

    assert await tokens.access() == "a1"


async def test_a_fresh_token_that_is_refused_buys_no_other(tmp_path: Path, shop: Shop, clock: HandClock) -> None:
    tokens = keeper(tmp_path, shop, clock)
    assert await tokens.access() == "a1"

    with pytest.raises(CrmAuthFailed, match="a fresh token is refused"):
        await tokens.renew("a1")
    assert shop.sold == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"access": "a9"}', "\0"])
async def test_a_broken_file_is_none(tmp_path: Path, shop: Shop, clock: HandClock, content: str) -> None:
    (tmp_path / "crm").mkdir()
    (tmp_path / "crm" / "x.json").write_text(content)

    assert await keeper(tmp_path, shop, clock).access() == "a1"


async def test_a_folder_that_cannot_be_written_spends_nothing(tmp_path: Path, shop: Shop, clock: HandClock) -> None:
    (tmp_path / "crm").write_text("a file in its place")

    with pytest.raises(CrmUnavailable, match="no tokens can be kept"):
        await keeper(tmp_path, shop, clock).access()
    assert shop.sold == 0


async def test_a_fresh_token_that_is_refused_is_said_once(
    tmp_path: Path, shop: Shop, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    """No request fails of it: for the CRM's client a refused token is an answer like any other."""
    tokens = keeper(tmp_path, shop, clock)
    bought = await tokens.access()
    for _ in range(3):
        with pytest.raises(CrmAuthFailed, match="rights"):
            await tokens.renew(bought)

    assert [message for message in caplog.messages if "fresh token" in message] == [
        "x: a fresh token is refused: are the application's rights and the address right?"
    ]
