"""`vochi-agent demo`: the whole product on this machine, over real sockets, checked by itself.

Only the far ends are played: the PBX, the CRM and Telegram are servers of `vochi_agent.simulator` on loopback. Between
them runs the daemon that `run` runs, with its own PostgreSQL.
"""

import argparse
import asyncio
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from re import sub
from typing import Final

import uvloop
from rich.console import Console
from rich.table import Table

from vochi_agent.calls.numbers import display
from vochi_agent.config import Config, load
from vochi_agent.customers.model import Customer
from vochi_agent.daemon import Daemon, assembled
from vochi_agent.lifetime import living
from vochi_agent.log import set_up
from vochi_agent.simulator import company
from vochi_agent.simulator.company import MORNING, Scene
from vochi_agent.simulator.pbx import CallerIdSubroutine, Display, Pbx, User
from vochi_agent.simulator.retailcrm import Fault, RetailCrmSandbox
from vochi_agent.simulator.telegram import TelegramSandbox

SPEED: Final = 6.0
READY_S: Final = 30.0
CARD_S: Final = 40.0  # the first one waits until aiogram is imported, on a small machine for long
POLL_S: Final = 0.05


@dataclass(slots=True)
class Stage:
    """The played world and the daemon in it."""

    pbx: Pbx
    crm: RetailCrmSandbox
    telegram: TelegramSandbox
    daemon: Daemon
    console: Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whether it ends."""
    parser.add_argument("--stay", action="store_true", help="keep running and placing calls until interrupted")


def run(args: argparse.Namespace, _config: Callable[[], Config]) -> int:
    """0 when everything was as it should be, 1 when a check failed."""
    set_up(level="error", format="console", mask_phones=True, stream=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="vochi-demo-") as folder:
        failed = uvloop.run(_demonstrate(Path(folder), stay=args.stay))
    return 1 if failed else 0


async def _demonstrate(folder: Path, *, stay: bool) -> bool:
    console = Console(highlight=False, width=100, soft_wrap=True)
    console.print("Поднимаем PostgreSQL, АТС, CRM и Telegram на этой машине…")
    async with _stage(folder, console) as stage:
        failures = await _morning(stage)
        await _customers(stage, failures)
        for failure in failures:
            console.print(f"[red]не сошлось:[/red] {failure}")
        if not failures:
            console.print("[green]Всё сошлось:[/green] имена на трубках, карточки, счётчики клиентов.")
        if stay:
            await _stay(stage)
    return bool(failures)


@asynccontextmanager
async def _stage(folder: Path, console: Console) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        crm = await stack.enter_async_context(RetailCrmSandbox(api_key=company.API_KEY))
        company.fill(crm)
        telegram = await stack.enter_async_context(TelegramSandbox(token=company.BOT_TOKEN))
        telegram.add_chat(company.CHAT_ID, title="Директор")
        pbx = Pbx(
            phones=company.PHONES,
            trunks=[company.TRUNK],
            users={"vochi": User(secret=company.AMI_SECRET)},
            speed=SPEED,
            displayed=lambda shown: _print_display(console, shown),
        )
        await stack.enter_async_context(pbx)
        path = folder / "config.toml"
        path.write_text(
            company.configuration(
                state_dir=str(folder),
                ami_port=pbx.manager.port,
                crm_url=crm.url,
                telegram_url=telegram.url,
                agi_port=_free_port(),
                http_port=_free_port(),
            )
        )
        daemon = await stack.enter_async_context(assembled(load(path)))
        await stack.enter_async_context(living(daemon))
        pbx.subroutine = CallerIdSubroutine(host="127.0.0.1", port=daemon.fastagi.port)
        heartbeat = f"VOCHI_ALIVE_{daemon.config.daemon.instance}"
        await _until(lambda: bool(pbx.switch.variables.get(heartbeat)) and daemon.store.available, READY_S)
        yield Stage(pbx=pbx, crm=crm, telegram=telegram, daemon=daemon, console=console)


async def _morning(stage: Stage) -> list[str]:
    failures: list[str] = []
    for scene in MORNING:
        stage.console.rule(scene.title, align="left")
        await _play(stage, scene, failures)
    return failures


async def _play(stage: Stage, scene: Scene, failures: list[str]) -> None:
    """One call: what the phones showed and what the chat got is compared with what should have been."""
    stage.crm.fault = Fault.REFUSE if scene.crm_is_dead else None
    shown, cards = len(stage.pbx.displays), len(_finals(stage.telegram))
    await scene.play(stage.pbx)
    if scene.display is not None:
        seen = {each.name for each in stage.pbx.displays[shown:]}
        if seen != {scene.display}:
            failures.append(f"{scene.title}: на трубках {seen}, а должно быть «{scene.display}»")
    if not await _until(lambda: len(_finals(stage.telegram)) > cards, CARD_S):
        failures.append(f"{scene.title}: карточки в чате нет")
        return
    text = _finals(stage.telegram)[cards]
    _print_card(stage.console, text)
    failures.extend(f"{scene.title}: в карточке нет «{piece}»" for piece in scene.card if piece not in unescape(text))


def _finals(telegram: TelegramSandbox) -> list[str]:
    """The cards of finished calls, oldest first."""
    return [message.text for message in telegram.messages(company.CHAT_ID) if message.text.startswith(company.FINISHED)]


async def _customers(stage: Stage, failures: list[str]) -> None:
    stage.console.rule("Клиенты в базе", align="left")
    table = Table("номер", "имя", "компания", "вх.", "отв.", "проп.", "исх.", "последним говорил")
    expected = {
        company.PERSON: ("Тестов Тест", "", 1, 1, 0, 1),
        company.STRANGER: ("", "", 2, 1, 1, 0),
        company.CONTACT: ("Контактова Анна", "Ромашка", 2, 2, 0, 0),
    }
    for phone, facts in expected.items():
        customer = await stage.daemon.store.customers.customer("0901", phone)
        if customer is None or _facts(customer) != facts:
            failures.append(f"клиент {display(phone)}: {customer and _facts(customer)}, а должно быть {facts}")
        if customer:
            name, firm, *numbers = _facts(customer)
            last = customer.history.last_agent_internal or ""
            table.add_row(display(phone), str(name), str(firm), *(str(number) for number in numbers), last)
    stage.console.print(table)


def _facts(customer: Customer) -> tuple[str | int, ...]:
    history = customer.history
    return (
        customer.names.person,
        customer.names.enterprise_name,
        history.calls_total_in,
        history.calls_answered_in,
        history.calls_missed_in,
        history.calls_total_out,
    )


async def _stay(stage: Stage) -> None:
    """Calls for ever, for whoever wants to look around: `curl`, `psql`, another AMI client."""
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    stage.console.print(f"AMI 127.0.0.1:{stage.pbx.manager.port}, http://127.0.0.1:{stage.daemon.http_port}/metrics")
    stage.console.print("Звонки идут, Ctrl-C заканчивает.")
    turn = 0
    while not interrupted.is_set():
        await _play(stage, MORNING[turn % len(MORNING)], [])
        turn += 1


def _print_display(console: Console, shown: Display) -> None:
    console.print(f"  📟 трубка {shown.extension} звонит, на экране: «{shown.name or shown.number}»", markup=False)


def _print_card(console: Console, text: str) -> None:
    for line in unescape(sub(r"<[^>]+>", "", text)).splitlines():
        console.print(f"  │ {line}", markup=False)


async def _until(condition: Callable[[], bool], within_s: float) -> bool:
    """Wait for something that the daemon does by itself; False when it did not come."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  # what is awaited belongs to three servers
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
