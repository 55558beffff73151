"""`vochi-agent record`: the live AMI stream into a file that `replay` reads, until somebody interrupts."""

import argparse
import asyncio
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from vochi_agent.asterisk.ami import AmiPeer
from vochi_agent.asterisk.masking import Mask
from vochi_agent.asterisk.recorder import Recorder, record
from vochi_agent.config import Config, Enterprise
from vochi_agent.customers.names import printable
from vochi_agent.errors import LoginRefused

from .selection import add_enterprise, enterprise_of

UNREACHABLE: Final = 3
BAD: Final = 2
# Numbers and names of customers: nobody else's business.
OWNER_ONLY: Final = 0o600


def arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and what of it strangers may see."""
    parser.add_argument("file", type=Path, metavar="FILE", help="written anew")
    parser.add_argument(
        "--mask",
        action="store_true",
        help="hide numbers and names and keep their shape; what your configuration names stays as it is",
    )
    add_enterprise(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when interrupted; 3 when the PBX ends the connection or refuses it."""
    enterprise = enterprise_of(config(), args.enterprise)
    try:
        with _created(args.file) as stream:
            recorder = Recorder(stream, Mask(enterprise) if args.mask else None, time.time)
            asyncio.run(_until_interrupted(enterprise, recorder))
    except OSError as error:
        print(f"{args.file}: {error.strerror or error}", file=sys.stderr)
        return BAD
    except LoginRefused as error:
        print(printable(str(error)), file=sys.stderr)
        return UNREACHABLE
    print(f"{recorder.events} events in {args.file}", file=sys.stderr)
    return 0


def _created(path: Path) -> BinaryIO:
    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags, OWNER_ONLY)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, OWNER_ONLY)  # also one that was there before
        return descriptor

    return open(path, "wb", opener=opener)


async def _until_interrupted(enterprise: Enterprise, recorder: Recorder) -> None:
    asterisk = enterprise.asterisk
    peer = AmiPeer(
        host=asterisk.ami.host,
        port=asterisk.ami.port,
        username=asterisk.ami_username,
        secret=asterisk.ami_secret.get_secret_value(),
    )
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as interruption:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, lambda: interruption.reschedule(loop.time()))
            await record(peer, recorder)
    except TimeoutError:
        return
