"""`vochi-agent run`: the daemon, in the foreground, until SIGTERM or SIGINT."""

import argparse
import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import uvloop

from vochi_agent.config import Config, secret_values, waiting_for_restart
from vochi_agent.daemon import Daemon, assembled
from vochi_agent.errors import ConfigError
from vochi_agent.lifetime import living
from vochi_agent.log import set_level, set_up
from vochi_agent.systemd import Notifier

log = logging.getLogger(__name__)

# What the interpreter gets to end threads and close the event loop.
LEAVE_S: Final = 1.0


def arguments(_parser: argparse.ArgumentParser) -> None:
    """None."""


def run(_args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 after an orderly stop; a port that is taken and a broken configuration are `main`'s to say."""
    loaded = config()
    set_up(
        level=loaded.log.level,
        format=loaded.log.format,
        mask_phones=loaded.log.mask_phones,
        secrets=secret_values(loaded),
    )
    try:
        uvloop.run(_until_stopped(loaded, config))
    except ExceptionGroup as group:
        # Some mistakes show only when a part is at work: an address of the database that the driver cannot read.
        mistakes, bugs = group.split(ConfigError)
        if mistakes is None or bugs is not None:
            raise
        raise ConfigError(list(dict.fromkeys(_problems(mistakes)))) from None
    return 0


def _problems(group: ExceptionGroup[ConfigError]) -> Iterator[str]:
    for each in group.exceptions:
        yield from _problems(each) if isinstance(each, ExceptionGroup) else each.problems


async def _until_stopped(config: Config, load_again: Callable[[], Config]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # Unhandled it would end the process; until there is a daemon to reload it is kept.
    early = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, early.set)
    async with assembled(config) as daemon, living(daemon) as notifier:
        reload = partial(_reload, daemon, notifier, load_again)
        loop.add_signal_handler(signal.SIGHUP, reload)
        if early.is_set():
            reload()
        await stop.wait()
    # Everything is stored and closed. A thread that still asks a silent name server would hold us up for half a minute.
    leave = threading.Timer(LEAVE_S, os._exit, (0,))
    leave.daemon = True
    leave.start()


def _reload(daemon: Daemon, notifier: Notifier, load_again: Callable[[], Config]) -> None:
    """SIGHUP: lines, agents and chats anew. A broken configuration is refused and the old one stays."""
    notifier.reloading()
    status = "the new configuration is refused, the old one stays"
    try:
        config = load_again()
        daemon.reload(config)
        set_level(config.log.level)
        status = "lines, agents and chats are read again"
        log.info("%s", status, extra={"action": "reloaded"})
        if waiting := waiting_for_restart(daemon.config, config):
            named = ", ".join(waiting)
            log.warning("what has changed here counts after a restart: %s", named, extra={"action": "restart_needed"})
    except ConfigError as error:
        for problem in error.problems:
            log.error("the new configuration is refused: %s", problem, extra={"action": "reload_refused"})  # noqa: TRY400
    finally:
        notifier.ready(status)  # whatever came of it: systemd waits for this word for ever
