"""Call control on a real PBX: what goes on is taken in hand by AMI, what is new is made by ARI.

AMI's `write = call`, which the heartbeat needs anyway, hangs up and transfers any channel; ARI's `redirect` and
`continue` only those in an application. To originate, AMI wants a class of its own, which lets its user run any
dialplan application; ARI wants a user with `read_only = no`. Of the two ARI is asked: it also gives snoop channels.
"""

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from vochi_agent.calls.live import LiveChannel
from vochi_agent.control import Supervision
from vochi_agent.errors import ConnectionLost, NotPossible, NotReachable, VochiError
from vochi_agent.protocols.ami import Message

from .ari import Ari

__all__ = ["AriDialler", "PbxSwitchboard"]

# The context of the shipped dialplan that reaches colleagues and numbers outside alike.
CONTEXT: Final = "click-to-call"
NORMAL_CLEARING: Final = "16"
# What the supervisor may hear, and who may hear him; seen from the channel of the agent he supervises.
DIRECTIONS: Final[Mapping[Supervision, tuple[str, str]]] = {
    Supervision.LISTEN: ("both", "none"),
    Supervision.WHISPER: ("both", "out"),
    Supervision.BARGE: ("both", "both"),
}
ENDS: Final = ("ChannelDestroyed", "StasisEnd")


class Ami(Protocol):
    """The AMI actions call control needs."""

    async def action(
        self, name: str, fields: Mapping[str, str] | Iterable[tuple[str, str]] = (), within: float | None = None
    ) -> Message:
        """One action and its answer. Raises NotReachable, ActionFailed."""
        ...


class AriDialler:
    """Fulfils `control.Dialler`."""

    def __init__(self, ari: Ari | None) -> None:
        """Without ARI every call is refused."""
        self._ari = ari

    async def call_out(
        self, endpoint: str, digits: str, *, uniqueid: str, shown: Mapping[str, str], line: str, ring_s: float
    ) -> None:
        """See `control.Dialler.call_out`."""
        variables = _display(shown) | ({"__VOCHI_LINE": line} if line else {})
        await _rest(self._ari).originate(
            endpoint, channel=uniqueid, variables=variables, timeout_s=ring_s, place=(CONTEXT, digits)
        )


class PbxSwitchboard:
    """Fulfils `control.Switchboard`; without ARI calls can be ended and handed over, but not listened to."""

    def __init__(self, ami: Ami, ari: Ari | None) -> None:
        self._ami = ami
        self._ari = ari

    async def hang_up(self, channel: LiveChannel) -> None:
        """See `control.Switchboard.hang_up`."""
        await self._ami.action("Hangup", {"Channel": channel.name, "Cause": NORMAL_CLEARING})

    async def transfer(self, channel: LiveChannel, digits: str) -> None:
        """See `control.Switchboard.transfer`."""
        await self._ami.action("BlindTransfer", {"Channel": channel.name, "Context": CONTEXT, "Exten": digits})

    async def supervise(
        self, channel: LiveChannel, endpoint: str, how: Supervision, *, shown: Mapping[str, str], ring_s: float
    ) -> None:
        """See `control.Switchboard.supervise`.

        The application lives as long as this does: it holds the supervisor's channel, the snoop channel, and nobody
        else's.
        """
        ari, token = _rest(self._ari), secrets.token_hex(6)
        application, bridge = f"vochi-{token}", f"vochi-bridge-{token}"
        supervisor, snoop = f"vochi-supervisor-{token}", f"vochi-snoop-{token}"
        async with ari.application(application) as events:
            try:
                await ari.originate(
                    endpoint, channel=supervisor, variables=_display(shown), timeout_s=ring_s, application=application
                )
                await _entered(events, supervisor)
                await ari.make_bridge(bridge, application)
                spy, whisper = DIRECTIONS[how]
                await ari.snoop(channel.uniqueid, snoop=snoop, spy=spy, whisper=whisper, application=application)
                await _entered(events, snoop)
                await ari.join(bridge, supervisor)
                await ari.join(bridge, snoop)
                await _ended(events, {supervisor, snoop})
            finally:
                await _leave(ari, (snoop, supervisor), bridge)


def _rest(ari: Ari | None) -> Ari:
    if ari is None:
        raise NotReachable("enterprises.asterisk.ari is not configured: no call can be begun or listened to")
    return ari


def _display(shown: Mapping[str, str]) -> dict[str, str]:
    """What a phone shows before it is picked up, without touching its own caller id.

    `callerId` of the request would become the caller id of the whole call: the customer would be called with his own
    name and number (22.10, 16.28). `i`: no update is sent, the phone does not ring yet.
    """
    return {f"CONNECTEDLINE({part},i)": value for part, value in shown.items()}


async def _entered(events: AsyncIterator[Mapping[str, Any]], channel: str) -> None:
    """Wait until a channel is in our application. Raises NotPossible when it ends instead."""
    async for event in events:
        if _channel(event) == channel:
            if event.get("type") == "StasisStart":
                return
            if event.get("type") in ENDS:
                raise NotPossible("the supervisor did not pick up, or the conversation was over")
    raise ConnectionLost("the ARI websocket ended")


async def _ended(events: AsyncIterator[Mapping[str, Any]], channels: set[str]) -> None:
    """Wait until one of them is gone."""
    async for event in events:
        if event.get("type") in ENDS and _channel(event) in channels:
            return


def _channel(event: Mapping[str, Any]) -> str:
    channel = event.get("channel")
    return str(channel.get("id", "")) if isinstance(channel, dict) else ""


async def _leave(ari: Ari, channels: Iterable[str], bridge: str) -> None:
    """Take away what we made, as far as it is still there."""
    for channel in channels:
        with suppress(VochiError):
            await ari.hang_up(channel)
    with suppress(VochiError):
        await ari.destroy_bridge(bridge)
