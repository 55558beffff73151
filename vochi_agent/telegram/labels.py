"""How one chat sees an enterprise, as the configuration says it. Pure."""

from datetime import UTC
from zoneinfo import ZoneInfo

from vochi_agent.config import Chat, Enterprise

from .text import Labels

__all__ = ["labels_of", "zone_of"]


def labels_of(enterprise: Enterprise, chat: Chat) -> Labels:
    """Names, lines and what else a chat wants to read."""
    departments = {department.number: department.label for department in enterprise.departments}
    return Labels(
        agents=departments | {agent.extension: agent.name for agent in enterprise.agents},
        lines={line.id: line.label for line in enterprise.lines},
        timezone=zone_of(enterprise),
        mask=chat.mask_phones,
        badges=frozenset(chat.badges),
        hashtags=chat.hashtags,
    )


def zone_of(enterprise: Enterprise) -> ZoneInfo:
    """The enterprise's clock."""
    return ZoneInfo(enterprise.timezone or UTC.tzname(None))
