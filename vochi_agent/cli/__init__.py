"""The commands of `vochi-agent`: one file each (`call-out` is call_out.py), imported only when it is asked for.

Exit codes: 0 done, 1 the answer is "no", 2 bad usage or configuration, 3 something outside is not reachable.
"""

import argparse
import errno
import importlib
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, Protocol, cast

from vochi_agent import __version__
from vochi_agent.config import Config, load
from vochi_agent.errors import ConfigError, NotReachable, PortTaken, VochiError
from vochi_agent.log import visible

__all__ = ["Command", "entry", "main", "whole_parser"]

NO, BAD, UNREACHABLE = 1, 2, 3

# Command -> what `--help` says of it; the module of the same name stands beside this file.
COMMANDS = {
    "run": "the daemon, in the foreground",
    "demo": "the whole product on this machine, with a simulated PBX, CRM and Telegram",
    "init": "ask the PBX and write a configuration, and the files for Asterisk",
    "check": "validate the configuration without connecting anywhere",
    "doctor": "connect to everything configured and say what is wrong and how to mend it",
    "status": "what the running daemon sees",
    "lookup": "the name as a handset would show it",
    "calls": "the ledger of calls",
    "call": "one call",
    "call-out": "ring an agent's phone, then call a number from it",
    "invite": "a link by which a person signs up with the Telegram bot as an extension",
    "customer": "one customer with all numbers and counters",
    "erase": "forget a person: --dry-run shows what is there, --log what was erased",
    "phonebook": "import names from a CSV or vCard file",
    "audit": "compare the customers' counters with their calls; --fix mends them",
    "backfill": "build the customers' counters again from their calls",
    "top": "customers by number of calls",
    "migrate": "bring the database to this version",
    "outbox": "finished calls that wait for CRMs; --retry lets refused ones be tried again",
    "crm": "set up what a CRM has to know of us",
    "replay": "read a recorded AMI stream as the daemon would",
    "dialplan": "print what Asterisk needs to know of us, for this configuration",
    "record": "write the live AMI stream to a file",
    "simulate": "play a PBX for the running daemon, as a scenario says",
    "watch": "the calls of a PBX as they go on, in the terminal; needs no configuration",
    "report": "who was missed and never called back, from the PBX's own CDR",
    "recover": "store the calls that only the PBX's own records know",
    "completion": "print what lets a shell complete the words of these commands",
}


class Command(Protocol):
    """What a command's module has."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its arguments."""
        ...

    def run(self, args: argparse.Namespace, config: Callable[[], Config]) -> int:
        """Do it; returns the exit code. `config` loads the configuration when it is needed."""
        ...


def entry() -> NoReturn:
    """The process: `main`, and an end that no thread can spoil."""
    _open_streams()
    code = main()
    if any(thread.daemon for thread in threading.enumerate()):
        # A long import that nobody waits for (telegram/aside.py). Python would end its thread in the middle of native
        # code, for which glibc aborts the whole process: leave before that.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (the process's own arguments) names; returns the exit code."""
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            # Python's own attempt at the end could neither be answered nor keep its exit code.
            sys.stdout.flush()
    except ConfigError as error:
        for problem in error.problems:
            _complain(problem)
        return BAD
    except PortTaken as error:
        _complain(error)
        return BAD
    except NotReachable as error:
        _complain(error)
        return UNREACHABLE
    except VochiError as error:
        _complain(error)
        return NO
    except KeyboardInterrupt:
        return NO
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough.
        _print_no_more()
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _complain(error)
        _print_no_more()
        return UNREACHABLE


def _complain(problem: object) -> None:
    """Say what is wrong, in whosever words."""
    print(visible(str(problem)), file=sys.stderr)


def _run(arguments: list[str]) -> int:
    parser, commands = _parser()
    chosen = next((word for word in arguments if word in COMMANDS), None)
    command = None
    if chosen is not None:
        command = _command(chosen)
        command.arguments(commands[chosen])
    args = parser.parse_args(arguments)
    if command is None or args.command != chosen:
        parser.print_help(sys.stderr)
        return BAD
    # Until a command sets up the log, warnings of the parts it uses must not mix with what it prints.
    logging.getLogger().addHandler(logging.NullHandler())
    return command.run(args, lambda: load(args.config))


def _open_streams() -> None:
    """Streams of which every command may think that they are there and take every text.

    One that our parent has closed is opened on nothing, before a file or a connection gets its number. A terminal that
    is not of UTF-8 shows `?` for what it does not have; of what is typed there, what is no UTF-8 is no printable text.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - it lives as long as the process
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "replace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _print_no_more() -> None:
    """What is still in the buffer goes nowhere, and Python does not complain again while it shuts down."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def whole_parser() -> argparse.ArgumentParser:
    """Every command with all of its arguments: for the completion of shells and for the manual page."""
    parser, commands = _parser()
    for name, its_parser in commands.items():
        _command(name).arguments(its_parser)
    return parser


def _command(name: str) -> Command:
    return cast("Command", importlib.import_module(f"{__name__}.{name.replace('-', '_')}"))


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(prog="vochi-agent", description="A companion daemon for Asterisk.")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="the configuration (default: $VOCHI_CONFIG)")
    parser.add_argument("--version", action="version", version=f"vochi-agent {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    return parser, {name: subparsers.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
