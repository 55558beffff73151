"""The daemon as a process of its own, as systemd would run it, on ports and folders of the test."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import aiohttp

from tests.support.ports import free_port
from vochi_agent.protocols.agi_pbx import AgiCommandReader, encode_environment, encode_reply

__all__ = ["DaemonProcess", "ask", "configuration"]

START_S = 20.0
STOP_S = 10.0
POLL_S = 0.02


def configuration(
    *,
    state_dir: Path,
    ami_port: int,
    secret: str,
    agi_port: int,
    http_port: int,
    crm_url: str = "",
    telegram_url: str = "",
    database: str = "embedded",
    cel: Path | None = None,
    instance: str = "a",
    chats: tuple[int, ...] = (-1001000000001,),
    handsets: Mapping[str, tuple[str, int]] = MappingProxyType({}),
    caller_name: tuple[str, ...] = ("customer", "line", "shop"),
    of_enterprise: str = "",
    of_crm: str = "",
    ari_port: int = 0,
    route: tuple[str, ...] = (),
    ring_s: int = 30,
    managers: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The company of the acceptance scenarios: the trunks gsm1 and sip2, agents 101 to 110, RetailCRM, one chat.

    `handsets`: charset and width of some extensions; `of_enterprise`, `of_crm`: more keys of these tables; `route` and
    `ring_s` are those of both lines; `managers` the CRM's user ids with their extensions.
    """
    users = ", ".join(f'"{user}" = "{extension}"' for user, extension in managers.items())
    crm = f'[enterprises.crm.retailcrm]\n  url = "{crm_url}"\n  api_key = "key"\n{of_crm}\n' if crm_url else ""
    crm += f"  agents = {{ {users} }}\n" if crm_url and users else ""
    ari = (
        f'ari = "http://127.0.0.1:{ari_port}"\n  ari_username = "lab"\n  ari_password = "{secret}"' if ari_port else ""
    )
    routing = f"route = {list(route)}\n  ring_s = {ring_s}"
    # Nobody to tell: no bot, whose library alone takes a second of the machine at every start.
    telegram = f'[telegram]\ntoken = "42:TEST"\napi_url = "{telegram_url}"\n' if telegram_url and chats else ""
    rooms = "".join(f"[[enterprises.chats]]\n  id = {chat}\n" for chat in chats) if telegram_url else ""
    agents = {"101": 'name = "Первый Агент"', "104": 'name = "Галина"\n  mobile = "+375290000077"'}
    for extension, (charset, width) in handsets.items():
        facts = f'charset = "{charset}"\n  name_width = {width}'
        agents[extension] = f"{agents[extension]}\n  {facts}" if extension in agents else facts
    people = "".join(f'[[enterprises.agents]]\n  extension = "{each}"\n  {agents[each]}\n  ' for each in agents)
    return f"""
[daemon]
timezone = "Europe/Minsk"
state_dir = "{state_dir}"
instance = "{instance}"
[log]
format = "console"
[database]
url = "{database}"
[fastagi]
listen = "127.0.0.1:{agi_port}"
[http]
listen = "127.0.0.1:{http_port}"
{telegram}
[[enterprises]]
number = "0901"
name = "Ромашка"
country = "BY"
timezone = "Europe/Minsk"
primary_source = "{"retailcrm" if crm_url else "manual"}"
{of_enterprise}
  [enterprises.asterisk]
  ami = "127.0.0.1:{ami_port}"
  ami_username = "vochi"
  ami_secret = "{secret}"
  {ari}
  cel = "{cel or ""}"
  [[enterprises.lines]]
  id = "0001701"
  endpoint = "PJSIP/gsm1"
  label = "МТС Центр"
  shop = "Салон 1"
  number_rule = "+375{{9}}"
  caller_name = {json.dumps(caller_name)}
  {routing}
  [[enterprises.lines]]
  id = "3880001"
  endpoint = "PJSIP/sip2"
  label = "Белтел"
  number_rule = "+375{{9}}"
  caller_name = {json.dumps(caller_name)}
  {routing}
  {people}
  {crm}
  {rooms}
"""


class DaemonProcess:
    """`vochi-agent run`; its output is kept in `log`.

    Attributes:
        config: The configuration file; may be written anew before a restart.
        environment: Of the process; may be added to before the start.
        options: Of the interpreter.
        module: What it runs.
    """

    def __init__(self, config: Path, *, agi_port: int, http_port: int) -> None:
        self.config = config
        self.agi_port = agi_port
        self.http_port = http_port
        self.log = config.with_suffix(".log")
        self.environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        self.options: tuple[str, ...] = ("-X", "dev")
        self.module = "vochi_agent"
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    def of(cls, folder: Path, **facts: object) -> Self:
        """Write a configuration with free ports (or those in `facts`) and prepare its daemon."""
        folder.mkdir(parents=True, exist_ok=True)
        ports = {"agi_port": free_port(), "http_port": free_port(), **facts}
        path = folder / "config.toml"
        path.write_text(configuration(**{"state_dir": folder / "state", **ports}))  # type: ignore[arg-type]
        return cls(path, agi_port=int(str(ports["agi_port"])), http_port=int(str(ports["http_port"])))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            await self.stop()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it answers over HTTP; a daemon that ends instead is an error with its last words."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *self.options, "-m", self.module, "-c", str(self.config), "run",
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment,
            )  # fmt: skip
        async with asyncio.timeout(START_S):
            while not await self.answers("/health/live"):
                if self._process.returncode is not None:
                    raise AssertionError(f"the daemon ended with {self._process.returncode}:\n{self.log.read_text()}")
                await asyncio.sleep(POLL_S)

    async def run_to_end(self) -> tuple[int, str]:
        """For a daemon that refuses to start: its exit code and what it said."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "vochi_agent", "-c", str(self.config), "run",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=self.environment,
        )  # fmt: skip
        async with asyncio.timeout(START_S):
            output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def until_ready(self, *, within: float = 20.0) -> None:
        """Wait until database, PBX and doors are there."""
        async with asyncio.timeout(within):
            while not await self.answers("/health/ready"):
                await asyncio.sleep(POLL_S)

    async def answers(self, path: str) -> bool:
        """Whether a GET gives 200."""
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{self.http_port}{path}") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def stop(self) -> int:
        """SIGTERM; returns the exit code, which has to come within the contract's 10 s."""
        assert self._process is not None
        self._process.terminate()
        async with asyncio.timeout(STOP_S):
            return await self._process.wait()

    async def kill(self) -> None:
        """Kill -9, as the kernel or an impatient person does."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: alive for the kernel, mute for everybody else."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)


async def ask(agi_port: int, caller: str, *, script: str = "callerid") -> tuple[dict[str, str], float]:
    """One FastAGI request, as the dialplan makes it: the variables set and the seconds it took."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", agi_port)
    environment = {
        "network_script": script,
        "channel": "PJSIP/gsm1-00000001",
        "callerid": caller,
        "uniqueid": f"{time.time():.6f}",
        "dnid": "0001701",
        "extension": "0001701",
    }
    writer.write(encode_environment(environment))
    commands, variables = AgiCommandReader(), {}
    while data := await reader.read(4096):
        if (words := commands.feed(data)) is not None:
            assert words[:2] == ["SET", "VARIABLE"]
            variables[words[2]] = words[3]
            writer.write(encode_reply("1"))
    writer.close()
    return variables, time.monotonic() - started
