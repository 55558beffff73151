"""What `doctor` finds out about a real Asterisk, as users with different rights."""

import asyncio
import time

import pytest

from tests.support.asterisk import Asterisk
from tests.support.bare_pbx import make_bare
from tests.support.manager import ManagerError
from tests.support.ports import free_port
from tests.support.sipp import Sipp
from vochi_agent.asterisk.examine_ami import examine_ami
from vochi_agent.asterisk.examine_ari import examine_ari
from vochi_agent.asterisk.examine_cel import CURE, examine_cel
from vochi_agent.asterisk.examine_dialplan import examine_dialplan
from vochi_agent.asterisk.examine_records import examine_records
from vochi_agent.config import Address, AsteriskConfig, SecretStr
from vochi_agent.diagnosis import Finding, Level

pytestmark = pytest.mark.asterisk


def place(asterisk: Asterisk, user: str, *, secret: str = "") -> AsteriskConfig:
    return AsteriskConfig(
        ami=Address("127.0.0.1", asterisk.ports.ami),
        ami_username=user,
        ami_secret=SecretStr(secret or asterisk.secret),
        ari=f"http://127.0.0.1:{asterisk.ports.http}",
        ari_username="vochi",
        ari_password=SecretStr(secret or asterisk.secret),
        cel=str(asterisk.cel),
    )


async def look(asterisk: Asterisk, user: str, *, listen_s: float = 0.3) -> list[Finding]:
    return await examine_ami("0901", place(asterisk, user), listen_s=listen_s)


def saying(findings: list[Finding], beginning: str) -> Level:
    """The level of the one finding that begins so."""
    (found,) = [finding for finding in findings if finding.sentence.startswith(beginning)]
    return found.level


async def test_the_shipped_user_has_the_rights_it_needs_and_none_besides(asterisk: Asterisk) -> None:
    found = await look(asterisk, "vochi")

    assert saying(found, "Asterisk 22.") is Level.OK
    assert saying(found, "the PBX's clock differs from ours by 0.0 s") is Level.OK
    assert saying(found, "the fixes of all") is Level.OK
    assert saying(found, "write class call: ") is Level.OK
    assert saying(found, "write class reporting: ") is Level.OK
    assert not [finding for finding in found if finding.level in (Level.WARNING, Level.PROBLEM)]
    # Nobody called, so no event came; the file tells.
    assert saying(found, "read classes call, agent, user, dialplan: manager.conf gives them") is Level.OK
    assert saying(found, "timestampevents: manager.conf switches it on") is Level.OK


async def test_a_call_shows_that_events_come_with_their_times(asterisk: Asterisk, sipp: Sipp) -> None:
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(look(asterisk, "vochi", listen_s=3.0))
        group.create_task(sipp.call("0000101", "375290000001", hold_s=0.5))

    assert saying(looking.result(), "read classes call, dialplan: their events come") is Level.OK
    assert saying(looking.result(), "read classes agent, user: manager.conf gives them") is Level.OK
    assert saying(looking.result(), "timestampevents: ") is Level.OK
    assert [finding.level for finding in examine_cel("0901", place(asterisk, "vochi"))] == [Level.OK]


async def test_a_user_with_the_class_call_alone_costs_a_list_and_the_version(asterisk: Asterisk) -> None:
    found = await look(asterisk, "call-only")

    assert saying(found, "write class call: ") is Level.OK
    assert saying(found, "write class reporting is missing") is Level.WARNING
    assert saying(found, "the version of Asterisk is not shown") is Level.UNKNOWN
    assert saying(found, "read class user is missing: marks of the dialplan") is Level.WARNING


async def test_a_user_with_all_rights_is_warned_of_and_proves_all_classes(asterisk: Asterisk) -> None:
    found = await look(asterisk, "lab")

    assert saying(found, "write class command: ") is Level.WARNING
    assert saying(found, "read classes call, agent, user, dialplan: their events come") is Level.OK


async def test_the_oldest_asterisk_answers_the_same_questions(asterisk16: Asterisk) -> None:
    shipped, careful = await look(asterisk16, "vochi"), await look(asterisk16, "call-only")

    assert saying(shipped, "Asterisk 16.") is Level.OK
    assert saying(shipped, "write class call: ") is Level.OK
    wrong = [finding for finding in shipped if finding.level in (Level.WARNING, Level.PROBLEM)]
    assert [finding.part for finding in wrong] == ["security 0901"]
    assert "AST-2022-009 (2022-12)" in wrong[0].sentence
    assert saying(careful, "write class reporting is missing") is Level.WARNING


async def test_a_wrong_password_closes_ami_and_ari(asterisk: Asterisk) -> None:
    wrong = place(asterisk, "vochi", secret="no-such-secret")
    ami, ari = await examine_ami("0901", wrong, listen_s=0), await examine_ari("0901", wrong)

    assert [finding.closed for finding in (*ami, *ari)] == [True, True]
    assert "AMI user 'vochi' is not let in" in ami[0].sentence
    assert "ARI user 'vochi' is not let in" in ari[0].sentence


async def test_the_rest_interface_tells_what_our_user_may_and_whose_phone_is_there(pbx: Asterisk) -> None:
    phones = {"101": "PJSIP/101", "110": "PJSIP/110", "150": "PJSIP/150"}
    reading = await examine_ari("0901", place(pbx, "vochi"), phones)
    acting = await examine_ari("0901", place(pbx, "vochi").model_copy(update={"ari_username": "lab"}))

    assert saying(reading, "it may only read, so no click to call and no listening") is Level.OK
    assert saying(reading, "the PBX has no telephone of these agents: 150 (PJSIP/150)") is Level.WARNING
    assert saying(reading, "1 of 3 agents have a telephone that is registered; not registered: 110") is Level.OK
    assert saying(acting, "it may act: click to call and listening to calls are possible") is Level.OK
    assert [finding.part for finding in acting] == ["ari 0901", "ari 0901"]


async def test_what_is_said_to_mend_rights_and_records_does_mend_them(pbx: Asterisk) -> None:
    """A connection keeps the rights of its login; what was not switched on is no matter of the module that writes."""
    manager, cel = pbx.home / "etc" / "manager.conf", pbx.home / "etc" / "cel.conf"
    whole = cel.read_text()
    with manager.open("a") as file:
        file.write("\n[vochi](+)\nwrite = reporting\n")
    cel.write_text("[general]\nenable = no\n")
    await pbx.command("manager reload")
    await pbx.command("module reload cel")
    refused = await look(pbx, "vochi", listen_s=0)
    async with pbx.manager("vochi") as daemon:
        cel.write_text(whole)
        manager.write_text(manager.read_text().replace("\nwrite = reporting\n", "\nwrite = call,reporting\n"))
        await pbx.command("manager reload")
        with pytest.raises(ManagerError, match="Permission denied"):
            await daemon.action("Setvar", Variable="VOCHI_ALIVE_a", Value="1")
    async with pbx.manager("vochi") as daemon:
        await daemon.action("Setvar", Variable="VOCHI_ALIVE_a", Value="1")
    for step in CURE.partition("then: ")[2].split(", "):
        await pbx.command(step)

    (cure,) = [each.cure for each in refused if each.sentence.startswith("write class call is missing")]
    assert cure.endswith("manager reload, and systemctl restart vochi-agent")
    assert "CEL Logging: Enabled" in await pbx.command("cel show status")


async def test_a_telephone_of_which_asterisk_knows_no_state_is_not_said_to_be_registered(asterisk16: Asterisk) -> None:
    """As chan_sip has it until the first registration."""
    etc = asterisk16.home / "etc"
    place_of_sip = f"[general]\nudpbindaddr = 127.0.0.1:{free_port()}\n"
    (etc / "sip.conf").write_text(f"{place_of_sip}[199]\ntype = friend\nhost = dynamic\n")
    with (etc / "modules.conf").open("a") as modules:
        modules.write("\nload = chan_sip.so\n")
    await asterisk16.stop()
    await asterisk16.start()
    found = await examine_ari("0901", place(asterisk16, "vochi"), {"101": "PJSIP/101", "199": "SIP/199"})

    assert saying(found, "whether a telephone is registered is not told of: 199") is Level.UNKNOWN
    assert saying(found, "1 of 2 agents have a telephone that is registered") is Level.OK


async def test_without_its_function_asterisk_tells_no_states_of_telephones(asterisk: Asterisk) -> None:
    assert saying(await look(asterisk, "vochi", listen_s=0), "the states of telephones are told") is Level.OK
    modules = asterisk.home / "etc" / "modules.conf"
    modules.write_text(modules.read_text().replace("load = func_devstate.so\n", ""))
    await asterisk.stop()
    await asterisk.start()

    assert saying(await look(asterisk, "vochi", listen_s=0), "DEVICE_STATE() gives nothing") is Level.WARNING


async def test_the_dialplan_is_seen_to_ask_us_with_the_shipped_rights(pbx: Asterisk) -> None:
    listen = Address("127.0.0.1", pbx.ports.fastagi)
    found = await examine_dialplan("0901", place(pbx, "vochi"), instance="a", listen=listen, runs=True)

    assert saying(found, "it asks 127.0.0.1:") is Level.OK
    assert saying(found, "calls are named in [from-trunk]") is Level.OK
    assert saying(found, "the age of our heartbeat is not told") is Level.UNKNOWN

    await pbx.set_global("VOCHI_ALIVE_a", "1795000000")
    elsewhere = Address("127.0.0.1", pbx.ports.nobody)
    found = await examine_dialplan("0901", place(pbx, "vochi"), instance="a", listen=elsewhere, runs=True)
    assert saying(found, "it asks 127.0.0.1:") is Level.WARNING
    assert saying(found, "our heartbeat is ") is Level.PROBLEM


async def test_a_pbx_that_never_heard_of_us_names_no_call_and_records_nothing(pbx: Asterisk) -> None:
    await make_bare(pbx)
    listen = Address("127.0.0.1", pbx.ports.fastagi)
    dialplan = await examine_dialplan("0901", place(pbx, "lab"), instance="a", listen=listen, runs=False)
    records = await examine_records("0901", place(pbx, "lab"), clock=time.time)

    assert saying(dialplan, "there is no [vochi] in it") is Level.PROBLEM
    assert saying(records, "cel.conf: enable is 'no'") is Level.PROBLEM


async def test_what_cel_conf_records_is_judged_before_a_call_shows_it(asterisk: Asterisk) -> None:
    etc = asterisk.home / "etc"
    before = await examine_records("0901", place(asterisk, "vochi"), clock=time.time)
    assert [finding.level for finding in before] == [Level.UNKNOWN, Level.OK]
    assert "is not there yet" in before[0].sentence

    (etc / "cel.conf").write_text("[general]\nenable = yes\napps = all\nevents = CHAN_START,HANGUP\n")
    await asterisk.reload("cel")
    found = await examine_records("0901", place(asterisk, "vochi"), clock=time.time)

    assert saying(found, "cel.conf: apps lacks dial, queue: the word `all` records none") is Level.WARNING
    assert saying(found, "cel.conf: events lacks CHAN_END, ANSWER, BRIDGE_ENTER") is Level.PROBLEM
    assert saying(found, str(asterisk.cel)) is Level.PROBLEM
