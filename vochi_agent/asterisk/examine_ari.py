"""Whether the REST interface of a PBX answers, lets us in and lets us act; and what its absence costs."""

from collections.abc import Mapping
from typing import Final

import aiohttp

from vochi_agent.config import AsteriskConfig
from vochi_agent.diagnosis import Finding, closed, fine, problem, unknown, warning
from vochi_agent.errors import ActionFailed, LoginRefused, NotPermitted, NotReachable, RemoteProtocolError

from .ari import Ari, AriPeer

__all__ = ["examine_ari"]

COST: Final = "no click to call, no listening to calls, and after a reconnect a talk counts from the reconnect on"
READ_ONLY: Final = "it may only read, so no click to call and no listening; read_only = no in ari.conf gives both"
# No channel has this id: asking to end it shows whether we may, and does nothing.
NOBODY: Final = "vochi-doctor"


async def examine_ari(
    enterprise_number: str, config: AsteriskConfig, phones: Mapping[str, str] | None = None
) -> list[Finding]:
    """Look around as the daemon would; nothing is changed. `phones`: listed extension -> TECH/endpoint."""
    part = f"ari {enterprise_number}"
    peer = AriPeer.of(config)
    if peer is None:
        return [warning(part, f"not configured: {COST}", "enterprises.asterisk.ari, a user in ari.conf, http.conf on")]
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            return await _look_around(part, Ari(peer, session), phones or {})
    except LoginRefused as exc:
        return [closed(part, f"{exc} (401): {COST}", "compare ari_username and ari_password with ari.conf")]
    except NotReachable as exc:
        cure = "enabled = yes and bindaddr in http.conf and ari.conf; is the address in enterprises.asterisk.ari right?"
        return [closed(part, f"{exc}: {COST}", cure)]
    except RemoteProtocolError as exc:
        return [problem(part, f"{exc}: {COST}", "is it Asterisk that listens there, and is res_ari.so loaded?")]
    except ActionFailed as exc:
        return [problem(part, f"{peer}: {exc}: {COST}", "enabled = yes in ari.conf, and load res_ari*.so")]


async def _look_around(part: str, ari: Ari, phones: Mapping[str, str]) -> list[Finding]:
    version = await ari.info()
    found = [fine(part, f"{ari.peer} lets us in: Asterisk {version}")]
    try:
        await ari.hang_up(NOBODY)
    except NotPermitted:
        found.append(fine(part, READ_ONLY))
    except ActionFailed:
        found.append(fine(part, "it may act: click to call and listening to calls are possible"))
    return found + await _phones(part, ari, phones)


async def _phones(part: str, ari: Ari, phones: Mapping[str, str]) -> list[Finding]:
    if not phones:
        return []
    states = {endpoint.name: endpoint.state for endpoint in await ari.endpoints()}
    missing = {extension: place for extension, place in phones.items() if place not in states}
    there, away, unseen = (
        sorted(extension for extension, place in phones.items() if states.get(place) == state)
        for state in ("online", "offline", "unknown")
    )
    found = []
    if missing:
        names = ", ".join(f"{extension} ({place})" for extension, place in sorted(missing.items()))
        cure = "endpoint of [[enterprises.agents]] is where the extension is, when that is not TECH/extension"
        found.append(warning(part, f"the PBX has no telephone of these agents: {names}", cure))
    if unseen:
        sentence = f"whether a telephone is registered is not told of: {', '.join(unseen)}"
        cure = "chan_sip tells it from the first registration on; asterisk -rx 'sip show peers' shows it"
        found.append(unknown(part, sentence, cure))
    note = f"; not registered: {', '.join(away)}" if away else ""
    found.append(fine(part, f"{len(there)} of {len(phones)} agents have a telephone that is registered{note}"))
    return found
