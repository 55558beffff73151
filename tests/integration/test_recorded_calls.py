"""A recording finds its way to the card, and nothing else finds its way out."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from tests.support.calls import answered
from tests.support.polling import until
from tests.support.ports import free_port
from vochi_agent.asterisk.recording_files import HEADER_BYTES, find_recording
from vochi_agent.calls.model import Call
from vochi_agent.config import Address, Config
from vochi_agent.daemon import assembled
from vochi_agent.ports import Renderer
from vochi_agent.recorded_calls import RecordedCalls, RecordingFolders
from vochi_agent.recordings import MOST_CALLS, Recordings
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.telegram.drafts import renderer
from vochi_agent.web.server import serving

SOUND = b"RIFF" + bytes(range(200))
STARTED = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)


def write(folder: Path, name: str, content: bytes = SOUND) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return name


@pytest.mark.parametrize(
    "name",
    ["1795165024.84.wav", "2026/11/20/1795165024.84.wav", "2026/11/21/in-151-375290000011-20261121-1795165024.84.WAV"],
)
def test_a_file_is_found_by_its_linkedid_here_or_in_the_folder_of_its_day(tmp_path: Path, name: str) -> None:
    write(tmp_path, "2026/11/20/1795165024.99.wav")

    assert find_recording(tmp_path, "1795165024.84", STARTED) == ""
    assert find_recording(tmp_path, "1795165024.84", STARTED) != write(tmp_path, name)
    assert find_recording(tmp_path, "1795165024.84", STARTED) == name


def test_an_empty_header_is_no_recording_and_the_longest_of_several_is_the_call(tmp_path: Path) -> None:
    write(tmp_path, "1795165024.84.wav", b"R" * HEADER_BYTES)
    assert find_recording(tmp_path, "1795165024.84", STARTED) == ""

    write(tmp_path, "a-1795165024.84.wav", SOUND)
    longest = write(tmp_path, "b-1795165024.84.wav", SOUND * 2)
    write(tmp_path, "c-1795165024.84.txt", SOUND * 3)
    assert find_recording(tmp_path, "1795165024.84", STARTED) == longest


def test_the_recording_of_another_call_of_the_same_second_is_not_taken(tmp_path: Path) -> None:
    """Whose linkedid begins with this one's, or ends with it."""
    write(tmp_path, "1795165024.84.wav")
    write(tmp_path, "in-11795165024.8.wav")

    assert find_recording(tmp_path, "1795165024.8", STARTED) == ""


def test_a_folder_that_is_not_there_has_no_recordings(tmp_path: Path) -> None:
    assert find_recording(tmp_path / "gone", "1795165024.84", STARTED) == ""


async def test_calls_whose_files_are_looked_for_give_way_to_newer_ones_and_the_search_goes_on() -> None:
    """A folder so large that a look takes longer than the next call: one that is due gives way as its turn comes."""
    looked: list[str] = []

    async def find(call: Call) -> str:
        looked.append(call.linkedid)
        return ""

    async def keep(_: Call, __: str) -> None:
        raise AssertionError("there is no file")

    recordings = Recordings(find, keep, looks_s=(0.0,))
    for number in range(MOST_CALLS):
        recordings.add(answered(linkedid=f"1.{number}"))
    search = asyncio.create_task(recordings.run())
    for number in range(MOST_CALLS):
        recordings.add(answered(linkedid=f"2.{number}"))
        await asyncio.sleep(0)
    while "2.999" not in looked and not search.done():
        await asyncio.sleep(0)

    assert not search.done()
    assert len(looked) == len(set(looked))
    search.cancel()


@dataclass
class Office:
    """A folder of recordings, the ledger, and the web server before them."""

    folder: Path
    store: PostgresStore
    folders: RecordingFolders
    recorded: RecordedCalls
    render: Renderer
    http: aiohttp.ClientSession

    async def card(self) -> str:
        """What the chat is to show."""
        (card,) = (await self.store.cards.work("0901", -1)).open
        return card.text

    async def get(self, url: str, **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        async with self.http.get(url, headers=headers) as answer:
            return answer.status, await answer.read()

    async def kept(self, call: Call) -> str:
        """The link of a call whose file is there."""
        await self.store.calls.record(call, self.render)
        self.recorded.add(call)
        async with asyncio.timeout(10):
            while "Запись разговора" not in await self.card():
                await asyncio.sleep(0.05)
        return self.folders.link("0901", call.linkedid)


@pytest.fixture
async def office(store: PostgresStore, tmp_path: Path) -> AsyncIterator[Office]:
    routes: list[aiohttp.web.AbstractRouteDef] = []
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        enterprise = {
            "number": "0901",
            "country": "BY",
            "telegram_token": "42:TEST",
            "asterisk": {
                "ami": "127.0.0.1:5038", "ami_username": "v", "ami_secret": "x", "recordings": str(tmp_path / "monitor")
            },
            "chats": [{"id": -1}],
        }  # fmt: skip
        config = Config.model_validate({"http": {"public_url": "http://pbx.example/"}, "enterprises": [enterprise]})
        folders = RecordingFolders(config)
        render = renderer(config.enterprises[0], config, recording_link=lambda linkedid: folders.link("0901", linkedid))
        recorded = RecordedCalls(
            folders, store, render=lambda _: render, cards_changed=lambda: None, kept=lambda _: None
        )
        routes += recorded.routes()
        async with serving(Address("127.0.0.1", 0), routes) as address:
            folders._public_url = f"http://{address}/"
            task = tasks.create_task(recorded.search.run())
            yield Office(tmp_path / "monitor", store, folders, recorded, render, http)
            task.cancel()


async def test_a_recording_that_comes_after_the_call_is_on_the_card_and_is_served(office: Office) -> None:
    call = answered()
    asyncio.get_running_loop().call_later(0.5, write, office.folder, f"{call.started_at:%Y/%m/%d}/{call.linkedid}.wav")
    link = await office.kept(call)

    assert f'🔉<a href="{link}">Запись разговора</a>' in (await office.card()).split("\n")
    assert await office.get(link) == (200, SOUND)
    assert await office.get(link, Range="bytes=4-7") == (206, SOUND[4:8])
    stored = await office.store.reports.call(call.linkedid)
    assert stored is not None
    assert stored.recording == f"{call.started_at:%Y/%m/%d}/{call.linkedid}.wav"


async def test_who_has_no_link_gets_nothing(office: Office) -> None:
    call = answered()
    write(office.folder, f"{call.linkedid}.wav")
    link = await office.kept(call)
    other = link.replace(call.linkedid, "1795165024.85")

    for forged in (
        link[:-1] + ("0" if link[-1] != "0" else "1"),
        other,
        link.replace("0901", "0902"),
        link[:-32] + "x",
    ):
        assert (await office.get(forged))[0] == 404


async def test_a_row_that_points_elsewhere_shows_nothing_of_it(office: Office, tmp_path: Path) -> None:
    call = answered()
    write(office.folder, f"{call.linkedid}.wav")
    link = await office.kept(call)
    write(tmp_path, "secret")
    await office.store.calls.recorded("0901", call.linkedid, "../secret", office.render)

    assert (await office.get(link))[0] == 404


async def test_a_call_without_a_file_keeps_its_card(office: Office) -> None:
    office.recorded.search._looks_s = (0.0, 0.1)
    await office.store.calls.record(answered(), office.render)
    office.recorded.add(answered())
    async with asyncio.timeout(5):
        while office.recorded.search._calls:
            await asyncio.sleep(0.05)

    assert "Запись" not in await office.card()


async def test_chats_that_hear_the_file_itself_need_no_address_and_nothing_outside_the_folder_is_found(
    tmp_path: Path,
) -> None:
    def recorded(**chat: str) -> RecordingFolders:
        asterisk = {
            "ami": "127.0.0.1:5038", "ami_username": "v", "ami_secret": "x", "recordings": str(tmp_path / "monitor")
        }  # fmt: skip
        enterprise = {
            "number": "0901",
            "country": "BY",
            "telegram_token": "42:TEST",
            "asterisk": asterisk,
            "chats": [{"id": -1, **chat}],
        }
        config = Config.model_validate({"enterprises": [enterprise]})
        return RecordingFolders(config)

    heard = recorded(recording="audio")
    write(tmp_path / "monitor", "a.wav")
    write(tmp_path, "secret.wav")
    (tmp_path / "monitor" / "b.wav").symlink_to(tmp_path / "secret.wav")

    assert await heard.file("0901", "a.wav") == (tmp_path / "monitor" / "a.wav").resolve()
    for elsewhere in ("../secret.wav", "b.wav", str(tmp_path / "secret.wav"), ".."):
        assert await heard.file("0901", elsewhere) is None
    assert await heard.file("0902", "a.wav") is None
    assert await recorded().file("0901", "a.wav") is None
    # CRMs are told a link or nothing: they need not wait for the file.
    assert (heard.link("0901", "1.2"), dict(heard.waits)) == ("", {})


def test_without_a_bot_links_are_signed_with_the_crms_key_and_without_either_there_are_none(tmp_path: Path) -> None:
    def link(**keys: object) -> str:
        asterisk = {
            "ami": "127.0.0.1:5038", "ami_username": "v", "ami_secret": "x", "recordings": str(tmp_path / "monitor")
        }  # fmt: skip
        enterprise = {"number": "0901", "country": "BY", "asterisk": asterisk, **keys}
        config = Config.model_validate({"http": {"public_url": "http://pbx.example"}, "enterprises": [enterprise]})
        recorded = RecordingFolders(config)
        assert set(recorded.waits) == ({"0901"} if keys else set())
        return recorded.link("0901", "1795165024.84")

    by_crm = link(crm={"uon": {"api_key": "uon-key"}})
    assert by_crm.startswith("http://pbx.example/recordings/0901/1795165024.84/")
    assert by_crm != link(crm={"uon": {"api_key": "another"}})
    assert by_crm != link(telegram_token="42:TEST", crm={"uon": {"api_key": "uon-key"}})
    assert link() == ""


async def test_recordings_are_looked_for_once_a_reload_brings_a_chat_that_hears_them(dsn: str, tmp_path: Path) -> None:
    def config(**chat: object) -> Config:
        asterisk = {
            "ami": "127.0.0.1:5038", "ami_username": "v", "ami_secret": "x", "recordings": str(tmp_path / "monitor")
        }  # fmt: skip
        enterprise = {
            "number": "0901", "country": "BY", "timezone": "Europe/Minsk", "primary_source": "manual",
            "telegram_token": "42:TEST", "asterisk": asterisk, "chats": [{"id": -1, **chat}],
        }  # fmt: skip
        tables = {
            "daemon": {"state_dir": str(tmp_path / "state")},
            "database": {"url": dsn},
            "fastagi": {"listen": f"127.0.0.1:{free_port()}"},
            "http": {"listen": f"127.0.0.1:{free_port()}"},
            "enterprises": [enterprise],
        }
        return Config.model_validate(tables)

    call = answered()
    file = write(tmp_path / "monitor", f"{call.linkedid}.wav")
    async with assembled(config()) as daemon, asyncio.TaskGroup() as tasks:
        daemon.reload(config(recording="audio"))
        search = tasks.create_task(daemon.recorded_calls.search.run())
        await daemon.store.calls.record(call, daemon.chats.rendering.of("0901"))
        daemon.recorded_calls.add(call)

        async def heard() -> bool:
            (card,) = (await daemon.store.cards.work("0901", -1)).open
            return card.sound == file

        await until(heard, within=10)
        search.cancel()
