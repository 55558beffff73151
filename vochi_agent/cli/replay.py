"""`vochi-agent replay`: a recorded stream through the daemon's own code, one JSON object a finished call."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from vochi_agent.asterisk.replay import replay_ami, replay_cel
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, CallFinished, CallProgress, CallUpdate
from vochi_agent.config import Config
from vochi_agent.errors import RemoteProtocolError

from .presentation import print_json_line
from .selection import add_enterprise, enterprise_of

BAD: Final = 2


def arguments(parser: argparse.ArgumentParser) -> None:
    """The recording, whose PBX it is, and how much to print."""
    recording = parser.add_mutually_exclusive_group(required=True)
    recording.add_argument("--ami", type=Path, metavar="FILE", help="a recorded AMI stream")
    recording.add_argument("--cel", type=Path, metavar="FILE", help="a file that cel_custom wrote")
    add_enterprise(parser)
    parser.add_argument("--phases", action="store_true", help="print start, dial, bridge and hangup too")


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when the file was read to its end."""
    enterprise = enterprise_of(config(), args.enterprise)
    layout = Layout(enterprise)
    try:
        if args.ami:
            _print(replay_ami(args.ami, layout), phases=args.phases)
        else:
            timezone = ZoneInfo(enterprise.timezone or "UTC")
            _print(replay_cel(args.cel, layout, timezone=timezone), phases=args.phases)
    except BrokenPipeError:
        raise  # of the output, not of the recording
    except (OSError, RemoteProtocolError) as error:
        print(f"{args.ami or args.cel}: {error}", file=sys.stderr)
        return BAD
    return 0


def _print(updates: Iterator[CallUpdate], *, phases: bool) -> None:
    """Finished calls by their end; a corrected one once, as it is in the end."""
    finished: dict[tuple[str, str], Call] = {}
    for update in updates:
        if isinstance(update, CallFinished):
            finished[update.call.enterprise_number, update.call.linkedid] = update.call
        elif isinstance(update, CallProgress):
            if phases:
                print_json_line(update.as_json())
        else:
            finished.pop((update.enterprise_number, update.linkedid), None)
    for call in sorted(finished.values(), key=lambda call: call.ended_at):
        printed: dict[str, object] = {"phase": "hangup", **call.as_json()} if phases else call.as_json()
        print_json_line(printed)
