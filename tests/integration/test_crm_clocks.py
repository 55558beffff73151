"""Clocks of CRMs, read from real answers: said once when one is off, once more when it is right again."""

import logging
from email.utils import formatdate

import aiohttp
import pytest
from aiohttp import web

from tests.support.served import served
from vochi_agent.crm.clocks import Clocks
from vochi_agent.crm.examine import examine_clock

NOW = 1_795_251_600.0


async def asked(*dates: str) -> Clocks:
    """What is known after a server has answered with these dates."""
    clocks, told = Clocks(lambda: NOW), iter(dates)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(headers={"Date": next(told)})

    async with (
        served([web.get("/", answer)]) as url,
        aiohttp.ClientSession(trace_configs=[clocks.trace()]) as session,
    ):
        for _ in dates:
            async with session.get(url) as response:
                assert response.status == 200
    return clocks


def date(offset_s: float) -> str:
    return formatdate(NOW + offset_s, usegmt=True)


async def test_a_clock_that_is_off_is_one_line_and_one_more_when_it_is_right_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="vochi_agent")
    await asked(date(30), date(-3600), date(-3601), date(0), date(1))

    warned, mended = [message for message in caplog.messages if "clock" in message]
    assert "is 3600 s behind ours: calls are listed there at our times" in warned
    assert mended.endswith("agrees with ours again")


async def test_doctor_says_how_far_a_clock_is_off_and_nothing_of_one_that_is_right() -> None:
    (found,) = examine_clock("0901", "bitrix24", await asked(date(3600)))

    assert found.sentence == "its clock is 3600 s ahead of ours: calls are listed there at our times"
    assert examine_clock("0901", "bitrix24", await asked(date(45))) == []


@pytest.mark.parametrize(
    "said", ["", " ", "yesterday", "Sat, 99 Nov 2026 12:00:00 GMT", "0", "1 Jan 99999 0:0:0 +9999"]
)
async def test_a_date_that_is_none_costs_no_answer(said: str) -> None:
    assert dict((await asked(said)).offsets) == {}
