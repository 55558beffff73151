"""`vochi-agent watch`: the calls of any PBX in the terminal as they go on; it only reads and needs no configuration."""

import argparse
import asyncio
import getpass
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from vochi_agent.asterisk.watch import PbxWatch
from vochi_agent.config import AsteriskConfig, Config, ami_secret
from vochi_agent.customers.names import printable
from vochi_agent.errors import ConfigError
from vochi_agent.metrics import Metrics
from vochi_agent.telegram.text import Labels

from .live_board import LiveBoard
from .unconfigured import add_guesses, asterisk_at, guessed_layout, zone_from

UNREACHABLE: Final = 3
REDRAWN_EVERY_S: Final = 0.25
LONGEST_SECRET: Final = 4096
NARROWEST: Final = 46


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where the PBX is and who we are there. The secret is never said here: everybody sees a command line."""
    parser.add_argument("--ami", required=True, metavar="HOST[:PORT]", help="where its AMI listens")
    parser.add_argument("--user", default="vochi", metavar="NAME", help="of manager.conf (vochi)")
    parser.add_argument(
        "--secret-file",
        type=Path,
        metavar="FILE",
        help="holds the secret (else $VOCHI_AMI_SECRET, else it is asked for)",
    )
    add_guesses(parser)


def run(args: argparse.Namespace, _config: Callable[[], Config]) -> int:
    """0 when interrupted; 3 when the PBX cannot be reached at first, or refuses us."""
    asterisk = asterisk_at(args.ami, args.user, _secret(args.secret_file))
    layout, zone = guessed_layout(args.trunk, args.country, asterisk), zone_from(args.timezone)
    console = Console(highlight=False, soft_wrap=True)
    screen = _Terminal(console) if console.is_terminal else _Pipe()
    labels = Labels(agents={}, lines={}, timezone=zone)
    board = LiveBoard(labels, changed=screen.changed, finished=screen.finished)
    watch = PbxWatch(
        layout,
        asterisk,
        tell=board.tell,
        connected=lambda _: None,
        interrupted=lambda: screen.draw(board, f"{asterisk.ami}: not connected"),
        metrics=Metrics(),
        clock=time.time,
    )
    refusal = asyncio.run(_until_interrupted(watch, board, screen, asterisk))
    if refusal:
        print(printable(refusal), file=sys.stderr)
        return UNREACHABLE
    return 0


class _Screen(Protocol):
    """Where cards are shown.

    Attributes:
        unread: Whoever read it has gone.
    """

    unread: bool

    def changed(self, card: str) -> None:
        """A call went on."""
        ...

    def finished(self, card: str) -> None:
        """A call is over."""
        ...

    def draw(self, board: LiveBoard, state: str) -> None:
        """Everything as it is now; called often."""
        ...

    def open(self) -> None:
        """Begin."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class _Pipe:
    """Nobody can look back: each state of a call is printed as it comes."""

    def __init__(self) -> None:
        self.unread = False
        self._state = ""

    def changed(self, card: str) -> None:
        self._say(card)

    def finished(self, card: str) -> None:
        self._say(card)

    def draw(self, board: LiveBoard, state: str) -> None:
        del board
        if state != self._state:
            self._state = state
            self._say(state)

    def open(self) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """Nothing to put back."""

    def _say(self, text: str) -> None:
        try:
            print(_shown(text), end="\n\n", flush=True)
        except BrokenPipeError:
            self.unread = True  # said in the midst of an AMI event, where nothing may be raised


class _Terminal:
    """The calls that go on stand at the bottom and are drawn again; what is over scrolls up above them."""

    def __init__(self, console: Console) -> None:
        self.unread = False
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def changed(self, card: str) -> None:
        """It is drawn in time."""

    def finished(self, card: str) -> None:
        self._console.print(Text(_shown(card)), "", sep="\n")

    def draw(self, board: LiveBoard, state: str) -> None:
        cards = [Panel(Text(_shown(card)), width=min(self._console.width, NARROWEST)) for card in board.cards()]
        self._live.update(Group(*cards, Text(printable(state), style="dim")), refresh=True)

    def open(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()


async def _until_interrupted(watch: PbxWatch, board: LiveBoard, screen: _Screen, asterisk: AsteriskConfig) -> str:
    """Watch and draw; returns why the PBX never let us in, "" when somebody interrupted."""
    loop, interrupted = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    watching = loop.create_task(watch.run(), name="watch")
    screen.open()
    try:
        was_connected = False
        while not interrupted.is_set() and not watching.done():
            if screen.unread:
                raise BrokenPipeError
            state = watch.ami.state
            was_connected = was_connected or state.connected_since is not None
            if state.last_error and (state.login_refused or not was_connected):
                return state.last_error
            if state.connected_since is not None:
                screen.draw(board, f"{asterisk.ami}: watching as {asterisk.ami_username}")
            elif was_connected:
                # What is known of the calls that went on stays until the PBX says otherwise.
                screen.draw(board, f"{asterisk.ami}: not connected: {state.last_error or 'trying again'}")
            try:
                async with asyncio.timeout(REDRAWN_EVERY_S):
                    await interrupted.wait()
            except TimeoutError:
                continue
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        screen.close()
    if not watching.cancelled() and (error := watching.exception()):
        raise error
    return ""


def _secret(file: Path | None) -> str:
    """From the file, the environment, or a person.

    Raises:
        ConfigError: there is none.
    """
    if file is not None:
        try:
            with file.open(encoding="utf-8") as text:
                secret = text.read(LONGEST_SECRET).strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError([f"--secret-file {file}: cannot be read: {exc}"]) from exc
    else:
        secret = ami_secret() or _typed()
    if not secret or not secret.isprintable():
        raise ConfigError(["the AMI secret is missing or not one line; needed: --secret-file, or $VOCHI_AMI_SECRET"])
    return secret


def _typed() -> str:
    """What a person types before the terminal, "" when nobody does."""
    try:
        return getpass.getpass("AMI secret: ") if sys.stdin.isatty() else ""
    except EOFError:
        return ""


def _shown(card: str) -> str:
    return "\n".join(printable(line) for line in card.splitlines())
