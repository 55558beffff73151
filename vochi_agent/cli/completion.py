"""`vochi-agent completion SHELL`: what lets a shell complete the words of our commands."""

import argparse
from collections.abc import Callable

import shtab

from vochi_agent.config import Config

from . import whole_parser


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which shell."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="where it goes: docs/install.md")


def run(args: argparse.Namespace, _config: Callable[[], Config]) -> int:
    """0; reads no configuration."""
    print(shtab.complete(whole_parser(), shell=args.shell))
    return 0
