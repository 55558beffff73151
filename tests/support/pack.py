"""A company on the plain pack: what `vochi-agent dialplan print` wrote, in a real Asterisk with daemon and phones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.support.asterisk import Asterisk
from tests.support.commands import Workplace
from tests.support.daemon import DaemonProcess
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from vochi_agent.calls.model import Call
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.reports import CallFilter

__all__ = ["Company", "company_at", "configuration", "install", "told"]

AGENTS = ("101", "102", "103", "104", "105", "106", "108")
# What an administrator would write around the rendered dialplan, as its head tells him.
AROUND = """\
#include "extensions.vochi.conf"
[globals](+)
OFFICE_HOURS = *
OFFICE_DAYS = *
HOLIDAYS =
FIRST_PHONES = PJSIP/101
ALL_PHONES = PJSIP/103&PJSIP/104
FIRST_SECONDS = 10
ALL_SECONDS = 2
AGENT_SECONDS = 3
HUNT_SECONDS = 1
QUEUE_SECONDS = 2
OUTBOUND_SECONDS = 3
"""
# Of modules.conf applications and functions are loaded, and nothing else of the kind; ari.conf has users of its own.
RENDERED = (
    *("vochi.conf", "extensions.conf", "queues.conf", "features.conf", "res_parking.conf", "manager.conf"),
    *("cel.conf", "cel_custom.conf", "cdr.conf"),
)
MANAGER = """\
#include "manager.vochi.conf"
[general](+)
displayconnects = no
[lab]
secret = {secret}
read = all
write = all
"""


@dataclass
class Company:
    """The parts of it. Several tests may share one: each sees only what came while its `own_time` lasts."""

    pbx: Asterisk
    lines: Sipp
    daemon: DaemonProcess
    store: PostgresStore
    _since: datetime = field(default_factory=lambda: datetime.now(UTC))
    _changed: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def own_time(self) -> AsyncIterator[None]:
        """Earlier calls are not told any more; at the end nobody talks, and [globals] are as they were."""
        self.lines.forget()
        for file in self.recordings:
            file.unlink()
        self._since = datetime.now(UTC)
        yield
        await self.pbx.until_idle()
        while self._changed:
            await self.pbx.set_global(*self._changed.popitem())

    async def records(self, count: int = 1) -> list[Call]:
        """The ledger of its own time, oldest first, once it has so many calls."""
        found: list[Call] = []

        async def are_there() -> bool:
            found[:] = await self.store.reports.calls(CallFilter(since=self._since, limit=50))
            return len(found) >= count

        await until(are_there, within=10)
        return sorted(found, key=lambda call: call.started_at)

    async def record(self) -> Call:
        """The one call there was."""
        (call,) = await self.records()
        return call

    async def use(self, **values: str) -> None:
        """Change values of [globals]."""
        for name, value in values.items():
            self._changed.setdefault(name, await self.pbx.get_global(name))
            await self.pbx.set_global(name, value)

    async def daemon_command(self, *words: str) -> str:
        """A command of ours with this company's configuration; it has to succeed."""
        answer = await Workplace(self.daemon.config.parent).vochi(*words)
        assert answer.code == 0, answer.err
        return answer.out

    @property
    def recordings(self) -> list[Path]:
        """Files of MixMonitor."""
        return sorted(self.pbx.recordings.rglob("*.wav"))


def configuration(pbx: Asterisk, folder: Path, *, database: str = "embedded", first_line: str = "PJSIP/gsm1") -> str:
    """Two SIM slots behind the trunk gsm1, a provider, seven agents; 104 has a mobile and a follow-me."""
    agents = "".join(
        f'[[enterprises.agents]]\nextension = "{extension}"\n' for extension in AGENTS if extension != "104"
    )
    return f"""
[daemon]
timezone = "Europe/Minsk"
state_dir = "{folder / "state"}"
[log]
format = "console"
[database]
url = "{database}"
[fastagi]
listen = "127.0.0.1:{pbx.ports.fastagi}"
[http]
listen = "127.0.0.1:{free_port()}"
[[enterprises]]
number = "0901"
country = "BY"
[enterprises.asterisk]
ami = "127.0.0.1:{pbx.ports.ami}"
ami_username = "vochi"
ami_secret = "{pbx.secret}"
cel = "{pbx.cel}"
[[enterprises.lines]]
id = "0001701"
endpoint = "{first_line}"
dids = ["0001701", "+375290000901"]
label = "МТС Центр"
number_rule = "+375{{9}}"
caller_name = ["customer", "line"]
ring_s = 1
[[enterprises.lines]]
id = "0001702"
endpoint = "PJSIP/gsm1"
dial_prefix = "22"
number = "+375290000902"
number_rule = "+375{{9}}"
[[enterprises.lines]]
id = "3880001"
endpoint = "PJSIP/sip2"
number = "+375170000001"
{agents}
[[enterprises.agents]]
extension = "104"
mobile = "+375290000077"
follow_me = "300"
[[enterprises.departments]]
number = "901"
label = "Продажи"
"""


async def install(pbx: Asterisk, config: Path, folder: Path) -> None:
    """The rendered files instead of the laboratory's; Asterisk starts anew with them."""
    printed = await Workplace(config.parent).vochi("dialplan", "print", "--flavour", "plain", "--to", str(folder))
    assert (printed.code, printed.err) == (0, "")
    etc = pbx.home / "etc"
    await pbx.kill()
    around = {"extensions": AROUND, "manager": MANAGER.format(secret=pbx.secret)}
    for file in [folder / name for name in RENDERED]:
        name = f"{file.stem}.vochi.conf" if file.stem in around else file.name
        (etc / name).write_text(file.read_text())
    _load_only(pbx, (folder / "modules.conf").read_text())
    for stem, text in around.items():
        (etc / f"{stem}.conf").write_text(text)
    (etc / "voicemail.conf").write_text("[general]\nformat = wav\n[default]\n100 => 1234,Office\n")
    (etc / "vochi-ami-secret.conf").write_text(f"secret = {pbx.secret}\n")
    pbx.log.unlink()
    await pbx.start()


def _load_only(pbx: Asterisk, printed: str) -> None:
    """The printed modules.conf, as far as this Asterisk has them, and what the laboratory's SIP and AMI need."""
    file = pbx.home / "etc" / "modules.conf"
    laboratory = file.read_text().splitlines()
    lines = [line for line in laboratory if not line.startswith(("load = app_", "load = func_"))]
    wanted = [line for line in printed.splitlines() if line.startswith("load = ")]
    lines += [line for line in wanted if pbx.has_module(line.removeprefix("load = ").removesuffix(".so"))]
    file.write_text("\n".join(dict.fromkeys(lines)) + "\n")


@asynccontextmanager
async def company_at(
    pbx: Asterisk, lines: Sipp, server: PostgresServer, folder: Path, **facts: str
) -> AsyncIterator[Company]:
    """The company at work; `facts` as for `configuration`."""
    async with server.database() as dsn, PostgresStore(dsn, pool_size=2) as store:
        config = folder / "config.toml"
        config.write_text(configuration(pbx, folder, database=dsn, **facts))
        await install(pbx, config, folder / "pack")
        http_port = int(config.read_text().split('[http]\nlisten = "127.0.0.1:')[1].split('"')[0])
        async with DaemonProcess(config, agi_port=pbx.ports.fastagi, http_port=http_port) as daemon:
            await daemon.until_ready()

            async def beats() -> bool:
                return bool(await pbx.get_global("VOCHI_ALIVE_a"))

            await until(beats, within=15)
            yield Company(pbx, lines, daemon, store)


def told(call: Call) -> tuple[str, str, str, str | None, tuple[str, ...]]:
    """What a record says, in short."""
    return call.direction.value, call.status.value, call.reason.value, call.line, call.path
