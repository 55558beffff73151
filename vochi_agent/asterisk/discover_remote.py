"""Finds out about a PBX over its manager interface and its REST interface, with whatever rights the user there has."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import aiohttp

from vochi_agent.config import Address
from vochi_agent.errors import ActionFailed

from .ami import AmiConnection, AmiPeer, connect
from .ari import Ari, AriPeer
from .discovery import EXTENSION, FoundEndpoint, PbxFacts

__all__ = ["discover_over_ami", "discover_over_ari"]

# One question each; a PBX of more endpoints is not asked for their details.
MOST_DETAILS: Final = 500
SYSTEM_CLASS: Final = "the class system would show the contexts of endpoints"


async def discover_over_ami(peer: AmiPeer) -> PbxFacts:
    """Look around as a user that is there already.

    Raises:
        NotReachable: nobody answers.
        LoginRefused: the user is not let in.
    """
    async with connect(peer, on_event=lambda _event: None, wanted=(), clock=time.time) as connection:
        version, notes = "", [f"asked AMI {peer} as {peer.username!r}"]
        try:
            version = (await connection.action("CoreSettings")).get("AsteriskVersion")
        except ActionFailed:
            notes.append(f"AMI does not tell {peer.username!r} the version; the class reporting would")
        endpoints, refused = await _endpoints(connection)
        if refused:
            notes.append(f"AMI does not list endpoints for {peer.username!r}; {SYSTEM_CLASS}")
        return PbxFacts(
            version=version,
            utc_offset=await _evaluated(connection, "STRFTIME(,,%z)"),
            endpoints=tuple(endpoints),
            ami=Address(peer.host, peer.port),
            ami_on=True,
            notes=tuple(notes),
        )


async def discover_over_ari(peer: AriPeer) -> PbxFacts:
    """The names of endpoints and the version.

    Raises:
        NotReachable, LoginRefused, ActionFailed, RemoteProtocolError: as `Ari` does.
    """
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        ari = Ari(peer, session)
        return PbxFacts(
            version=await ari.info(),
            endpoints=tuple(FoundEndpoint(name=each.name) for each in await ari.endpoints()),
            http_on=True,
            notes=(f"asked ARI {peer} as {peer.username!r}: it tells names of endpoints, not their contexts",),
        )


async def _endpoints(connection: AmiConnection) -> tuple[Sequence[FoundEndpoint], bool]:
    """Those of PJSIP and of chan_sip, and whether our user may not see them."""
    found: list[FoundEndpoint] = []
    refused = False
    try:
        listed = await connection.list_action("PJSIPShowEndpoints")
        found += [
            await _pjsip(connection, item.get("ObjectName"), knows_us=bool(item.get("OutboundAuths")))
            for item in listed[:MOST_DETAILS]
        ]
    except ActionFailed as exc:
        refused = "denied" in str(exc).lower()
    with suppress(ActionFailed):  # Asterisk 21 and later have no chan_sip
        for item in await connection.list_action("SIPpeers"):
            dynamic = item.get("Dynamic").lower() == "yes"
            found.append(FoundEndpoint(name=f"SIP/{item.get('ObjectName')}", is_provider=not dynamic))
    return found, refused


async def _pjsip(connection: AmiConnection, name: str, *, knows_us: bool) -> FoundEndpoint:
    context, caller, recognised = "", "", False
    with suppress(ActionFailed):
        for item in await connection.list_action("PJSIPShowEndpoint", {"Endpoint": name}):
            if item.event == "EndpointDetail":
                context, caller = item.get("Context"), item.get("Callerid")
            recognised = recognised or (item.event == "IdentifyDetail" and not EXTENSION.fullmatch(name))
    caller = "" if caller == "<unknown>" else caller
    return FoundEndpoint(name=f"PJSIP/{name}", context=context, caller=caller, is_provider=knows_us or recognised)


async def _evaluated(connection: AmiConnection, function: str) -> str:
    """What a function of the dialplan gives; "" when we may not ask, or it is not loaded."""
    try:
        return (await connection.action("Getvar", {"Variable": function})).get("Value")
    except ActionFailed:
        return ""
