"""`vochi-agent dialplan print`: what Asterisk needs to know of us, for the configuration at hand. Prints no secret."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from vochi_agent.asterisk.packs import FLAVOURS, render
from vochi_agent.config import Config
from vochi_agent.errors import ConfigError

from .selection import add_enterprise, enterprise_of

RULE: Final = ";" + "=" * 100


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which product, which of its files, and where to."""
    parser.add_argument("action", choices=("print",), help="write the files of a pack")
    parser.add_argument("--flavour", choices=tuple(FLAVOURS), default="plain", help="the PBX's product (plain)")
    parser.add_argument("--file", metavar="NAME", help="only this file of the pack, such as extensions.conf")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="write files there instead; none is overwritten")
    parser.add_argument(
        "--address", default="", metavar="IP:PORT", help="where the PBX reaches our FastAGI (fastagi.listen)"
    )
    add_enterprise(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when everything was printed or written."""
    loaded = config()
    files = render(args.flavour, loaded, enterprise_of(loaded, args.enterprise), args.address)
    if args.file is not None:
        if args.file not in files:
            raise ConfigError([f"--file {args.file!r}: {args.flavour} has {', '.join(files)}"])
        files = {args.file: files[args.file]}
    if args.to is not None:
        _write(files, args.to)
    elif args.file is not None:
        sys.stdout.write(files[args.file])
    else:
        for name, text in files.items():
            sys.stdout.write(f"{RULE}\n; {name}\n{RULE}\n{text}\n")
    return 0


def _write(files: Mapping[str, str], folder: Path) -> None:
    """None over another: what an administrator has written is his."""
    places = {folder / name: text for name, text in files.items()}
    try:
        if taken := [place for place in places if place.exists()]:
            raise ConfigError([f"{place} exists; nothing was written" for place in taken])
        folder.mkdir(parents=True, exist_ok=True)
        for place, text in places.items():
            place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{folder}: {error.strerror or error}"]) from error
    for place in places:
        print(place)
