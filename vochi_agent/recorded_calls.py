"""Recordings from the PBX's folder to the cards: composes who finds, keeps, signs and serves them.

A link is signed with the enterprise's bot token, without a bot with a CRM's key: every daemon of the enterprise makes
and serves the same links, and a new token makes the old ones worthless. Without a folder, a bot or CRM and a public
address there are no links; chats that hear the file itself need the folder alone.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from aiohttp import web

from vochi_agent.asterisk.recording_files import find_recording
from vochi_agent.calls.model import Call
from vochi_agent.config import Config, Enterprise
from vochi_agent.ports import Renderer
from vochi_agent.recordings import LOOKS_S, Recordings
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.web.recordings import recording_link, recording_routes

__all__ = ["RecordedCalls", "RecordingFolders"]

# A look takes time itself.
SLACK_S: Final = 5.0


class RecordingFolders:
    """Where the recordings of all enterprises lie, and by which address they are heard."""

    def __init__(self, config: Config) -> None:
        self._public_url = config.http.public_url
        self.secrets: Mapping[str, str] = {
            each.number: secret for each in config.enterprises if (secret := _secret(each))
        }
        self.served = [
            each.number
            for each in config.enterprises
            if each.asterisk.recordings and each.number in self.secrets and self._public_url
        ]
        self._places = {
            each.number: Path(each.asterisk.recordings) for each in config.enterprises if each.asterisk.recordings
        }
        self.use(config)

    def use(self, config: Config) -> None:
        """Look where links are served, and where by another configuration some chat hears the files themselves."""
        looked_at = {*self.served, *(each.number for each in config.enterprises if _are_sent(each))}
        self.folders = {number: place for number, place in self._places.items() if number in looked_at}

    @property
    def waits(self) -> Mapping[str, timedelta]:
        """By enterprise whose recordings are served: after how long no file comes any more."""
        return dict.fromkeys(self.served, timedelta(seconds=sum(LOOKS_S) + SLACK_S))

    def link(self, enterprise_number: str, linkedid: str) -> str:
        """Where a call's recording is to be had; "" when recordings are not served."""
        if enterprise_number not in self.served:
            return ""
        return recording_link(self._public_url, self.secrets[enterprise_number], enterprise_number, linkedid)

    async def file(self, enterprise_number: str, recording: str) -> Path | None:
        """The file of a recording; None for one that lies elsewhere than in the folder, or is not looked for."""
        if enterprise_number not in self.folders:
            return None
        return await asyncio.to_thread(_below, self.folders[enterprise_number], recording)


class RecordedCalls:
    """Finds the recordings of calls, keeps where they are, and serves them.

    Attributes:
        search: Looks for files; has to run.
    """

    def __init__(
        self,
        folders: RecordingFolders,
        store: PostgresStore,
        *,
        render: Callable[[str], Renderer],
        cards_changed: Callable[[], None],
        kept: Callable[[str], None],
    ) -> None:
        """`render`: the cards of an enterprise; `cards_changed` wakes who sends them, `kept` who tells its CRMs."""
        self._at = folders
        self._store = store
        self._render = render
        self._cards_changed = cards_changed
        self._kept = kept
        self.search = Recordings(self._find, self._keep)

    def add(self, call: Call) -> None:
        """A call was stored: its file may come. Returns at once."""
        if call.enterprise_number in self._at.folders:
            self.search.add(call)

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """What the HTTP server serves of them."""
        return recording_routes({number: self._at.secrets[number] for number in self._at.served}, self._file)

    async def _find(self, call: Call) -> str:
        linkedid = call.linkedid.partition("~")[0]
        folder = self._at.folders.get(call.enterprise_number)
        if folder is None:
            return ""  # since a reload nobody hears it
        return await asyncio.to_thread(find_recording, folder, linkedid, call.started_at)

    async def _keep(self, call: Call, file: str) -> None:
        render = self._render(call.enterprise_number)
        if await self._store.calls.recorded(call.enterprise_number, call.linkedid, file, render):
            self._cards_changed()
        self._kept(call.enterprise_number)

    async def _file(self, enterprise_number: str, linkedid: str) -> Path | None:
        call = await self._store.reports.call(linkedid, enterprise_number)
        if call is None or not call.recording:
            return None
        return await self._at.file(enterprise_number, call.recording)


def _below(folder: Path, recording: str) -> Path | None:
    """What the ledger says is no path before it is known to end in the folder, links followed."""
    folder = folder.resolve()
    file = (folder / recording).resolve()
    return file if file.is_relative_to(folder) else None


def _are_sent(enterprise: Enterprise) -> bool:
    """Some chat hears the file itself."""
    has_bot = bool(enterprise.telegram_token.get_secret_value())
    return has_bot and any(chat.recording == "audio" for chat in enterprise.chats)


def _secret(enterprise: Enterprise) -> str:
    """What the links of an enterprise are signed with, "" for none."""
    keys = (table.api_key for table in enterprise.crm.values())
    known = (secret.get_secret_value() for secret in (enterprise.telegram_token, *keys))
    return next(filter(None, known), "")
