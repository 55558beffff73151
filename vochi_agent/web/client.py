"""Asks the daemon that runs on this machine, over the HTTP address of its own configuration."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from vochi_agent.config import Address
from vochi_agent.errors import NotReachable

from .status import STATUS_PATH

__all__ = ["ask_metrics", "ask_status"]

TIMEOUT_S: Final = 3.0
METRICS_PATH: Final = "/metrics"


async def ask_status(listen: Address) -> Mapping[str, object]:
    """What the daemon says of itself; see `web.status`.

    Raises:
        NotReachable: nobody answers there, or not our daemon.
    """
    address = _reachable(listen)
    try:
        body = json.loads(await _get(address, STATUS_PATH))
    except ValueError as exc:
        raise NotReachable(f"{address} is answered by something that is not vochi-agent") from exc
    if not isinstance(body, dict) or "pid" not in body or "version" not in body:
        raise NotReachable(f"{address} is answered by something that is not vochi-agent")
    return body


async def ask_metrics(listen: Address) -> Sequence[tuple[str, Mapping[str, str], float]]:
    """Every number that the daemon shows to Prometheus: name, labels, value. Raises NotReachable."""
    address = _reachable(listen)
    try:
        families = text_string_to_metric_families(await _get(address, METRICS_PATH))
        return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]
    except ValueError as exc:
        raise NotReachable(f"{address} is answered by something that is not vochi-agent") from exc


async def _get(address: Address, path: str) -> str:
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            # Not through a proxy of the environment, which `trust_env` would ask: the daemon is on this machine.
            aiohttp.ClientSession() as session,
            session.get(f"http://{address}{path}", allow_redirects=False) as response,
        ):
            return await response.text("utf-8")
    except TimeoutError as exc:
        raise NotReachable(f"{address} does not answer within {TIMEOUT_S:g} s") from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise NotReachable(f"no daemon answers on {address} (http.listen)") from exc


def _reachable(listen: Address) -> Address:
    """Where a listener on every address is reached from this machine."""
    host = ip_address(listen.host)
    if not host.is_unspecified:
        return listen
    return Address("127.0.0.1" if host.version == 4 else "::1", listen.port)  # noqa: PLR2004 - IPv4
