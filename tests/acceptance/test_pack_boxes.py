"""The packs for FreePBX and MikoPBX in a real Asterisk, between stand-ins for what the products themselves generate.

The stand-ins are ours: they call us and go on as the products' published dialplan does, no more. That a product of a
certain version still does so is for the administrator to see (docs/dialplan.md says how).
"""

from pathlib import Path

import pytest

from tests.support.asterisk import Asterisk
from tests.support.commands import Workplace
from tests.support.fastagi import FastAgi
from tests.support.manager import is_event
from tests.support.pack import configuration
from tests.support.sipp import Sipp

pytestmark = pytest.mark.asterisk

CALLER = "375290000022"
KNOWN = {"CALLERID(name)": "Ромашка | МТС Центр", "VOCHI_STATUS": "ok", "VOCHI_BLACKLISTED": "0", "VOCHI_ROUTE": ""}
BLOCKED = KNOWN | {"VOCHI_STATUS": "blocked", "VOCHI_BLACKLISTED": "1"}

# As FreePBX writes extensions.conf: its globals, its custom file, from-pstn, and an inbound route's own entry.
FREEPBX = """\
[general]
clearglobalvars = no
[globals]
#include "globals_custom.conf"
#include "extensions_custom.conf"
[from-trunk]
exten => _.,1,Goto(from-pstn-vochi,${EXTEN},1)
[from-pstn]
include => ext-did
include => from-did-direct
[ext-did]
exten => _X.,1,Set(__FROM_DID=${EXTEN})
 same => n,ExecIf($["${CALLERID(name)}" = ""]?Set(CALLERID(name)=${CALLERID(num)}))
 same => n,Set(CALLERID(name)=Opt:${CALLERID(name)})
 same => n,UserEvent(Lab,Did: ${FROM_DID},Name: ${CALLERID(name)})
 same => n,Goto(from-did-direct,101,1)
[from-did-direct]
exten => 101,1,Dial(PJSIP/101,10)
"""
# As MikoPBX writes it: one hook for every incoming call, asked for by the dialled number; ours comes at the end.
MIKOPBX = """\
[globals]
TRANSFER_CONTEXT=internal-transfer
[general]
[from-trunk]
exten => _X!,1,Set(__FROM_DID=${EXTEN})
 same => n,Gosub(add-trim-prefix-clid,${EXTEN},1)
 same => n,UserEvent(Lab,Did: ${FROM_DID},Name: ${CALLERID(name)})
 same => n,Dial(PJSIP/101,10)
[add-trim-prefix-clid]
exten => _.!,1,NoOp()
 same => n,GosubIf($["${DIALPLAN_EXISTS(${CONTEXT}-custom,${EXTEN},1)}" == "1"]?${CONTEXT}-custom,${EXTEN},1)
 same => n,Return()
"""


async def box(pbx: Asterisk, folder: Path, flavour: str, generated: str, *arguments: str) -> Asterisk:
    """The product with our files in it, as its administrator would put them there."""
    workplace, pack = Workplace(folder), folder / "pack"
    workplace.write(configuration(pbx, folder))
    printed = await workplace.vochi("dialplan", "print", "--flavour", flavour, "--to", str(pack), *arguments)
    assert (printed.code, printed.err) == (0, "")
    etc = pbx.home / "etc"
    await pbx.kill()
    for file in pack.iterdir():
        (etc / file.name).write_text(file.read_text())
    ours = (pack / "extensions.conf").read_text() if flavour == "mikopbx" else ""
    (etc / "extensions.conf").write_text(generated + ours)
    pbx.log.unlink()
    await pbx.start()
    await pbx.set_global("VOCHI_ALIVE_a", "9999999999")
    return pbx


@pytest.fixture
async def freepbx(pbx: Asterisk, lines: Sipp, tmp_path: Path) -> Asterisk:
    return await box(pbx, tmp_path, "freepbx", FREEPBX)


@pytest.fixture
async def mikopbx(pbx: Asterisk, lines: Sipp, tmp_path: Path) -> Asterisk:
    return await box(pbx, tmp_path, "mikopbx", MIKOPBX, "--address", f"127.0.0.1:{pbx.ports.fastagi}")


def complaints(pbx: Asterisk) -> list[str]:
    """What Asterisk says of our part; the products' own `_.` patterns make it warn."""
    return [line for line in pbx.problems() if "just plain wrong" not in line and "_." not in line]


async def called(pbx: Asterisk, lines: Sipp, did: str = "0001701") -> tuple[str, str]:
    """Call in: the dialled number and the name with which the product's own part was reached."""
    async with pbx.manager() as manager:
        result = await lines.call(did, CALLER, hold_s=0.1)
        event = await manager.wait_for(is_event("UserEvent", UserEvent="Lab"))
    assert (result.ended, result.code) == ("hung_up", 200)
    return event["Did"], event["Name"]


# ---------------------------------------------------------------- FreePBX


async def test_freepbx_a_call_is_named_and_goes_on_to_from_pstn_with_its_number(freepbx: Asterisk, lines: Sipp) -> None:
    """The route's own prefix stands before our name."""
    async with FastAgi(freepbx.ports.fastagi, KNOWN) as server:
        assert await called(freepbx, lines) == ("0001701", "Opt:Ромашка | МТС Центр")

    request = server.requests[0].environment
    assert (request["arg_1"], request["arg_2"]) == ("0901", "0001701")
    assert complaints(freepbx) == []


async def test_freepbx_a_number_of_no_line_goes_on_as_well(freepbx: Asterisk, lines: Sipp) -> None:
    async with FastAgi(freepbx.ports.fastagi, KNOWN) as server:
        assert (await called(freepbx, lines, "0007777"))[0] == "0007777"

    assert server.requests[0].environment["arg_2"] == "0007777"


async def test_freepbx_without_us_calls_go_on_as_ever(freepbx: Asterisk, lines: Sipp) -> None:
    assert await called(freepbx, lines) == ("0001701", f"Opt:{CALLER}")


async def test_freepbx_the_route_rings_first_when_the_telephone_is_free(freepbx: Asterisk, lines: Sipp) -> None:
    """103 rings for the line's second in vain, then the route of FreePBX; 110 is not registered, 199 unknown."""
    for extension in ("103", "110"):
        await freepbx.command(f"database put DEVICE/{extension} dial PJSIP/{extension}")
    async with FastAgi(freepbx.ports.fastagi) as server:
        for route in ("103", "110", "199"):
            server.answer = KNOWN | {"VOCHI_ROUTE": route}
            await called(freepbx, lines)

    assert [invite.number for invite in lines.invites()] == ["103", "101", "101", "101"]


async def test_freepbx_a_blocked_caller_reaches_no_route(freepbx: Asterisk, lines: Sipp) -> None:
    async with FastAgi(freepbx.ports.fastagi, BLOCKED), freepbx.manager() as manager:
        result = await lines.call("0001701", CALLER)
        await manager.wait_for(is_event("UserEvent", UserEvent="VochiMark", Reason="blocked"))

    assert (result.ended, result.code, lines.invites()) == ("refused", 403, [])


# ---------------------------------------------------------------- MikoPBX


async def test_mikopbx_a_call_is_named_in_the_hook_and_its_route_goes_on(mikopbx: Asterisk, lines: Sipp) -> None:
    async with FastAgi(mikopbx.ports.fastagi, KNOWN) as server:
        assert await called(mikopbx, lines) == ("0001701", "Ромашка | МТС Центр")

    assert server.requests[0].environment["arg_2"] == "0001701"
    assert complaints(mikopbx) == []


async def test_mikopbx_without_us_calls_go_on_as_ever(mikopbx: Asterisk, lines: Sipp) -> None:
    assert await called(mikopbx, lines) == ("0001701", "")


async def test_mikopbx_a_blocked_caller_reaches_no_route(mikopbx: Asterisk, lines: Sipp) -> None:
    async with FastAgi(mikopbx.ports.fastagi, BLOCKED), mikopbx.manager() as manager:
        result = await lines.call("0001701", CALLER)
        await manager.wait_for(is_event("UserEvent", UserEvent="VochiMark", Reason="blocked"))

    assert (result.ended, result.code, lines.invites()) == ("refused", 403, [])
