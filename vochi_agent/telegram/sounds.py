"""Puts recordings into the messages of final cards, for the chats that want to hear them there.

A recording is added to the message that shows the card (editMessageMedia), so a call stays one message, and a request
whose answer was lost is made again without harm: the same message carries the same recording. Invariants: a recording
never delays a card, in time or in the chat's budget; only what has ceased to grow is sent; one upload at a time a bot.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from vochi_agent.cards import Card, SoundQueue
from vochi_agent.errors import StoreUnavailable
from vochi_agent.metrics import Metrics
from vochi_agent.supervisor import Backoff

from .chat import Outage, Pace
from .door import ChatDoor
from .failures import (
    AnswerLost,
    CardRefused,
    ChatClosed,
    ChatMoved,
    FloodWait,
    MarkupRefused,
    MessageGone,
    TelegramAway,
    TelegramFailure,
    TokenRefused,
)
from .keyboards import keyboard_of
from .opened import OpenBot
from .text import plain, units

__all__ = ["MAX_CAPTION", "Sounds"]

log = logging.getLogger(__name__)

# https://core.telegram.org/bots/api: of a caption after parsing; of a file that a bot sends.
MAX_CAPTION: Final = 1024
MOST_BYTES: Final = 50 << 20
# A header without a sound, as in asterisk.recording_files.
HEADER_BYTES: Final = 44
AT_ONCE: Final = 20
# What a slow line carries of an upload in a second, and how long one may take at most.
SLOW_BYTES: Final = 32 << 10
LONGEST_UPLOAD_S: Final = 600.0
# A file whose upload fails again and again is to hold up no other.
MOST_FAILURES: Final = 8
# Requests of a chat's few seconds that are left to its cards.
SPARE: Final = 2
MOST_REMEMBERED: Final = 1000
NO_FILE: Final = "there is no such file any more"

Find = Callable[[str, str], Awaitable[Path | None]]


@dataclass(slots=True)
class _Known:
    """What was seen of a card's recording: its size, since when, and how often its upload failed."""

    size: int
    since: float
    failures: int = 0


class Sounds:
    """The recordings of all bots.

    Args:
        find: The file of a recording by enterprise number and the path that the table has; None when there is none.
        ours: Whether this daemon sends the cards of an enterprise now.
    """

    def __init__(
        self, queue: SoundQueue, find: Find, *, metrics: Metrics, pace: Pace, ours: Callable[[str], bool]
    ) -> None:
        self._queue = queue
        self._find = find
        self._metrics = metrics
        self._pace = pace
        self._ours = ours

    async def attend(self, opened: OpenBot) -> None:
        """Send what is to be heard, for ever."""
        life = _Life(self._queue, self._find, opened, metrics=self._metrics, pace=self._pace)
        while True:
            pause = await life.round([number for number in opened.numbers if self._ours(number)])
            await asyncio.sleep(pause)


class _Life:
    """One bot, as long as it is open."""

    def __init__(self, queue: SoundQueue, find: Find, opened: OpenBot, *, metrics: Metrics, pace: Pace) -> None:
        self._queue = queue
        self._find = find
        self._opened = opened
        self._metrics = metrics
        self._pace = pace
        self._outage = Outage(f"recordings for the Telegram bot of {opened.numbers[0]}", "are sent", "they wait")
        self._backoff = Backoff(pace.first, pace.longest)
        self._clock = asyncio.get_running_loop().time
        self._known: dict[int, _Known] = {}
        self._paused: dict[int, float] = {}
        self._settles_s = pace.look_again / 2
        self._unsettled = False

    async def round(self, numbers: list[str]) -> float:
        """Send what can be sent now; returns after how many seconds to look again."""
        self._unsettled = False
        try:
            busy = [chat_id for chat_id, door in self._opened.doors.items() if not self._has_room(door, chat_id)]
            for card in await self._queue.without_sound(numbers, busy, limit=AT_ONCE) if numbers else ():
                door = self._opened.door(card.chat_id)
                if self._has_room(door, card.chat_id) and (file := await self._settled(card)):
                    await self._send(card, door, file)
        except StoreUnavailable:
            pass
        except TokenRefused as failure:
            self._outage.begin(failure, level=logging.ERROR)
            return self._pace.refused
        except TelegramFailure as failure:
            self._outage.begin(failure)
            return self._backoff.next_wait()
        return self._settles_s if self._unsettled else self._pace.look_again

    def _has_room(self, door: ChatDoor, chat_id: int) -> bool:
        """Half of the minute is left to cards, as in a rush; and the chat is not to be left alone."""
        now = self._clock()
        return (
            self._paused.get(chat_id, 0.0) <= now
            and not door.left_alone_s
            and door.budget.left(now) > door.budget.size // 2
            and door.budget.burst(now) > SPARE
        )

    async def _settled(self, card: Card) -> Path | None:
        """The file, once it has been the same for a while; what can never be sent is given up."""
        file = await self._find(card.enterprise_number, card.sound)
        size = await asyncio.to_thread(_size, file) if file else 0
        now, known = self._clock(), self._known.get(card.id)
        if known is None or known.size != size:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[card.id] = known = _Known(size, now, known.failures if known else 0)
        settled = now - known.since >= self._settles_s
        self._unsettled |= not settled
        # Judged when it is settled: who converts a file may empty it first.
        if settled and (why := _never(card, size)):
            await self._give_up(card, why)
            return None
        return file if settled else None

    async def _send(self, card: Card, door: ChatDoor, file: Path) -> None:
        message_id, text, known = card.message_id or 0, card.text, self._known[card.id]
        keyboard = keyboard_of([card])
        within_s = min(self._pace.request + known.size / SLOW_BYTES, LONGEST_UPLOAD_S)
        try:
            await door.pass_through(
                lambda: self._opened.bot.attach(
                    door.address, message_id, text, file, keyboard=keyboard, within_s=within_s
                )
            )
        except FloodWait:
            self._count(card, "flood")
        except ChatClosed:
            self._paused[card.chat_id] = self._clock() + self._pace.closed  # whoever sends its cards says so
        except ChatMoved as failure:
            door.follow(failure)
            await self._queue.moved(card.enterprise_number, card.chat_id, door.address)
        except (CardRefused, MarkupRefused, MessageGone) as failure:
            await self._give_up(card, str(failure))
        except (AnswerLost, TelegramAway):
            known.failures += 1
            if known.failures >= MOST_FAILURES:
                await self._give_up(card, f"its upload failed {known.failures} times")
            else:
                pause = timedelta(seconds=self._pace.longest * 2 ** (known.failures - 1))
                await self._queue.sound_later(card, pause)
            raise
        else:
            self._count(card, "recording")
            self._known.pop(card.id, None)
            self._outage.end()
            self._backoff.reset()
            await self._queue.sounded(card)

    async def _give_up(self, card: Card, why: str) -> None:
        self._known.pop(card.id, None)
        self._count(card, "recording_refused")
        log.warning("the recording of call %s is not sent: %s", card.linkedid, why, extra={"action": "card_sound"})
        await self._queue.sound_given_up(card, why)

    def _count(self, card: Card, result: str) -> None:
        self._metrics.cards.labels(card.enterprise_number, result).inc()


def _never(card: Card, size: int) -> str:
    """Why a recording can never be sent, "" when it can."""
    if size <= HEADER_BYTES:
        return NO_FILE
    if size > MOST_BYTES:
        return f"{size >> 20} MiB are more than a bot may send"
    too_long = units(plain(card.text)) > MAX_CAPTION
    return "the card is longer than the caption of a recording may be" if too_long else ""


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:
        return 0
