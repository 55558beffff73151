"""What a PBX can tell after the fact, as the configuration says: CEL before CDR, and which of its channels live."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import UTC
from typing import Protocol
from zoneinfo import ZoneInfo

from vochi_agent.calls.layout import Layout
from vochi_agent.config import Enterprise
from vochi_agent.errors import ActionFailed
from vochi_agent.protocols.ami import Message
from vochi_agent.recovery import CallRecords

from .cdr_sources import open_cdr
from .cel_sources import open_cel

__all__ = ["Lists", "living_channels", "open_records"]


class Lists(Protocol):
    """An AMI connection, or the client that keeps one."""

    async def list_action(self, name: str) -> list[Message]:
        """The items of a list. Raises NotReachable, ActionFailed."""
        ...


def open_records(enterprise: Enterprise, layout: Callable[[], Layout]) -> CallRecords | None:
    """The best that is configured; None when there is nothing. `layout` is the PBX as it is configured now.

    Raises:
        ConfigError: the driver of its database is not installed.
    """
    timezone = ZoneInfo(enterprise.timezone) if enterprise.timezone else UTC
    if enterprise.asterisk.cel:
        return open_cel(enterprise.asterisk.cel, timezone)
    if enterprise.asterisk.cdr:
        return open_cdr(enterprise.asterisk.cdr, layout, timezone)
    return None


async def living_channels(pbx: Lists) -> AbstractSet[str] | None:
    """Uniqueids of every channel that lives now; None when our user may not ask.

    Raises:
        NotReachable: the PBX does not answer.
    """
    try:
        channels = await pbx.list_action("CoreShowChannels")
    except ActionFailed:
        return None
    return {uniqueid for channel in channels if (uniqueid := channel.get("Uniqueid"))}
