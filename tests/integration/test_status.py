"""`vochi-agent status` as a process, with a daemon and without."""

import asyncio

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


async def test_a_daemon_that_waits_for_its_pbx_is_not_ready_and_says_why(site: Site) -> None:
    site.configure(ami_port=free_port())
    async with site.daemon() as daemon:
        async with asyncio.timeout(20):
            while not (answer := await site.vochi("status", "--json")).out:
                assert daemon.returncode is None

    assert answer.code == 1
    part = answer.json()["parts"]["ami 0901"]
    assert part["up"] is False
    assert "takes no connection" in part["detail"]


async def test_a_disk_that_takes_no_calls_is_seen_before_they_have_to_wait_there(site: Site) -> None:
    (site.folder / "state").mkdir()
    (site.folder / "state" / "spool").touch()
    async with site.daemon() as daemon:
        await site.until_ready(daemon)
        answer = await site.vochi("status")

    assert "0 of them on disk; the disk refused" in answer.out
