"""Reads what people write to a bot, polled or brought by a webhook, and carries the answers of its desk.

Invariants: one daemon reads, the one that sends the cards of the bot's first enterprise; an update is kept until it was
handled, so that a person is answered whatever dies meanwhile, rather twice than never - but what rings a telephone is
done once at most; what one person writes is answered in his order; no answer delays a card of another chat.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakValueDictionary

from vochi_agent.config import Config, Enterprise
from vochi_agent.desk_ports import DeskStore, Incoming, Person, Press, UpdateQueue
from vochi_agent.errors import StoreUnavailable
from vochi_agent.metrics import Metrics
from vochi_agent.supervisor import Backoff

from .chat import Outage, Pace
from .desk import Desk, Reply
from .desk_text import LATER
from .failures import FloodWait, TelegramAway, TelegramFailure, TokenRefused, UpdatesTaken
from .opened import OpenBot, Reader
from .press_text import LATER as TRY_LATER
from .presses import PressAnswer, Presses, rings
from .updates import Updates

__all__ = ["DeskMaker", "Intake", "PressesMaker"]

log = logging.getLogger(__name__)

# Answers under way: a group in a rush lets its own wait, the others are not to.
AT_ONCE: Final = 16

# Whoever asked has asked again by then.
ANSWERS_WAIT_S: Final = 60.0
# Whoever pressed a button is shown that it goes on, for some fifteen seconds.
PRESSES_WAIT_S: Final = 5.0

Enterprises = Callable[[], Sequence[Enterprise]]
DeskMaker = Callable[[Enterprises], Desk]
PressesMaker = Callable[[Enterprises], Presses]


class Intake:
    """What people write to all bots of the configuration, and the buttons they press."""

    def __init__(
        self,
        config: Config,
        queue: UpdateQueue,
        store: DeskStore,
        desk: DeskMaker,
        presses: PressesMaker,
        *,
        metrics: Metrics,
        pace: Pace,
        ours: Callable[[str], bool],
    ) -> None:
        """Read nothing yet.

        Args:
            desk: Makes the desk of a bot from what tells its enterprises.
            presses: Makes what its buttons do, likewise.
            ours: Whether this daemon works for an enterprise now.
        """
        self._config = config
        self._queue = queue
        self._store = store
        self._desk = desk
        self._presses = presses
        self._metrics = metrics
        self._pace = pace
        self._ours = ours
        self._brought: dict[int, asyncio.Event] = {}

    def use(self, config: Config) -> None:
        """Answer by another configuration from now on."""
        self._config = config

    async def attend(self, opened: OpenBot) -> None:
        """Read and answer for ever; returns at once when nobody is to listen."""
        if opened.reader is None or self._config.telegram.updates == "off":
            return
        life = _Life(
            self, opened, opened.reader, self._desk(lambda: self._of(opened)), self._presses(lambda: self._of(opened))
        )
        async with asyncio.TaskGroup() as tasks:
            await life.run(tasks)

    def _of(self, opened: OpenBot) -> Sequence[Enterprise]:
        return [each for each in self._config.enterprises if each.number in opened.numbers]

    def updates(self, opened: OpenBot, reader: Reader) -> Updates:
        """Where this bot's updates come from."""
        return Updates(
            self._queue,
            opened,
            reader,
            public_url=self._config.http.public_url if self._config.telegram.updates == "webhook" else "",
            hold_s=self._pace.hold,
            look_s=self._pace.look_again,
            brought=self._brought.setdefault(reader.id, asyncio.Event()),
        )

    async def keep(self, bot_id: int, update_id: int, content: str) -> None:
        """Keep what a webhook brought, for the daemon that reads. Raises StoreUnavailable."""
        await self._queue.keep_update(bot_id, update_id, content)
        self._brought.setdefault(bot_id, asyncio.Event()).set()

    def reads(self, opened: OpenBot) -> bool:
        """Whether this daemon reads this bot's updates now."""
        return self._ours(opened.numbers[0])

    async def carry(
        self, opened: OpenBot, reader: Reader, message: Incoming, text: str, *, within_s: float = ANSWERS_WAIT_S
    ) -> None:
        """Send an answer within the limits, so that the search for duplicates knows it; again where none was shown.

        Raises TelegramFailure, StoreUnavailable.
        """
        home = await self._store.home_chat(message.chat_id)
        carded = any(chat.id == home for each in self._config.enterprises for chat in each.chats)
        door = opened.door(home, keep=carded)
        clock, backoff = asyncio.get_running_loop().time, Backoff(self._pace.first, self._pace.longest)
        until = clock() + within_s
        while True:
            if clock() + door.left_alone_s > until:
                raise FloodWait("the chat is to be left alone for too long", door.left_alone_s)
            try:
                async with door.lock:
                    message_id = await door.pass_through(lambda: reader.answer(message, text))
                    if carded:
                        await self._store.note_answer(home, message_id)
            except FloodWait:
                continue  # the door knows for how long
            except TelegramAway:
                pause = backoff.next_wait()
                if clock() + pause > until:
                    raise
                await asyncio.sleep(pause)
            else:
                return

    def count(self, result: str) -> None:
        """A message was dealt with."""
        self._metrics.bot_messages.labels(result).inc()

    def count_press(self, button: str, result: str) -> None:
        """A press was dealt with."""
        self._metrics.bot_presses.labels(button, result).inc()

    @property
    def pace(self) -> Pace:
        """How long what may take."""
        return self._pace


class _Life:
    """One bot, as long as it is open."""

    def __init__(self, intake: Intake, opened: OpenBot, reader: Reader, desk: Desk, presses: Presses) -> None:
        self._intake = intake
        self._opened = opened
        self._reader = reader
        self._updates = intake.updates(opened, reader)
        self._desk = desk
        self._presses = presses
        self._pace = intake.pace
        self._outage = Outage(f"what people write to the Telegram bot of {opened.numbers[0]}", "is read", "it waits")
        self._backoff = Backoff(self._pace.first, self._pace.longest)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._username = ""

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            if self._intake.reads(self._opened):
                pause = await self._round(tasks)
            else:
                self._updates.left()
                pause = self._pace.look_again
            if pause:
                await asyncio.sleep(pause)

    async def _round(self, tasks: asyncio.TaskGroup) -> float:
        """Wait for updates once and begin to handle them; returns for how many seconds to leave Telegram alone."""
        try:
            self._username = self._username or await self._reader.username()
            for number, update in await self._updates.next():
                if update is None:
                    await self._updates.done(number)
                    continue
                await self._room.acquire()
                name = f"answer to Telegram user {update.person.user_id}"
                tasks.create_task(self._handle(number, update), name=name)
        except StoreUnavailable:
            return self._pace.look_again
        except TelegramFailure as failure:
            return self._fail(failure)
        self._outage.end()
        self._backoff.reset()
        return 0.0

    def _fail(self, failure: TelegramFailure) -> float:
        match failure:
            case FloodWait():
                return failure.seconds
            case TokenRefused():
                self._outage.begin(failure, level=logging.ERROR)
                return self._pace.refused
            case UpdatesTaken():
                # Telegram's words say whether it is a webhook or another program; both are for a person to end.
                self._outage.begin(failure)
                return self._pace.longest
            case _:
                self._outage.begin(failure)
                return self._backoff.next_wait()

    async def _handle(self, number: int, update: Incoming | Press) -> None:
        """Whatever one person did, however it came here; what is interrupted stays to be done."""
        try:
            if not self._intake.reads(self._opened):
                return self._updates.leave(number)
            if isinstance(update, Press):
                await self._press(number, update)
            else:
                async with self._turn_of(update.person):
                    self._intake.count(await self._answered(update))
        except TelegramFailure as failure:
            log.info("an answer in Telegram chat %d: %s", update.chat_id, failure, extra={"action": "answer_failed"})
            self._failed(update)
        except StoreUnavailable:
            self._failed(update)
        except Exception:
            # The door of one update: whatever it is, the next one must not suffer.
            log.exception("an update of Telegram user %d", update.person.user_id, extra={"action": "answer_failed"})
            self._failed(update)
        finally:
            self._room.release()
        return await self._updates.done(number)

    def _turn_of(self, person: Person) -> asyncio.Lock:
        """What one person wrote is done in his order: he signs up, then asks; he names a caller, then corrects it."""
        return self._turns.setdefault(person.user_id, asyncio.Lock())

    def _failed(self, update: Incoming | Press) -> None:
        if isinstance(update, Incoming):
            self._intake.count("failed")

    async def _press(self, number: int, press: Press) -> None:
        try:
            if rings(press) and not await self._updates.take(number):
                return
            answer = await self._presses.answer(press)
        except StoreUnavailable:
            answer = PressAnswer(text=TRY_LATER, alert=True, button="other", result="failed")
        self._intake.count_press(answer.button, answer.result)
        text, alert = answer.text, answer.alert
        if answer.privately and not await self._told_privately(press, answer.privately):
            text, alert = answer.otherwise, True
        await self._reader.acknowledge(press, text, alert=alert)

    async def _told_privately(self, press: Press, text: str) -> bool:
        """Whoever signed up has a chat with the bot, unless he blocked it since."""
        person = press.person
        chat = Incoming(
            chat_id=person.user_id, private=True, topic=0, message_id=0, person=person, text="", reply_to=None
        )
        try:
            await self._intake.carry(self._opened, self._reader, chat, text, within_s=PRESSES_WAIT_S)
        except (TelegramFailure, StoreUnavailable):
            return False
        return True

    async def _answered(self, message: Incoming) -> str:
        try:
            reply = await self._desk.answer(message, username=self._username)
        except StoreUnavailable:
            if message.private:
                await self._opened.door(message.chat_id, keep=False).pass_through(
                    lambda: self._reader.answer(message, LATER)
                )
            return "failed"
        if reply is None:
            return "ignored"
        await self._intake.carry(self._opened, self._reader, message, reply.text)
        return _result(reply)


def _result(reply: Reply) -> str:
    return "stranger" if reply.stranger else "answered"
