"""More calls than a group may be told of: 60 a minute, in Telegram's own limits, through aiogram.

In the suite all times are compressed, the sandbox's limits exactly like ours: a minute takes `VOCHI_RUSH_MINUTE`
seconds (6), the rush lasts `VOCHI_RUSH_MINUTES` of them (3). `make rush` takes ten real minutes.
"""

import asyncio
import os
import re
from dataclasses import replace

import pytest

from tests.support.chats import GROUP, OTHER, QUICK, Chats, sending
from tests.support.finals import finals
from vochi_agent.calls.model import Phase
from vochi_agent.simulator.telegram import SandboxMessage
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram.cards import Pace

MINUTE = float(os.getenv("VOCHI_RUSH_MINUTE", "6"))
MINUTES = int(os.getenv("VOCHI_RUSH_MINUTES", "3"))
CALLS_A_MINUTE = 60
LIVE = ("🔥", "звонит", "говорят")
PACE = Pace(look_again=min(5.0, MINUTE / 12), minute=MINUTE) if MINUTE == 60.0 else replace(QUICK, minute=MINUTE)
# What the contract of the feature says in real seconds, by the compressed clock; the second one is not compressed.
READABLE_S = 90.0 * MINUTE / 60
ELSEWHERE_S = 1.0

# How a rush is told does not depend on the server's version; every statement is prepared on both (test_sql.py).
pytestmark = [
    pytest.mark.long(25),
    pytest.mark.timeout(MINUTE * MINUTES + 180),
    pytest.mark.parametrize("postgres", ["18"], indirect=True),
]


class Watch:
    """When each final came to be, and when a chat first showed it."""

    def __init__(self, chats: Chats) -> None:
        self.ended: dict[str, float] = {}
        self.shown: dict[str, float] = {}
        self.boards: list[str] = []
        self._clock = asyncio.get_running_loop().time
        chats.sandbox.on_message = self._on_message

    def _on_message(self, message: SandboxMessage) -> None:
        for name in re.findall(r"✅ звонок (\S+)", message.text):
            self.shown.setdefault(name, self._clock())
        if message.text.startswith("🔥"):
            self.boards.append(message.text)

    def end(self, name: str) -> None:
        """A call is over."""
        self.ended[name] = self._clock()

    def waits(self, prefix: str) -> list[float]:
        """Seconds from the end of each call to its final, sorted."""
        return sorted(self.shown.get(name, 1e9) - at for name, at in self.ended.items() if name.startswith(prefix))


async def one_call(chats: Chats, watch: Watch, name: str, chat_id: int) -> None:
    """Rings, talks, ends; the table hears of each."""
    linkedid = ""
    for phase, text in ((Phase.DIAL, "звонит"), (Phase.BRIDGE, "говорят")):
        linkedid = await chats.cards.put(text + name, chat_id=chat_id, linkedid=linkedid, phase=phase, brief=text)
        chats.sender.wake()
        await asyncio.sleep(MINUTE / 20)
    watch.end(name)
    await chats.cards.put(f"✅ звонок {name}", chat_id=chat_id, linkedid=linkedid, brief=f"✅ звонок {name}")
    chats.sender.wake()


async def test_sixty_calls_a_minute_into_one_group(store: PostgresStore, dsn: str) -> None:
    async with sending(store, dsn, pace=PACE) as chats:
        chats.sandbox.limited = True
        chats.sandbox.limits.minute = MINUTE
        watch = Watch(chats)
        refused_first = 0
        async with asyncio.TaskGroup() as calls:
            for number in range(CALLS_A_MINUTE * MINUTES):
                calls.create_task(one_call(chats, watch, f"g{number}", GROUP))
                if number % 30 == 15:
                    calls.create_task(one_call(chats, watch, f"o{number}", OTHER))
                if number == CALLS_A_MINUTE:
                    refused_first = chats.sandbox.refused
                await asyncio.sleep(MINUTE / CALLS_A_MINUTE)
        await chats.sandbox.until(lambda: len(watch.shown) == len(watch.ended), within=READABLE_S + 10)
        group, other = watch.waits("g"), watch.waits("o")
        print(  # noqa: T201 - the figures are what people ask for
            f"{len(group)} calls into one group in {MINUTES} minutes of {MINUTE:g} s: {chats.sandbox.refused} refused, "
            f"readable after {group[len(group) // 2] * 60 / MINUTE:.1f} s at the median, "
            f"{group[-1] * 60 / MINUTE:.1f} s at most (by a minute's clock); the other chat after {other[-1]:.3f} s "
            f"at most; {len(watch.boards)} boards"
        )

        assert chats.sandbox.refused == refused_first == 0
        assert group[-1] <= READABLE_S
        assert other[-1] <= ELSEWHERE_S
        assert "🔥 Сейчас" in watch.boards[0]
        shown = sorted(re.findall(r"g\d+", "\n".join(finals(chats.sandbox, GROUP))))
        assert shown == sorted(f"g{number}" for number in range(CALLS_A_MINUTE * MINUTES)), "each once"
        # Neither a board nor a live card outlives the rush.
        await chats.sandbox.until(
            lambda: not any(text.startswith(LIVE) for text in chats.texts()), within=2 * MINUTE + 10
        )


async def test_a_late_name_reaches_a_final_that_shares_its_message(store: PostgresStore, dsn: str) -> None:
    async with sending(store, dsn) as chats:
        names = [await chats.cards.put(f"✅ звонок {number}", chat_id=GROUP) for number in range(8)]
        for name in names:
            await chats.cards.until_shown(name)
        await chats.cards.put("✅ звонок 3, это Анна", chat_id=GROUP, linkedid=names[3])
        await chats.cards.until_shown(names[3])

        assert "✅ звонок 3, это Анна" in finals(chats.sandbox, GROUP)
        assert len(finals(chats.sandbox, GROUP)) == len(names)
        assert len(chats.texts()) < len(names)
