"""Who may not call, and who may whatever lists say."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.crm import MemoryDirectory
from vochi_agent.caller_id import CallerId
from vochi_agent.calls.layout import Layout
from vochi_agent.config import load
from vochi_agent.customers.blocking import BLACK_LISTED_AT, HIDDEN, is_blocked
from vochi_agent.customers.model import Customer, History, Names
from vochi_agent.enrichment import Enrichment
from vochi_agent.metrics import Metrics
from vochi_agent.protocols.agi import AgiRequest

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
CALLER = "+375290000011"


def row(
    *, black_list: bool = True, called_days_ago: float | None = None, listed_days_ago: float | None = None
) -> Customer:
    def ago(days: float | None) -> datetime | None:
        return None if days is None else NOW - timedelta(days=days)

    listed = ago(listed_days_ago)
    return Customer(
        enterprise_number="0901",
        phone_e164=CALLER,
        names=Names(),
        history=History(),
        black_list=black_list,
        called_at=ago(called_days_ago),
        meta={BLACK_LISTED_AT: listed.isoformat()} if listed else {},
    )


def blocked(
    customer: Customer | None = None,
    *,
    caller: str = CALLER,
    block: tuple[str, ...] = (),
    allow: tuple[str, ...] = (),
    known: bool = True,
) -> bool:
    return is_blocked(caller, block=block, allow=allow, customer=customer, known=known, now=NOW)


def test_the_black_list_and_the_patterns_block() -> None:
    assert blocked(row())
    assert blocked(block=("+37529*",))
    assert blocked(block=("+375290000011",))
    assert blocked(block=("+*",))
    assert not blocked()
    assert not blocked(row(black_list=False))
    assert not blocked(block=("+7900*", "+37529000001", "hidden"))


@pytest.mark.parametrize("allow", ["+375290000011", "+375*", "+*"])
def test_the_allow_list_wins_over_all(allow: str) -> None:
    assert not blocked(row(), block=("+375*",), allow=(allow,))


def test_a_hidden_caller_is_blocked_by_name_alone() -> None:
    assert blocked(caller=HIDDEN, block=("hidden",), known=False)
    assert not blocked(caller=HIDDEN, block=("+*",))
    assert not blocked(caller=HIDDEN, block=("hidden",), allow=("hidden",))
    assert not blocked(caller="", block=("hidden", "+*"))  # a colleague's mobile, an extension


@pytest.mark.parametrize("own", ["+375172000000", "375172000000", "80172000000", "8 (017) 200-00-00", "172000000"])
async def test_a_line_that_shows_its_own_number_in_any_spelling_hides_its_caller(own: str) -> None:
    lab = (
        load(Path(__file__).parents[2] / "scenarios" / "lab.toml")
        .enterprises[0]
        .model_copy(update={"block": ("hidden",)})
    )
    directory = MemoryDirectory()
    lookups = Enrichment({}, on_profile=directory.enrich, metrics=Metrics(), clock=time.monotonic)
    caller_id = CallerId({"0901": (lab, Layout(lab))}, customers=directory, lookups=lookups, now=lambda: NOW)

    async def status(number: str) -> str:
        request = AgiRequest({"callerid": number, "dnid": lab.lines[0].id}, ("callerid",))
        return (await caller_id.answer(request, asyncio.get_running_loop().time() + 5))["VOCHI_STATUS"]

    assert await status(own) == "blocked"
    assert await status("80172000001") == "unknown"


def test_whoever_we_called_may_call_back_for_30_days() -> None:
    assert not blocked(row(called_days_ago=29))
    assert not blocked(row(black_list=False, called_days_ago=1), block=("+375*",))
    assert blocked(row(called_days_ago=31))


def test_a_call_of_ours_before_he_was_black_listed_takes_him_off_no_list() -> None:
    assert blocked(row(called_days_ago=2, listed_days_ago=1))
    assert not blocked(row(called_days_ago=1, listed_days_ago=2))
    # No longer on the list: what is left of it in meta says nothing about the patterns.
    assert not blocked(row(black_list=False, called_days_ago=2, listed_days_ago=1), block=("+375*",))


def test_what_nobody_could_say_blocks_nobody() -> None:
    assert not blocked(block=("+375*",), known=False)


@pytest.mark.parametrize("nonsense", ["yesterday", 7, None, "2026-11-20T12:00:00"])
def test_a_strange_moment_in_meta_is_none(nonsense: object) -> None:
    listed = row(called_days_ago=1)

    assert not blocked(
        Customer(**{each: getattr(listed, each) for each in listed.__slots__} | {"meta": {BLACK_LISTED_AT: nonsense}})
    )
