"""The REST client against Asterisk's own description of its interface, and against its refusals."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.support.asterisk import Asterisk
from tests.support.sipp import Sipp
from vochi_agent.asterisk.ari import OPERATIONS, Ari, AriPeer
from vochi_agent.asterisk.switchboard import DIRECTIONS
from vochi_agent.errors import (
    ActionFailed,
    ConnectionLost,
    LoginRefused,
    NotPermitted,
    NotReachable,
    RemoteProtocolError,
)

pytestmark = pytest.mark.asterisk


@asynccontextmanager
async def ari_of(pbx: Asterisk, user: str = "lab", *, password: str = "", port: int = 0) -> AsyncIterator[Ari]:
    peer = AriPeer(url=f"http://127.0.0.1:{port or pbx.ports.http}", username=user, password=password or pbx.secret)
    async with aiohttp.ClientSession() as session:
        yield Ari(peer, session, request_s=1.0)


async def described(pbx: Asterisk) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """(method, path) -> parameter -> what `/ari/api-docs` says of it."""
    found = {}
    headers = {"Authorization": aiohttp.encode_basic_auth("lab", pbx.secret)}
    base = f"http://127.0.0.1:{pbx.ports.http}/ari/api-docs"
    async with aiohttp.ClientSession(headers=headers) as client:
        for part in ("asterisk", "endpoints", "channels", "bridges", "events"):
            async with client.get(f"{base}/{part}.json") as answer:
                for api in (await answer.json())["apis"]:
                    for operation in api["operations"]:
                        parameters = {each["name"]: each for each in operation.get("parameters", ())}
                        found[operation["httpMethod"], api["path"]] = parameters
    return found


async def test_every_operation_is_one_of_asterisks_own(pbx: Asterisk) -> None:
    """Method, path, the name and place of each parameter, and the words we give to those that are an enumeration."""
    documents = await described(pbx)

    for name, operation in OPERATIONS.items():
        parameters = documents[operation.method, operation.path]
        for place, ours in (("query", operation.query), ("body", operation.body)):
            assert {key for key in ours if parameters[key]["paramType"] == place} == set(ours), name
        in_path = {key for key, each in parameters.items() if each["paramType"] == "path"}
        assert in_path == {part.strip("{}") for part in operation.path.split("/") if part.startswith("{")}, name
        required = {key for key, each in parameters.items() if each.get("required")}
        assert required <= {*operation.query, *operation.body, *in_path}, name
    snoop = documents["POST", "/channels/{channelId}/snoop/{snoopId}"]
    for spy, whisper in DIRECTIONS.values():
        assert spy in snoop["spy"]["allowableValues"]["values"]
        assert whisper in snoop["whisper"]["allowableValues"]["values"]
    assert "normal" in documents["DELETE", "/channels/{channelId}"]["reason"]["allowableValues"]["values"]


async def test_telephones_and_bridges_are_read(pbx: Asterisk, lines: Sipp) -> None:
    async with ari_of(pbx, "vochi") as ari:
        assert (await ari.info()).split(".")[0] in ("16", "22")
        states = {endpoint.name: endpoint.state for endpoint in await ari.endpoints()}
        assert (states["PJSIP/101"], states["PJSIP/110"]) == ("online", "offline")
        assert await ari.bridges() == []
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(lines.call("0000101", "375290000001", hold_s=1.5))
            await lines.wait_for_invite("101")
            async with asyncio.timeout(5):
                while not (bridges := await ari.bridges()) or len(bridges[0].channels) < 2:
                    await asyncio.sleep(0.02)
            in_call = {each.name for each in await ari.endpoints() if set(each.channels) & set(bridges[0].channels)}

    assert in_call == {"PJSIP/gsm1", "PJSIP/101"}
    assert bridges[0].created is not None


async def test_a_call_outside_of_applications_is_out_of_reach_of_redirect_and_continue(
    pbx: Asterisk, lines: Sipp
) -> None:
    """Why conversations are handed over by AMI."""
    headers = {"Authorization": aiohttp.encode_basic_auth("lab", pbx.secret)}
    base = f"http://127.0.0.1:{pbx.ports.http}/ari/channels"
    async with aiohttp.ClientSession(headers=headers) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(lines.call("0000101", "375290000001", hold_s=1.5))
        await lines.wait_for_invite("101")
        async with client.get(base) as answer:
            channels = [each["id"] for each in await answer.json()]
        assert len(channels) == 2
        for channel in channels:
            for verb, where in (("redirect", {"endpoint": "PJSIP/102"}), ("continue", {"context": "internal"})):
                async with client.post(f"{base}/{channel}/{verb}", params=where) as answer:
                    assert (answer.status, verb) == (409, verb)


async def test_a_user_who_may_only_read_is_told_apart_from_a_call_that_is_gone(pbx: Asterisk) -> None:
    async with ari_of(pbx, "vochi") as ari:
        with pytest.raises(NotPermitted, match="read_only"):
            await ari.hang_up("nobody")
        with pytest.raises(NotPermitted):
            await ari.originate("PJSIP/101", channel="x", variables={}, timeout_s=1, place=("internal", "102"))
    async with ari_of(pbx) as ari:
        with pytest.raises(ActionFailed, match="Channel not found") as refusal:
            await ari.hang_up("nobody")
        assert not isinstance(refusal.value, NotPermitted)
        with pytest.raises(ActionFailed):
            await ari.originate("PJSIP/199", channel="x", variables={}, timeout_s=1, place=("internal", "102"))


async def test_a_wrong_password_is_refused_and_said_nowhere(pbx: Asterisk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with ari_of(pbx, password="Sesam-9") as ari:
        with pytest.raises(LoginRefused) as refusal:
            await ari.endpoints()
        with pytest.raises(LoginRefused):
            async with ari.application("vochi-x"):
                pass
        assert "Sesam-9" not in f"{refusal.value} {ari.peer!r} {caplog.text}"


async def test_a_hostile_channel_name_stays_one_part_of_the_path(pbx: Asterisk) -> None:
    """Ids come from the PBX, which has them from whoever made the channel."""
    async with ari_of(pbx) as ari:
        for name in ("../bridges", "a/b?reason=busy", "п#1", "%2e%2e"):
            with pytest.raises(ActionFailed, match=r"404|400"):
                await ari.hang_up(name)


async def test_nobody_there_silence_and_another_server_are_told_apart(pbx: Asterisk) -> None:
    async with ari_of(pbx, port=pbx.ports.nobody) as ari:
        with pytest.raises(NotReachable, match="no connection"):
            await ari.bridges()
    async with ari_of(pbx) as ari:
        pbx.suspend()
        try:
            with pytest.raises(NotReachable, match="within 1 s"):
                await ari.bridges()
            with pytest.raises(NotReachable, match="within 1 s"):
                async with ari.application("vochi-x"):
                    pass
        finally:
            pbx.resume()
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with ari_of(pbx, port=server.getsockname()[1]) as ari:

            async def speak(body: bytes) -> None:
                loop = asyncio.get_running_loop()
                server.setblocking(False)  # noqa: FBT003 - socket has no keyword for it
                connection, _ = await loop.sock_accept(server)
                with connection:
                    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
                    await loop.sock_sendall(connection, head + body)

            for body in (b"<html>", b"[" * 100_000):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(speak(body))
                    with pytest.raises(RemoteProtocolError):
                        await ari.bridges()


async def test_an_application_ends_with_the_pbx(pbx: Asterisk) -> None:
    async with ari_of(pbx) as ari, ari.application("vochi-x") as events:
        await pbx.kill()
        with pytest.raises(ConnectionLost):
            async for _ in events:
                pass
