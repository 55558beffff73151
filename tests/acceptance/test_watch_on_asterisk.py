"""`vochi-agent watch` on a real Asterisk of which it was told nothing but the address."""

import pytest

from tests.support.asterisk import Asterisk
from tests.support.sipp import Sipp
from tests.support.watching import interrupted, until_told, watching

pytestmark = pytest.mark.asterisk


async def test_a_call_is_shown_with_its_trunk_and_telephone(asterisk: Asterisk, sipp: Sipp) -> None:
    async with watching(asterisk.ports.ami, secret=asterisk.secret) as process:
        await until_told(process, "watching as vochi")
        await sipp.call("0000101", "80290000022", hold_s=1.0)
        told = await until_told(process, "✅Успешный входящий звонок", "⌛ Длительность")
        await sipp.dial("104", "80290000199")
        told += await until_told(process, "❌ Абонент не поднял трубку", "⌛ Дозванивался")
        code, _, err = await interrupted(process)

    assert (code, err) == (0, "")
    assert "💰+375 (29) 000-00-22📞 ➡️ ☎️Доб.101\nЛиния: gsm1" in told
    assert "❌ Абонент не поднял трубку\n☎️Доб.104\n💰+375 (29) 000-01-99" in told
