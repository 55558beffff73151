"""`vochi-agent status` as a process, with a daemon and without."""

import asyncio
import re

import pytest

from tests.support.company import PERSON, Site, assert_no_secret
from tests.support.ports import free_port

# What commands say does not depend on the server's version; the store's own tests run on both.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)


async def test_status_without_a_daemon_exits_3(site: Site) -> None:
    answer = await site.vochi("status")

    assert (answer.code, answer.out) == (3, "")
    assert "no daemon answers on 127.0.0.1:" in answer.err


async def test_status_of_something_that_is_no_daemon_exits_3(site: Site) -> None:
    site.configure(http_port=site.crm.url.rpartition(":")[2])
    answer = await site.vochi("status")

    assert (answer.code, answer.out) == (3, "")
    assert "not vochi-agent" in answer.err


async def test_status_of_a_running_daemon_shows_its_connections_and_its_calls(site: Site) -> None:
    async with site.daemon() as daemon, asyncio.TaskGroup() as calls:
        await site.until_ready(daemon)
        # The PBX goes twenty times faster than life: 20 s of ringing.
        ringing = site.pbx.inbound(trunk="PJSIP/gsm1", did="0001701", caller=PERSON, ring=["151"], timeout_s=400)
        call = calls.create_task(ringing)
        async with asyncio.timeout(10):
            while not (seen := (await site.vochi("status", "--json")).json())["calls"]:
                assert not call.done()
        shown = await site.vochi("status")
        doctor = await site.vochi("doctor", "--json")
        call.cancel()

    assert (shown.code, seen["ready"], seen["pid"], seen["calls_live"]) == (0, True, daemon.pid, 1)
    assert (seen["calls"][0]["phone"], seen["calls"][0]["line"]) == (PERSON, "0001701")
    assert seen["pbx"]["0901"]["connected_since"] is not None
    assert abs(seen["pbx"]["0901"]["clock_offset"]) < 1
    waiting = {"calls_waiting": 0, "calls_parked": 0, "changes_waiting": 0, "profiles_waiting": 0}
    assert seen["crm"] == {"0901": {"retailcrm": {"breaker": "closed"} | waiting}}
    assert "+375 (29) 000-00-11" in shown.out
    assert_no_secret(shown)
    listeners = {each["part"]: each["sentence"] for each in doctor.json() if each["part"] in ("fastagi", "http")}
    assert all(sentence.startswith("the daemon listens on") for sentence in listeners.values())


async def test_a_daemon_that_is_not_ready_says_what_it_waits_for_and_why(site: Site) -> None:
    """Neither PBX nor database is there, nor a disk that takes what waits for it."""
    site.configure(ami_port=free_port(), dsn=f"postgresql://vochi@127.0.0.1:{free_port()}/vochi")
    (site.folder / "state").mkdir()
    (site.folder / "state" / "spool").touch()
    async with site.daemon() as daemon:
        async with asyncio.timeout(20):
            while (answer := await site.vochi("status")).out.count("Connection refused") < 2:
                assert daemon.returncode is None

    assert answer.code == 1
    assert re.search(r"^database +DOWN +PostgreSQL: ", answer.out, re.MULTILINE)
    assert re.search(r"^ami 0901 +DOWN .*takes no connection", answer.out, re.MULTILINE)
    assert "0 of them on disk; the disk refused at the last attempt: " in answer.out
