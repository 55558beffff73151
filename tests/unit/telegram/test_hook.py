"""Where Telegram brings updates, and the word by which it is known."""

import string

from vochi_agent.telegram.hook import bot_of, hook_secret, hook_url, is_our_hook
from vochi_agent.web.bot_webhooks import BotHook

TOKEN = "42:TEST"


def test_each_token_makes_a_word_of_its_own_that_telegram_takes() -> None:
    words = {hook_secret(token) for token in (TOKEN, "43:TEST", "42:NEW")}

    assert len(words) == 3
    assert all(len(word) <= 256 and set(word) <= set(string.ascii_letters + string.digits + "_-") for word in words)
    assert not any("TEST" in word for word in words)
    assert hook_secret(TOKEN) not in repr(BotHook(secret=hook_secret(TOKEN), enterprise_number="0901"))


def test_our_own_webhook_is_known_under_every_address_and_no_other_is() -> None:
    assert bot_of(TOKEN) == 42
    for public_url in ("https://pbx.example", "https://pbx.example/vochi/"):
        assert is_our_hook(hook_url(public_url, TOKEN), TOKEN)
    assert hook_url("https://pbx.example/vochi/", TOKEN) == "https://pbx.example/vochi/webhooks/telegram/42"
    for foreign in ("", "https://other.example/hook", "https://pbx.example/webhooks/telegram/43"):
        assert not is_our_hook(foreign, TOKEN)
