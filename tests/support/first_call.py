"""The ten minutes from an ordinary PBX to the first named call, by the very commands of docs/getting-started.md."""

import json
import re
import shlex
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from tests.support.asterisk import Asterisk
from tests.support.bare_pbx import readme_commands
from tests.support.finals import until_finals
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.sipp import Sipp
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.telegram import TelegramSandbox

__all__ = ["API_KEY", "BOT_TOKEN", "CALLER", "CHAT", "DID", "PAGE", "Newcomer", "documented"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "getting-started.md"
API_KEY, BOT_TOKEN = "Rk-secret-9f", "42:TEST"
CHAT = -1001000000001
CALLER, DID = "375290000033", "375170000001"
READY_S = 60.0


def documented(page: Path) -> list[str]:
    """The commands of a page, in order: its sh blocks, continued lines in one, without what is said of them."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]


class Terminal(Protocol):
    """Where an administrator types: his folder holds `key` and `token`."""

    async def __call__(self, command: str) -> tuple[int, str]: ...


class Newcomer:
    """Somebody who has just installed vochi-agent and follows the page.

    Args:
        shell: Where he types.
        pbx: His, as it was before (`make_bare`).
        etc: Where he sees its files.
        folder: Where the configuration goes.
        state: Where its data goes, unless it is a machine of its own.
    """

    def __init__(
        self,
        shell: Terminal,
        pbx: Asterisk,
        crm: RetailCrmSandbox,
        telegram: TelegramSandbox,
        *,
        etc: str,
        folder: str,
        state: str = "/var/lib/vochi-agent",
    ) -> None:
        self._shell = shell
        self._pbx = pbx
        self._crm = crm
        self._telegram = telegram
        self._etc = etc
        self._folder = folder
        self._state = state
        _, self._init, self._check, self._start, self._doctor, self._lookup, self._calls, self._cards = documented(PAGE)

    async def installs(self) -> None:
        """Steps 1 and 2: `init`, then the files for Asterisk by the commands of their README."""
        # What differs here from a machine of one's own: the CRM's address, where the PBX is, who listens where.
        init = self._init.replace("https://demo.retailcrm.ru", self._crm.url)
        said = await self._does(f"{init} --pbx {self._etc} --address 127.0.0.1:{self._pbx.ports.fastagi}")
        assert f"Asterisk {self._pbx.version.removeprefix('Asterisk ')}" in said
        assert not [word for word in (API_KEY, BOT_TOKEN, self._pbx.secret) if word in said]
        assert "2 lines, 11 telephones, BY" in said

        before = self._pbx.problems()
        *commands, last = readme_commands(await self._does(f"cat {self._folder}/asterisk/README.txt"))
        for command in commands:
            await self._does(command)
        assert last in (self._doctor, self._doctor.replace("-agent", f"-agent -c {self._folder}/config.toml"))
        # 16 loads cel_custom without anything to write, 22 does not.
        assert [each for each in self._pbx.problems()[len(before) :] if "already loaded" not in each] == []

    async def starts(self, run: Callable[[str], AbstractAsyncContextManager[None]], phones: Sipp) -> None:
        """Steps 3 to 5: start it, ask what is missing, call.

        Args:
            run: Has the service started by a command while the context is.
            phones: His telephones and his provider.
        """
        beside = f"""
            [daemon]
            state_dir = "{self._state}"
            [http]
            listen = "127.0.0.1:{free_port()}"
            [telegram]
            api_url = "{self._telegram.url}"
        """
        drop_in = f"{self._folder}/conf.d"
        await self._does(f"mkdir -p {drop_in} && printf %s {shlex.quote(beside)} >{drop_in}/test.toml")
        await self._does(self._check)
        async with run(self._start):
            await until(self._beats, within=READY_S)
            found = json.loads(await self._does(f"{self._doctor} --json"))
            assert [each for each in found if each["level"] == "problem"] == []
            await self._calls_a_line(phones)
            said = await self._does(self._doctor)
            assert re.search(r"^ok +cel 0901 .*21 columns", said, re.MULTILINE)
            assert "problem: 0" in said.splitlines()[-1]

    async def _calls_a_line(self, phones: Sipp) -> None:
        """His own dialplan did what it always does; the call has a name, a record and a card besides."""
        assert "Ромашка" in await self._does(self._lookup)
        result = await phones.call(DID, CALLER, hold_s=0.5)
        assert (result.ended, result.code) == ("hung_up", 200)
        assert phones.invites("101")[0].display_name == "Ромашка | МТС Центр"
        (card,) = await until_finals(self._telegram, CHAT, 1, within=10)
        assert "👤Контактова Анна (Ромашка)" in card
        assert "📡МТС Центр" in card
        (call,) = json.loads(await self._does(f"{self._calls} --json"))
        assert (call["direction"], call["status"], call["line"]) == ("in", "answered", "gsm1")
        assert call["path"] == ["101"]
        await self._does(self._cards)
        assert len(self._telegram.messages(CHAT)) > 1
        await self._pbx.until_written(self._pbx.cel, "LINKEDID_END")

    async def _beats(self) -> bool:
        """Whether Asterisk has the heartbeat, which comes when everything stands."""
        return bool(await self._pbx.get_global("VOCHI_ALIVE_a"))

    async def _does(self, command: str) -> str:
        """What a command says that has to succeed."""
        code, said = await self._shell(command)
        assert code == 0, (command, said)
        return said
