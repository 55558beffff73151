"""Whether the REST interface of a PBX answers and lets us in; and what its absence costs."""

import asyncio
from base64 import b64encode
from typing import Final

import aiohttp

from vochi_agent.config import AsteriskConfig
from vochi_agent.diagnosis import Finding, closed, fine, problem, warning

__all__ = ["examine_ari"]

TIMEOUT_S: Final = 5.0
COST: Final = "no states of endpoints, no call control, no second witness of calls"


async def examine_ari(enterprise_number: str, config: AsteriskConfig) -> list[Finding]:
    """Ask for `/ari/asterisk/info`; the password travels in a header, so no log on the way has it."""
    part = f"ari {enterprise_number}"
    if not config.ari:
        return [warning(part, f"not configured: {COST}", "enterprises.asterisk.ari, a user in ari.conf, http.conf on")]
    place = config.ari.rstrip("/")
    credentials = f"{config.ari_username}:{config.ari_password.get_secret_value()}".encode()
    headers = {"Authorization": f"Basic {b64encode(credentials).decode()}"}
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{place}/ari/asterisk/info", params={"only": "system"}, allow_redirects=False) as response,
        ):
            return [_judged(part, place, response.status)]
    except TimeoutError:
        return [closed(part, f"{place} does not answer within {TIMEOUT_S:g} s: {COST}", "is Asterisk overloaded?")]
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        cure = "enabled = yes and bindaddr in http.conf and ari.conf; is the address in enterprises.asterisk.ari right?"
        return [closed(part, f"{place} takes no connection ({type(exc).__name__}): {COST}", cure)]


def _judged(part: str, place: str, status: int) -> Finding:
    match status:
        case 200:
            return fine(part, f"{place} lets us in")
        case 401 | 403:
            return closed(
                part,
                f"{place} does not let our user in ({status}): {COST}",
                "compare ari_username and ari_password with ari.conf",
            )
        case 404:
            return problem(part, f"{place} has no /ari: {COST}", "enabled = yes in ari.conf, and load res_ari.so")
        case _:
            return problem(part, f"{place} answers {status}: {COST}", "is it Asterisk that listens there?")
