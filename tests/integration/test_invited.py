"""From `invite` to an answer, with the daemon as a process that dies in between."""

import asyncio
import json

import aiohttp
import pytest

from tests.support.calls import missed
from tests.support.company import PERSON, Site
from tests.support.daemon import DaemonProcess
from tests.support.renderers import no_cards

BOT = 4242
# What is answered does not depend on the server's version.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

ANNA = 7


async def handled(site: Site) -> None:
    """Return when the daemon has noted what it answered: killed before that, it would answer again."""
    async with asyncio.timeout(10):
        while await site.store.operators.kept_updates(BOT, limit=1):
            await asyncio.sleep(0.01)


async def test_an_invited_person_is_answered_once_each_time_whatever_dies(site: Site) -> None:
    site.telegram.add_chat(ANNA)

    def texts() -> list[str]:
        return [message.text.split()[0] for message in site.telegram.messages(ANNA)]

    code = (await site.vochi("invite", "151")).out.strip().partition("?start=")[2]
    await site.store.calls.record(missed(phone=PERSON), no_cards)
    ports = {name: int(str(site.values[name])) for name in ("agi_port", "http_port")}
    async with DaemonProcess(site.config, **ports) as daemon:
        site.telegram.write(ANNA, f"/start {code}", user_id=ANNA)
        await site.telegram.until(lambda: texts() == ["Готово,"], within=30)
        await handled(site)
        await daemon.kill()
        site.telegram.write(ANNA, f"/who {PERSON}", user_id=ANNA)
        await daemon.start()
        await site.telegram.until(lambda: len(texts()) == 2, within=30)
        site.telegram.write(ANNA, "/help", user_id=ANNA)
        await site.telegram.until(lambda: len(texts()) == 3, within=30)
        assert await daemon.stop() == 0

    assert texts() == ["Готово,", "💰+375", "Что"]


async def test_what_telegram_brings_outlives_the_daemon_and_so_does_going_back_to_polling(site: Site) -> None:
    site.telegram.add_chat(ANNA)
    site.telegram.courier.hurry = 20

    def heads() -> list[str]:
        return [message.text.split()[0] for message in site.telegram.messages(ANNA)]

    def asked(method: str) -> int:
        return sum(request.method == method for request in site.telegram.requests)

    hook = f"http://127.0.0.1:{site.values['http_port']}"
    text = site.config.read_text().replace("[telegram]", f'public_url = "{hook}"\n[telegram]\nupdates = "webhook"')
    site.config.write_text(text)
    code = (await site.vochi("invite", "151")).out.strip().partition("?start=")[2]
    ports = {name: int(str(site.values[name])) for name in ("agi_port", "http_port")}
    async with DaemonProcess(site.config, **ports) as daemon:
        await site.telegram.until(lambda: asked("setWebhook") == 1, within=30)
        site.telegram.write(ANNA, f"/start {code}", user_id=ANNA)
        await site.telegram.until(lambda: heads() == ["Готово,"], within=30)
        await handled(site)
        await daemon.kill()
        site.telegram.write(ANNA, "/today", user_id=ANNA)
        kept = site.telegram.write(ANNA, "/help", user_id=ANNA)
        # The daemon died after it had kept this one and before Telegram heard so: it is brought again.
        (update,) = [each for each in site.telegram.mailbox.wanted("") if each["update_id"] == kept]
        await site.store.operators.keep_update(BOT, kept, json.dumps(update))
        await daemon.start()
        await site.telegram.until(lambda: len(heads()) == 3 and site.telegram.mailbox.pending == 0, within=30)
        address = f"{hook}/webhooks/telegram/{BOT}"
        async with aiohttp.ClientSession() as http, http.post(address, json=update) as forged:
            assert forged.status == 404
        assert await daemon.stop() == 0
        assert asked("getUpdates") == 0

        site.configure()
        site.telegram.write(ANNA, "/help", user_id=ANNA)
        await daemon.start()
        await site.telegram.until(lambda: len(heads()) == 4, within=30)
        assert await daemon.stop() == 0

    assert sorted(heads()) == sorted(["Готово,", "📊", "Что", "Что"]), heads()
    assert site.telegram.mailbox.webhook == ""
