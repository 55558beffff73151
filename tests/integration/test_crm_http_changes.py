"""Changing something in a CRM over real sockets: what is repeated, and when a doubt remains."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.support.crm import HandClock
from vochi_agent.crm.http import Answer, CrmHttp, json_object
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable, CrmUncertain
from vochi_agent.simulator.broken_http import cut_short, reset, web_page


class Server:
    """Answers as told, one answer a request; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[object] = []
        self.asked: list[tuple[str, str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.asked.append((request.method, request.path_qs, await request.text()))
        answer = self.answers.pop(0)
        if answer == "cut":
            return await cut_short(request)
        if answer == "reset":
            return reset(request)
        if answer == "page":
            return web_page()
        return web.json_response({"ok": True}, status=int(str(answer)), headers={"Retry-After": "0"})


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    server = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def client(session: aiohttp.ClientSession, url: str) -> CrmHttp:
    return CrmHttp(
        session, name="a CRM", base_url=url, headers={}, secrets=[], rps=1000.0, clock=HandClock(),
        on_state=lambda _: None, attempt_s=1.0, budget_s=5.0,
    )  # fmt: skip


def interpret(answer: Answer) -> bool:
    if answer.status == 400:
        raise CrmRejected("no")
    return bool(json_object(answer))


async def change(http: CrmHttp, *, repeatable: bool) -> bool:
    return await http.send(
        "POST", "/calls", interpret, deadline=http.deadline(), form={"call": "1 & 2"}, repeatable=repeatable
    )


async def test_a_form_and_a_json_body_arrive(server: tuple[Server, str], session: aiohttp.ClientSession) -> None:
    crm, url = server
    crm.answers = [200, 200]
    http = client(session, url)

    assert await change(http, repeatable=False)
    assert await http.send(
        "PUT", "/calls/7", interpret, deadline=http.deadline(), query=[("a", "b")], json={"x": 1}, repeatable=True
    )
    assert crm.asked == [("POST", "/calls", "call=1+%26+2"), ("PUT", "/calls/7?a=b", '{"x": 1}')]


@pytest.mark.parametrize("failure", [500, 502, "cut", "reset", "page"])
async def test_what_may_have_been_carried_out_is_not_repeated(
    failure: object, server: tuple[Server, str], session: aiohttp.ClientSession
) -> None:
    crm, url = server
    crm.answers = [failure, 200]

    with pytest.raises(CrmUncertain):
        await change(client(session, url), repeatable=False)
    assert len(crm.asked) == 1


@pytest.mark.parametrize("failure", [500, 502, "cut", "reset", "page"])
async def test_a_change_that_the_crm_knows_again_is_repeated(
    failure: object, server: tuple[Server, str], session: aiohttp.ClientSession
) -> None:
    crm, url = server
    crm.answers = [failure, 200]

    assert await change(client(session, url), repeatable=True)
    assert len(crm.asked) == 2


@pytest.mark.parametrize("limit", [429, 503])
async def test_a_rate_limit_did_nothing_and_is_always_tried_again(
    limit: int, server: tuple[Server, str], session: aiohttp.ClientSession
) -> None:
    crm, url = server
    crm.answers = [limit, 200]

    assert await change(client(session, url), repeatable=False)


async def test_nobody_there_is_no_doubt(session: aiohttp.ClientSession) -> None:
    with pytest.raises(CrmUnavailable) as failure:
        await change(client(session, "http://127.0.0.1:1"), repeatable=False)
    assert not isinstance(failure.value, CrmUncertain)


@pytest.mark.parametrize(("status", "error"), [(400, CrmRejected), (401, CrmAuthFailed)])
async def test_a_refusal_is_final(
    status: int, error: type[Exception], server: tuple[Server, str], session: aiohttp.ClientSession
) -> None:
    crm, url = server
    crm.answers = [status, 200]

    with pytest.raises(error):
        await change(client(session, url), repeatable=True)
    assert len(crm.asked) == 1


async def test_a_secret_of_one_request_is_masked_in_its_errors(
    server: tuple[Server, str], session: aiohttp.ClientSession
) -> None:
    """A token that was bought an hour ago is in no configuration."""
    server[0].answers = [200]

    def refuse(_: Answer) -> None:
        raise CrmRejected("bought-token has no rights")

    crm = client(session, server[1])
    with pytest.raises(CrmRejected, match=r"\*\*\* has no rights"):
        await crm.send(
            "POST", "/x", refuse, deadline=crm.deadline(), json={"auth": "bought-token"}, hide=["bought-token"],
            repeatable=False,
        )  # fmt: skip
