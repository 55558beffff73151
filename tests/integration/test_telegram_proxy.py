"""The bot through a proxy: real CONNECT and SOCKS5 between aiogram and the sandbox Bot API."""

import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.chats import GROUP
from tests.support.ports import free_port
from tests.support.proxies import PASSWORD, Proxy, connect_proxy, socks5_proxy
from vochi_agent.config import TelegramConfig
from vochi_agent.simulator.telegram import TelegramSandbox
from vochi_agent.telegram.bot import TelegramBot
from vochi_agent.telegram.examine import bot_username, examine_bot
from vochi_agent.telegram.failures import TelegramAway

KINDS = pytest.mark.parametrize("proxied", [connect_proxy, socks5_proxy])


@pytest.fixture
async def sandbox() -> AsyncIterator[TelegramSandbox]:
    async with TelegramSandbox() as found:
        found.add_chat(GROUP)
        yield found


@contextlib.asynccontextmanager
async def bot_through(proxy: str, api_url: str) -> AsyncIterator[TelegramBot]:
    bot = TelegramBot("42:TEST", api_url=api_url, proxy=proxy, request_s=5.0)
    try:
        yield bot
    finally:
        await bot.close()


def where(sandbox: TelegramSandbox) -> tuple[str, int]:
    return "127.0.0.1", int(sandbox.url.rpartition(":")[2])


@KINDS
async def test_cards_and_updates_go_through_a_proxy_with_a_password(
    sandbox: TelegramSandbox, proxied: Callable[..., contextlib.AbstractAsyncContextManager[Proxy]]
) -> None:
    async with proxied(password=PASSWORD) as proxy, bot_through(proxy.url, sandbox.url) as bot:
        sent = await bot.send(GROUP, "<b>привет</b>", topic=0, silent=True, markup=True, keyboard=())
        assert await bot.edit(GROUP, sent, "пока", markup=True, keyboard=())
        assert await bot.updates(None, wait_s=0) == {}

    assert [message.text for message in sandbox.messages(GROUP)] == ["пока"]
    assert set(proxy.reached) == {where(sandbox)}
    assert proxy.refused == 0


@KINDS
async def test_a_proxy_that_does_not_let_us_in_is_telegram_being_away(
    sandbox: TelegramSandbox, proxied: Callable[..., contextlib.AbstractAsyncContextManager[Proxy]]
) -> None:
    async with (
        proxied(password="another") as proxy,
        bot_through(proxy.url.replace("another", PASSWORD), sandbox.url) as bot,
    ):
        with pytest.raises(TelegramAway, match="the proxy: ") as refused:
            await bot.send(GROUP, "привет", topic=0, silent=True, markup=True, keyboard=())
    assert proxy.refused == 1
    assert PASSWORD not in str(refused.value)
    assert sandbox.messages(GROUP) == []


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_is_down_has_sent_nothing(sandbox: TelegramSandbox, scheme: str) -> None:
    async with bot_through(f"{scheme}://127.0.0.1:{free_port()}", sandbox.url) as bot:
        with pytest.raises(TelegramAway, match="the proxy: "):
            await bot.send(GROUP, "привет", topic=0, silent=True, markup=True, keyboard=())


@KINDS
async def test_doctor_and_invite_ask_through_the_proxy(
    sandbox: TelegramSandbox, proxied: Callable[..., contextlib.AbstractAsyncContextManager[Proxy]]
) -> None:
    async with proxied(password=PASSWORD) as proxy:
        config = TelegramConfig(api_url=sandbox.url, proxy=proxy.url)
        found = await examine_bot("telegram", config, "42:TEST", [], public_url="")

        assert [each.sentence for each in found] == ["the bot is @vochi_bot"]
        assert await bot_username(config, "42:TEST") == "vochi_bot"
    assert len(proxy.reached) == 2

    down = TelegramConfig(api_url=sandbox.url, proxy=f"socks5://127.0.0.1:{free_port()}")
    (finding,) = await examine_bot("telegram", down, "42:TEST", [], public_url="")
    assert finding.closed
    assert await bot_username(down, "42:TEST") == ""
