"""Where Telegram brings a bot's updates to in webhook mode, and the word by which we know that it is Telegram. Pure.

The word is made of the bot's token: every daemon of the bot knows it, nothing has to be kept, a new token makes a new
one. Nobody can tell the token from it.
"""

import hashlib
import hmac
from typing import Final
from urllib.parse import urlsplit

__all__ = ["HOOK_ROUTE", "bot_of", "hook_secret", "hook_url", "is_our_hook"]

# Two parts after /webhooks, where CRMs have three: they never meet.
HOOK_ROUTE: Final = "/webhooks/telegram/{bot}"
PURPOSE: Final = b"webhook of the bot"


def bot_of(token: str) -> int:
    """Telegram's number of the bot, the first part of its token."""
    return int(token.partition(":")[0])


def hook_url(public_url: str, token: str) -> str:
    """The address that Telegram is told."""
    return public_url.rstrip("/") + HOOK_ROUTE.format(bot=bot_of(token))


def hook_secret(token: str) -> str:
    """What Telegram is told to send with each update; of the characters that it allows (A-Za-z0-9_-)."""
    return hmac.new(token.encode(), PURPOSE, hashlib.sha256).hexdigest()


def is_our_hook(url: str, token: str) -> bool:
    """Whether an address is one that a daemon of ours gave, under whatever `http.public_url` it had then."""
    return urlsplit(url).path.endswith(HOOK_ROUTE.format(bot=bot_of(token)))
