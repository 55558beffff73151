"""The finished calls that a chat shows: finals of their own, and those that share a message."""

from vochi_agent.simulator.telegram import TelegramSandbox

__all__ = ["finals", "until_finals"]

SIGNS = ("✅", "❌", "🚫")
LISTS = ("📋", "🌙", "🔄")


def finals(telegram: TelegramSandbox, chat_id: int) -> list[str]:
    """The final cards of a chat, oldest first; of a list its lines."""
    found = []
    for message in telegram.messages(chat_id):
        parts = message.text.split("\n") if message.text.startswith(LISTS) else message.text.split("\n\n")
        found += [part for part in parts if part.startswith(SIGNS)]
    return found


async def until_finals(telegram: TelegramSandbox, chat_id: int, count: int, *, within: float = 10.0) -> list[str]:
    """The final cards, once there are so many. Raises TimeoutError."""
    await telegram.until(lambda: len(finals(telegram, chat_id)) >= count, within=within)
    return finals(telegram, chat_id)
