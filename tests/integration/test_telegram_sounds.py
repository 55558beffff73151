"""Recordings in the messages of final cards: aiogram between a real table of cards and the sandbox Bot API."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.chats import GROUP, OTHER, PERSON, QUICK, Chats, sending
from tests.support.company import PERSON as CALLER
from tests.support.company import Site
from tests.support.daemon import DaemonProcess
from vochi_agent.calls.model import Phase
from vochi_agent.metrics import Metrics
from vochi_agent.ports import CardDraft
from vochi_agent.simulator.telegram import Fault, SandboxMessage, TelegramSandbox
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram import sounds
from vochi_agent.telegram.bot import TelegramBot
from vochi_agent.telegram.door import Bot
from vochi_agent.telegram.keyboards import TAKE, WHY
from vochi_agent.telegram.opened import OpenBot
from vochi_agent.telegram.sounds import MAX_CAPTION, Sounds

# What is heard does not depend on the server's version.
pytestmark = pytest.mark.parametrize("postgres", ["18"], indirect=True)

SOUND = b"RIFF" + bytes(range(256)) * 40
HEARD = "(SELECT bool_and(sent_sound = sound) FROM cards WHERE linkedid = $1)"
GIVEN_UP = "(SELECT bool_and(sound_gave_up IS NOT NULL) FROM cards WHERE linkedid = $1)"


@dataclass(frozen=True)
class Office:
    """Chats, and the folder in which the PBX leaves its recordings."""

    chats: Chats
    folder: Path
    metrics: Metrics
    opened: list[OpenBot]

    async def put(self, text: str, name: str, content: bytes = SOUND, **facts: Any) -> str:
        """A final card with a recording that is there."""
        (self.folder / name).write_bytes(content)
        return await self.chats.cards.put(text, **{"chat_id": GROUP, "sound": name, **facts})

    async def heard(self, linkedid: str) -> SandboxMessage:
        """The message of a card, when the table knows that it carries its recording and its newest text."""
        await self.chats.cards.until(HEARD, linkedid)
        card = await self.chats.cards.until_shown(linkedid)
        return self.chats.sandbox.chat(card["chat_id"]).messages[card["message_id"]]

    def counted(self, result: str) -> float:
        """The metric of recordings with this result."""
        labels = {"enterprise": "0901", "result": result}
        return self.metrics.registry.get_sample_value("vochi_cards_total", labels) or 0.0


@contextlib.asynccontextmanager
async def hearing(
    store: PostgresStore,
    dsn: str,
    folder: Path,
    *,
    sandbox: TelegramSandbox | None = None,
    bots: Callable[[str], Mapping[str, Bot]] = lambda _: {},
) -> AsyncIterator[Office]:
    metrics = Metrics()

    async def find(_: str, recording: str) -> Path | None:
        return folder / recording

    opened: list[OpenBot] = []

    async def attend(bot: OpenBot) -> None:
        opened.append(bot)
        await at_work.attend(bot)

    at_work = Sounds(store.cards, find, metrics=metrics, pace=QUICK, ours=lambda _: True)
    async with sending(store, dsn, sandbox=sandbox, bots=bots, attend=attend) as chats:
        yield Office(chats, folder, metrics, opened)


@pytest.fixture
async def office(store: PostgresStore, dsn: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with hearing(store, dsn, tmp_path) as found:
        yield found


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("name", "kind"), [("in-151-375290000011-1.2.wav", "document"), ("1.2.MP3", "audio"), ("1.2.ogg", "document")]
)
async def test_the_message_of_the_card_carries_the_recording_under_a_name_that_says_nothing(
    office: Office, name: str, kind: str
) -> None:
    message = await office.heard(await office.put("✅ <b>Успешный</b> &lt;звонок&gt;", name))

    assert office.chats.texts() == ["✅ Успешный <звонок>"]
    assert message.file is not None
    assert (message.file.kind, message.file.digest) == (kind, digest(SOUND))
    assert message.file.name == f"Запись разговора{Path(name).suffix.lower()}"
    assert office.chats.asked("editMessageMedia") == 1
    assert office.counted("recording") == 1


async def test_what_is_learned_later_stands_below_the_recording(office: Office) -> None:
    linkedid = await office.put("✅ звонок", "1.wav")
    before = await office.heard(linkedid)
    await office.chats.cards.put("✅ звонок Анны", chat_id=GROUP, linkedid=linkedid, sound="1.wav")
    after = await office.heard(linkedid)

    assert (after.text, after.message_id, after.file) == ("✅ звонок Анны", before.message_id, before.file)
    assert office.chats.asked("editMessageCaption") == 1
    assert office.chats.asked("editMessageMedia") == 1


async def test_the_buttons_of_a_card_outlive_the_arrival_of_its_recording_and_what_is_learned_after_it(
    office: Office,
) -> None:
    linkedid = await office.chats.cards.put("✅ звонок", chat_id=GROUP, buttons=(TAKE, WHY))
    await office.chats.cards.until_shown(linkedid)
    (before,) = office.chats.sandbox.messages(GROUP)
    await office.put("✅ звонок", "1.wav", linkedid=linkedid, buttons=(TAKE, WHY))
    heard = await office.heard(linkedid)
    await office.put("✅ звонок Анны", "1.wav", linkedid=linkedid, buttons=(TAKE, WHY))
    learned = await office.heard(linkedid)
    await office.put("✅ звонок Анны", "1.wav", linkedid=linkedid, buttons=(WHY,))
    taken = await office.heard(linkedid)

    assert before.buttons == ["Взял(а)", "Почему?"]
    assert heard.file is not None
    assert heard.keyboard == learned.keyboard == before.keyboard
    assert (learned.text, learned.file) == ("✅ звонок Анны", heard.file)
    assert (taken.buttons, taken.file, taken.message_id) == (["Почему?"], heard.file, before.message_id)
    assert (office.chats.asked("editMessageMedia"), office.chats.asked("editMessageCaption")) == (1, 2)


async def test_a_recording_that_comes_later_or_is_another_one_costs_no_edit_of_the_text(office: Office) -> None:
    linkedid = await office.chats.cards.put("✅ звонок", chat_id=GROUP)
    await office.chats.cards.until_shown(linkedid)
    for number in (1, 2):
        content = SOUND * number
        await office.put("✅ звонок", f"{number}.wav", content, linkedid=linkedid)
        message = await office.heard(linkedid)
        assert message.file is not None
        assert message.file.digest == digest(content)
    assert office.chats.asked("editMessageText") + office.chats.asked("editMessageCaption") == 0
    assert len(office.chats.texts()) == 1


async def test_a_file_that_grows_is_sent_when_it_has_ceased_to(office: Office) -> None:
    linkedid = await office.put("✅ звонок", "1.wav")
    for _ in range(20):
        with (office.folder / "1.wav").open("ab") as file:
            file.write(SOUND)
        await asyncio.sleep(0.01)
    message = await office.heard(linkedid)
    assert message.file is not None
    # A machine that stands still for a moment may take the file for finished; then it is sent as it is.
    assert message.file.size % len(SOUND) == 0
    assert message.file.size > len(SOUND)


@pytest.mark.parametrize("case", ["no file", "a header", "too large", "a long card"])
async def test_what_can_never_be_sent_is_given_up_and_the_card_stays_as_it_is(
    office: Office, case: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sounds, "MOST_BYTES", 10 * len(SOUND))
    text = "Ж" * (MAX_CAPTION + 1) if case == "a long card" else "✅ звонок"
    content = {"a header": SOUND[:44], "too large": SOUND * 11}.get(case, SOUND)
    linkedid = await office.put(text, "1.wav", content, sound="2.wav" if case == "no file" else "1.wav")
    await office.chats.cards.until(GIVEN_UP, linkedid)
    await office.chats.cards.put(
        text + "!", chat_id=GROUP, linkedid=linkedid, sound="1.wav" if case != "no file" else "2.wav"
    )
    await office.chats.cards.until_shown(linkedid)

    assert office.chats.texts() == [text + "!"]
    assert office.chats.asked("editMessageMedia") == 0
    assert [record.action for record in caplog.records if record.levelname == "WARNING"] == ["card_sound"]


async def test_what_telegram_finds_too_large_is_given_up(store: PostgresStore, dsn: str, tmp_path: Path) -> None:
    sandbox = TelegramSandbox()
    sandbox.max_upload = 5 * len(SOUND)
    async with sandbox, hearing(store, dsn, tmp_path, sandbox=sandbox) as office:
        sandbox.add_chat(GROUP)
        linkedid = await office.put("✅ звонок", "1.wav", SOUND * 6)
        await office.chats.cards.until(GIVEN_UP, linkedid)
        (card,) = await office.chats.cards.rows("SELECT sound_gave_up FROM cards")

    assert "Request Entity Too Large" in card["sound_gave_up"]
    assert office.counted("recording_refused") == 1


@pytest.mark.parametrize("fault", list(Fault))
async def test_an_upload_that_fails_is_made_again_and_the_message_carries_one_recording(
    office: Office, fault: Fault
) -> None:
    linkedid = await office.chats.cards.put("✅ звонок", chat_id=GROUP)
    await office.chats.cards.until_shown(linkedid)
    office.chats.sandbox.break_next(fault, chat_id=GROUP)
    await office.put("✅ звонок", "1.wav", linkedid=linkedid)
    message = await office.heard(linkedid)

    assert message.file is not None
    assert message.file.digest == digest(SOUND)
    assert office.chats.texts() == ["✅ звонок"]


class Slow(TelegramBot):
    """Its uploads wait for a word."""

    def __init__(self, api_url: str) -> None:
        super().__init__("42:TEST", api_url=api_url, request_s=2.0)
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def attach(self, *of: Any, **how: Any) -> None:
        """Not before the word."""
        self.begun.set()
        await self.go_on.wait()
        await super().attach(*of, **how)


async def test_an_upload_delays_no_card_and_never_brings_an_old_text_back(
    store: PostgresStore, dsn: str, tmp_path: Path
) -> None:
    slow: list[Slow] = []

    def bots(api_url: str) -> Mapping[str, Bot]:
        slow.append(Slow(api_url))
        return {"42:TEST": slow[0]}

    async with hearing(store, dsn, tmp_path, bots=bots) as office:
        linkedid = await office.put("✅ звонок", "1.wav")
        await slow[0].begun.wait()
        await office.chats.cards.until_shown(await office.chats.cards.put("другой", chat_id=GROUP))
        await office.chats.cards.put("✅ звонок Анны", chat_id=GROUP, linkedid=linkedid, sound="1.wav")
        await office.chats.cards.until_shown(linkedid)
        assert office.chats.texts() == ["✅ звонок Анны", "другой"]
        slow[0].go_on.set()
        message = await office.heard(linkedid)
        await slow[0].close()

    assert message.text == "✅ звонок Анны"
    assert message.file is not None


async def test_a_message_that_people_deleted_is_left_alone_until_the_card_changes(office: Office) -> None:
    linkedid = await office.chats.cards.put("✅ звонок", chat_id=GROUP)
    shown = await office.chats.cards.until_shown(linkedid)
    del office.chats.sandbox.chat(GROUP).messages[shown["message_id"]]
    await office.put("✅ звонок", "1.wav", linkedid=linkedid)
    await office.chats.cards.until(GIVEN_UP, linkedid)
    assert office.chats.texts() == []

    await office.put("✅ звонок Анны", "1.wav", linkedid=linkedid)
    message = await office.heard(linkedid)
    assert message.text == "✅ звонок Анны"
    assert message.file is not None


async def test_a_new_message_takes_its_own_recording_and_the_old_one_goes(office: Office) -> None:
    linkedid = await office.put("❌ пропущен", "1.wav")
    first = await office.heard(linkedid)
    # Who answered was found out later, and the text became too long for a caption.
    text = "✅ " + "Ж" * MAX_CAPTION
    await office.put(text, "1.wav", linkedid=linkedid)
    await office.chats.cards.until(GIVEN_UP, linkedid)
    await office.chats.until_texts(text)

    assert first.message_id not in office.chats.sandbox.chat(GROUP).messages


async def test_a_group_that_became_a_supergroup_is_followed_after_a_restart(
    store: PostgresStore, dsn: str, tmp_path: Path
) -> None:
    async with TelegramSandbox() as sandbox:
        sandbox.add_chat(OTHER).moved_to = GROUP
        sandbox.add_chat(GROUP)
        async with hearing(store, dsn, tmp_path, sandbox=sandbox) as office:
            linkedid = await office.chats.cards.put("✅ звонок", chat_id=OTHER)
            await office.chats.cards.until_shown(linkedid)
        async with hearing(store, dsn, tmp_path, sandbox=sandbox) as office:
            await office.put("✅ звонок", "1.wav", chat_id=OTHER, linkedid=linkedid)
            await office.chats.cards.until(HEARD, linkedid)

        (message,) = sandbox.messages(GROUP)
        assert message.file is not None


async def test_live_cards_and_shared_messages_carry_nothing(office: Office) -> None:
    live = await office.put("звонит", "1.wav", phase=Phase.DIAL)
    await office.chats.cards.until_shown(live)
    shared = [await office.put(f"✅ {number}", f"{number}.wav", chat_id=OTHER) for number in range(6)]
    for linkedid in shared:
        await office.chats.cards.until_shown(linkedid)
    alone = await office.put("✅ сам", "7.wav", chat_id=PERSON)
    await office.heard(alone)
    rows = await office.chats.cards.rows("SELECT linkedid FROM cards WHERE shared OR phase <> 'hangup'")

    for row in rows:
        assert (await office.chats.cards.card(row["linkedid"]))["sent_sound"] == ""
    assert live in {row["linkedid"] for row in rows}


async def test_recordings_wait_until_half_of_a_chats_minute_is_free_and_hold_up_no_other_chat(office: Office) -> None:
    clock = asyncio.get_running_loop().time
    busy = await office.chats.cards.put("✅ тут", chat_id=GROUP)
    await office.chats.cards.until_shown(busy)
    (opened,) = office.opened
    budget = opened.doors[GROUP].budget
    while budget.left(clock()) > budget.size // 2:
        budget.spend(clock())
    spent_at, heard_at = clock(), []
    office.chats.sandbox.on_message = lambda message: (
        heard_at.append((message.chat_id, clock())) if message.file else None
    )
    await office.put("✅ тут", "1.wav", linkedid=busy)
    await office.heard(await office.put("✅ там", "2.wav", chat_id=OTHER))
    await office.heard(busy)

    assert [chat_id for chat_id, _ in heard_at] == [OTHER, GROUP]
    # What was spent first is free again first: a little less than the minute.
    assert heard_at[1][1] - spent_at > QUICK.minute / 2


async def test_a_recording_that_a_dead_daemon_put_there_does_not_stand_in_the_way_of_a_text(
    store: PostgresStore, dsn: str, tmp_path: Path
) -> None:
    (tmp_path / "1.wav").write_bytes(SOUND)
    async with sending(store, dsn) as chats, contextlib.AsyncExitStack() as stack:
        bot = TelegramBot("42:TEST", api_url=chats.sandbox.url, request_s=2.0)
        stack.push_async_callback(bot.close)
        linkedid = await chats.cards.put("✅ звонок", chat_id=GROUP, sound="1.wav")
        shown = await chats.cards.until_shown(linkedid)
        await bot.attach(GROUP, shown["message_id"], "✅ звонок", tmp_path / "1.wav", keyboard=(), within_s=2.0)
        await chats.cards.put("✅ звонок Анны", chat_id=GROUP, linkedid=linkedid, sound="1.wav")
        await chats.cards.until_shown(linkedid)

        (message,) = chats.sandbox.messages(GROUP)
        assert (message.text, message.message_id) == ("✅ звонок Анны", shown["message_id"])
        assert message.file is not None
        assert (chats.asked("editMessageText"), chats.asked("editMessageCaption")) == (1, 1)


async def test_the_recording_of_a_real_call_survives_kill_9_and_a_name_that_comes_meanwhile(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "monitor").mkdir()
    text = site.config.read_text().replace(
        "  [[enterprises.lines]]", f'  recordings = "{tmp_path}/monitor"\n  [[enterprises.lines]]', 1
    )
    site.config.write_text(text + '  recording = "audio"\n')
    ports = {name: int(str(site.values[name])) for name in ("agi_port", "http_port")}
    chat = int(str(site.values["chat"]))

    def uploads() -> int:
        return sum(request.method == "editMessageMedia" for request in site.telegram.requests)

    site.telegram.break_next(Fault.LOST_ANSWER, method="editMessageMedia")
    async with DaemonProcess(site.config, **ports) as daemon:
        await daemon.until_ready()
        linkedid = await site.pbx.inbound(
            trunk="PJSIP/gsm1", did="0001701", caller=CALLER, ring=["151"], answer="151", talk_s=20
        )
        (tmp_path / "monitor" / f"{linkedid}.wav").write_bytes(SOUND)
        await site.telegram.until(lambda: uploads() == 1, within=60)
        await daemon.kill()
        # The message carries the recording, nobody knows; and its text is to change.
        recording = f"{linkedid}.wav"
        named = CardDraft(chat_id=chat, topic=0, text="✅ звонок Анны", silent=True, sound=recording)
        await site.store.cards.put_live("0901", linkedid, Phase.HANGUP, [named])
        await daemon.start()
        await site.telegram.until(lambda: uploads() == 2, within=60)
        assert await daemon.stop() == 0

    (message,) = site.telegram.messages(chat)
    assert message.file is not None
    assert message.file.digest == digest(SOUND)
    assert message.text == "✅ звонок Анны"
