"""Cards reach the chats: aiogram against the sandbox Bot API, through everything that goes wrong there."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from tests.support.card_queue import MemoryCards, QueuedCard
from tests.support.cards import COMPANY, final, finished
from vochi_agent.calls.model import Status
from vochi_agent.config import Config
from vochi_agent.metrics import Metrics
from vochi_agent.simulator.telegram import Fault, TelegramSandbox
from vochi_agent.telegram.cards import CardSender, Pace

GROUP, OTHER, FORUM = -1001000000001, -1001000000002, -1001000000003
QUICK = Pace(request=0.5, first=0.05, longest=0.1, closed=0.2, refused=0.2, look_again=0.05)
# Cards come on being woken, not because somebody looks often.
WOKEN = Pace(request=0.5, first=0.05, longest=0.1, closed=600.0, refused=600.0, look_again=600.0)
CARD = final(finished(status=Status.MISSED), COMPANY)


@dataclass(frozen=True)
class Chats:
    """A sender at work between a table of cards and the sandbox."""

    sandbox: TelegramSandbox
    cards: MemoryCards
    sender: CardSender
    metrics: Metrics

    def texts(self, chat_id: int = GROUP) -> list[str]:
        """What people see in a chat."""
        return [message.text for message in self.sandbox.messages(chat_id)]

    def counted(self, result: str) -> float:
        """The metric of cards with this result."""
        return (
            self.metrics.registry.get_sample_value("vochi_cards_total", {"enterprise": "0901", "result": result}) or 0.0
        )


def configured(api_url: str, token: str = "42:TEST") -> Config:
    """The smallest configuration with a bot."""
    enterprise = {
        "number": "0901",
        "country": "BY",
        "telegram_token": token,
        "asterisk": {"ami": "127.0.0.1:5038", "ami_username": "vochi", "ami_secret": "x"},
    }
    return Config.model_validate({"telegram": {"api_url": api_url}, "enterprises": [enterprise]})


@contextlib.asynccontextmanager
async def at_work(
    *, pace: Pace = QUICK, token: str = "42:TEST", lease: timedelta = timedelta(seconds=60)
) -> AsyncIterator[Chats]:
    async with TelegramSandbox() as sandbox:
        for chat_id in (GROUP, OTHER):
            sandbox.add_chat(chat_id)
        sandbox.add_chat(FORUM, topics=[7])
        cards, metrics = MemoryCards(lease=lease), Metrics()
        sender = CardSender(configured(sandbox.url, token), cards, metrics=metrics, pace=pace)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(sender.run(), name="sender under test")
            try:
                yield Chats(sandbox, cards, sender, metrics)
            finally:
                task.cancel()


@pytest.fixture
async def chats() -> AsyncIterator[Chats]:
    async with at_work() as found:
        yield found


def said(caplog: pytest.LogCaptureFixture, action: str) -> int:
    return sum(1 for record in caplog.records if getattr(record, "action", "") == action)


async def test_a_card_is_sent_as_html_without_a_sound_or_a_preview(chats: Chats) -> None:
    card = await chats.cards.until_shown(chats.cards.put(CARD, chat_id=GROUP))

    (message,) = chats.sandbox.messages(GROUP)
    assert message.source == CARD
    assert message.text.startswith(
        '❌ Мы не подняли трубку\n💰+375 (29) 000-00-11\n👤Контактова Анна (ООО "Ромашка & Ко")'
    )
    assert message.silent
    assert card.message_id == message.message_id
    assert '"is_disabled": true' in chats.sandbox.requests[-1].fields["link_preview_options"]


async def test_a_card_is_sent_as_soon_as_the_sender_is_woken() -> None:
    async with at_work(pace=WOKEN) as chats:
        await chats.cards.until_shown(await _put_and_wake(chats, "первая"))
        second = await _put_and_wake(chats, "вторая")
        await chats.cards.until_shown(second)

        assert chats.texts() == ["первая", "вторая"]


async def test_a_newer_text_edits_the_same_message(chats: Chats) -> None:
    number = chats.cards.put("звонит", chat_id=GROUP)
    await chats.cards.until_shown(number)
    chats.cards.change(number, "поговорили")
    await chats.cards.until_shown(number)

    (message,) = chats.sandbox.messages(GROUP)
    assert (message.text, message.edits) == ("поговорили", 1)


async def test_a_message_that_says_so_already_is_done(chats: Chats) -> None:
    number = chats.cards.put("текст", chat_id=GROUP)
    await chats.cards.until_shown(number)
    chats.cards.change(number, "текст")
    await chats.cards.until_shown(number)

    (message,) = chats.sandbox.messages(GROUP)
    assert message.edits == 0


async def test_a_deleted_message_is_sent_anew(chats: Chats) -> None:
    number = chats.cards.put("звонит", chat_id=GROUP)
    shown = await chats.cards.until_shown(number)
    assert shown.message_id is not None
    chats.sandbox.chat(GROUP).messages.clear()
    chats.cards.change(number, "поговорили")
    again = await chats.cards.until_shown(number)

    assert chats.texts() == ["поговорили"]
    assert again.message_id == shown.message_id + 1


async def test_a_flood_wait_is_obeyed_and_delays_no_other_chat(chats: Chats) -> None:
    chats.sandbox.break_next(Fault.FLOOD, chat_id=GROUP, retry_after=1)
    loop = asyncio.get_running_loop()
    refused = loop.time()
    limited = chats.cards.put("ждёт", chat_id=GROUP)
    free = chats.cards.put("сразу", chat_id=OTHER)
    await chats.cards.until_shown(free, within=0.8)
    await chats.cards.until_shown(limited)

    assert loop.time() - refused >= 1.0
    assert chats.texts() == ["ждёт"]
    assert len([r for r in chats.sandbox.requests if r.fields["chat_id"] == str(GROUP)]) == 2
    assert chats.counted("flood") == 1


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.SERVER_ERROR])
async def test_a_broken_telegram_is_tried_again_and_complained_of_once(
    chats: Chats, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    chats.sandbox.break_next(fault, times=3)
    await chats.cards.until_shown(chats.cards.put("текст", chat_id=GROUP))

    assert chats.texts() == ["текст"]
    assert (said(caplog, "telegram_lost"), said(caplog, "telegram_back")) == (1, 1)
    assert chats.counted("away") == 3


async def test_a_telegram_that_is_not_there_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async with TelegramSandbox() as gone:
        url = gone.url
    cards = MemoryCards()
    number = cards.put("текст", chat_id=GROUP)
    sender = CardSender(configured(url), cards, metrics=Metrics(), pace=QUICK)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(sender.run(), name="sender under test")
        await cards.until(lambda: cards.written >= 3)
        async with TelegramSandbox(port=int(url.rpartition(":")[2])) as back:
            back.add_chat(GROUP)
            await cards.until_shown(number)
            task.cancel()

            assert [message.text for message in back.messages(GROUP)] == ["текст"]
    assert said(caplog, "telegram_lost") == 1


async def test_a_mute_telegram_holds_a_request_no_longer_than_its_deadline(chats: Chats) -> None:
    chats.sandbox.break_next(Fault.SILENCE, chat_id=GROUP)
    mute = chats.cards.put("без ответа", chat_id=GROUP)
    after = chats.cards.put("следующая", chat_id=GROUP)
    await chats.cards.until_shown(after)

    assert chats.texts() == ["следующая"]
    assert chats.cards.cards[mute].taken_until > asyncio.get_running_loop().time(), (
        "it may have been shown: not at once"
    )


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.RESET])
async def test_a_new_message_without_an_answer_is_repeated_only_after_its_lease(fault: Fault) -> None:
    async with at_work(lease=timedelta(seconds=1.5)) as chats:
        loop = asyncio.get_running_loop()
        chats.sandbox.break_next(fault)
        number = chats.cards.put("текст", chat_id=GROUP)
        begun = loop.time()
        await chats.cards.until_shown(number)

        assert loop.time() - begun >= 1.5
        assert chats.counted("lost") == 1


async def test_an_edit_without_an_answer_is_repeated_at_once(chats: Chats) -> None:
    number = chats.cards.put("звонит", chat_id=GROUP)
    await chats.cards.until_shown(number)
    chats.sandbox.break_next(Fault.LOST_ANSWER)
    chats.cards.change(number, "поговорили")
    await chats.cards.until_shown(number)

    (message,) = chats.sandbox.messages(GROUP)
    assert (message.text, message.edits) == ("поговорили", 1)


@pytest.mark.parametrize("why", ["bot was kicked from the supergroup chat", "bot was blocked by the user"])
async def test_a_closed_chat_waits_with_one_warning_and_its_cards_are_kept(
    chats: Chats, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    chats.sandbox.chat(GROUP).closed = why
    kept = [chats.cards.put(text, chat_id=GROUP) for text in ("первая", "вторая")]
    await chats.cards.until_shown(chats.cards.put("другая", chat_id=OTHER))
    await chats.cards.until(lambda: chats.cards.written >= 4)
    chats.sandbox.chat(GROUP).closed = ""
    for number in kept:
        await chats.cards.until_shown(number)

    assert sorted(chats.texts()) == ["вторая", "первая"]
    assert (said(caplog, "telegram_lost"), said(caplog, "telegram_back")) == (1, 1)


async def test_an_unknown_chat_is_a_closed_one(chats: Chats, caplog: pytest.LogCaptureFixture) -> None:
    number = chats.cards.put("текст", chat_id=-404)
    await chats.cards.until(lambda: chats.cards.written >= 2)

    assert "chat not found" in caplog.text
    assert chats.cards.cards[number].sent_revision == 0
    assert not chats.cards.cards[number].refused


async def test_a_group_that_became_a_supergroup_is_followed(chats: Chats, caplog: pytest.LogCaptureFixture) -> None:
    number = chats.cards.put("звонит", chat_id=GROUP)
    await chats.cards.until_shown(number)
    chats.sandbox.chat(GROUP).moved_to = OTHER
    chats.cards.change(number, "поговорили")
    await chats.cards.until_shown(number)
    await chats.cards.until_shown(chats.cards.put("ещё одна", chat_id=GROUP))

    assert chats.texts(OTHER) == ["поговорили", "ещё одна"]
    assert said(caplog, "telegram_moved") == 1


async def test_a_card_stands_in_its_topic_and_without_one_when_that_is_gone(
    chats: Chats, caplog: pytest.LogCaptureFixture
) -> None:
    await chats.cards.until_shown(chats.cards.put("в теме", chat_id=FORUM, topic=7))
    chats.sandbox.chat(FORUM).topics.clear()
    await chats.cards.until_shown(chats.cards.put("темы нет", chat_id=FORUM, topic=7))

    assert [(message.text, message.topic) for message in chats.sandbox.messages(FORUM)] == [
        ("в теме", 7),
        ("темы нет", 0),
    ]
    assert said(caplog, "telegram_topic") == 1


async def test_markup_that_telegram_refuses_is_sent_as_plain_text(chats: Chats) -> None:
    await chats.cards.until_shown(chats.cards.put("<b>звонит <i>Анна &amp; Ко</b>", chat_id=GROUP))

    assert chats.texts() == ["звонит Анна & Ко"]


async def test_a_card_that_telegram_will_never_take_is_given_up_and_the_next_one_goes(chats: Chats) -> None:
    bad = chats.cards.put("я" * 5000, chat_id=GROUP)
    await chats.cards.until_shown(chats.cards.put("следующая", chat_id=GROUP))

    assert chats.texts() == ["следующая"]
    assert "message is too long" in chats.cards.cards[bad].refused


async def test_a_refused_token_is_one_alarm_and_nothing_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async with at_work(token="42:WRONG") as chats:
        number = chats.cards.put("текст", chat_id=GROUP)
        await chats.cards.until(lambda: chats.cards.written >= 2)

        assert not chats.cards.cards[number].refused
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "WRONG" not in caplog.text


async def test_an_absent_database_costs_no_second_message(chats: Chats) -> None:
    chats.sandbox.on_message = lambda _: setattr(chats.cards, "away", True)
    number = chats.cards.put("текст", chat_id=GROUP)
    await chats.cards.until(lambda: chats.cards.refusals >= 3)
    chats.sandbox.on_message = lambda _: None
    chats.cards.away = False
    await chats.cards.until_shown(number)

    assert chats.texts() == ["текст"]


async def test_telegrams_real_limits_lose_no_card() -> None:
    async with at_work() as chats:
        chats.sandbox.limited = True
        numbers = [chats.cards.put(f"карточка {number}", chat_id=GROUP) for number in range(7)]
        await chats.cards.until_shown(numbers[-1], within=20)
        for number in numbers:
            await chats.cards.until_shown(number)

        assert chats.texts() == [f"карточка {number}" for number in range(7)]
        assert chats.counted("flood") >= 1


async def test_without_a_bot_there_is_nothing_to_run() -> None:
    cards = MemoryCards()
    async with asyncio.timeout(1):
        await CardSender(configured("http://127.0.0.1:9", token=""), cards, metrics=Metrics()).run()


async def _put_and_wake(chats: Chats, text: str) -> int:
    number = chats.cards.put(text, chat_id=GROUP)
    chats.sender.wake()
    return number


class HauntedCards(MemoryCards):
    """A table whose every look at one chat meets a bug, so many times."""

    def __init__(self, bugs: int) -> None:
        super().__init__()
        self.bugs = bugs

    async def claim(self, enterprise_number: str, chat_id: int) -> QueuedCard | None:
        """As usual, but for the bug."""
        if chat_id == GROUP and self.bugs:
            self.bugs -= 1
            raise ZeroDivisionError("a bug")
        return await super().claim(enterprise_number, chat_id)


async def test_a_bug_met_in_one_chat_delays_no_other_and_the_chat_comes_back() -> None:
    async with TelegramSandbox() as sandbox, asyncio.TaskGroup() as tasks:
        for chat_id in (GROUP, OTHER):
            sandbox.add_chat(chat_id)
        cards = HauntedCards(bugs=1)
        sender = CardSender(configured(sandbox.url), cards, metrics=Metrics(), pace=QUICK)
        haunted, other = cards.put(CARD, chat_id=GROUP), cards.put(CARD, chat_id=OTHER)
        task = tasks.create_task(sender.run(), name="sender under test")

        await cards.until_shown(other)
        assert sandbox.messages(GROUP) == []
        await cards.until_shown(haunted)
        assert cards.bugs == 0
        task.cancel()
