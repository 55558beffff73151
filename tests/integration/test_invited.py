"""From `invite` to an answer, with the daemon as a process that dies in between."""

import pytest

from tests.support.calls import missed
from tests.support.company import PERSON, Site, no_cards
from tests.support.daemon import DaemonProcess

# What is answered does not depend on the server's version.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

ANNA = 7


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
        await daemon.kill()
        site.telegram.write(ANNA, f"/who {PERSON}", user_id=ANNA)
        await daemon.start()
        await site.telegram.until(lambda: len(texts()) == 2, within=30)
        site.telegram.write(ANNA, "/help", user_id=ANNA)
        await site.telegram.until(lambda: len(texts()) == 3, within=30)
        assert await daemon.stop() == 0

    assert texts() == ["Готово,", "💰+375", "Что"]
