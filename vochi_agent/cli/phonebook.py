"""`vochi-agent phonebook import FILE`: names from a table or from cards, counted and complained of line by line."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Final

from vochi_agent.config import Config, Enterprise
from vochi_agent.customers.phonebook import Parsed, encoding_of, read_lines
from vochi_agent.customers.phonebook_csv import NoPhoneColumn, read_csv
from vochi_agent.customers.phonebook_vcard import read_vcards
from vochi_agent.errors import ConfigError
from vochi_agent.phonebook_import import Counted, import_phonebook

from .presentation import GrowingList, add_json, print_facts, progress_bar
from .selection import add_enterprise, enterprise_of
from .stored import prepared_store

NO: Final = 1
COLUMNS: Final = (("line", "line", 6), ("why", "why", 0))
TABLES: Final = frozenset({".csv", ".txt", ".tsv"})
CARDS: Final = frozenset({".vcf", ".vcard"})
CHUNK: Final = 1 << 16
# Half a million people without their photographs; the numbers that were seen are kept in memory.
LARGEST: Final = 256 << 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to import, and whether to do it."""
    parser.usage = "vochi-agent phonebook import [--dry-run] [--enterprise N] [--json] FILE"
    parser.add_argument("action", choices=["import"])
    parser.add_argument("file", type=Path, metavar="FILE", help="a .csv with headings, or a .vcf")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add_enterprise(parser)
    add_json(parser)
    parser.epilog = (
        "CSV: separated by semicolons, commas or tabs, with a line of headings in Russian or English: фамилия, имя, "
        "отчество, ФИО, компания, телефон; last name, first name, name, company, phone. vCard 2.1, 3.0, 4.0. "
        "In UTF-8, UTF-16 or CP1251. Exit code 1 when a line was skipped."
    )


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when every line was used, 1 when some were skipped."""
    loaded = config()
    enterprise = enterprise_of(loaded, args.enterprise)
    complaints = GrowingList(COLUMNS, as_json=args.json, key="lines")
    try:
        with args.file.open("rb") as file:
            counted = asyncio.run(_import(loaded, enterprise, file, complaints, dry_run=args.dry_run))
    except OSError as exc:
        raise ConfigError([f"{args.file}: {exc.strerror}"]) from exc
    except NoPhoneColumn as exc:
        raise ConfigError([f"{args.file}: none of the headings is that of telephone numbers: {exc}"]) from exc
    if args.json:
        complaints.close(asdict(counted))
    else:
        print_facts((name, str(value)) for name, value in asdict(counted).items())
        if args.dry_run:
            print("Nothing was changed.", file=sys.stderr)
    return NO if counted.skipped else 0


async def _import(
    config: Config, enterprise: Enterprise, file: BinaryIO, complaints: GrowingList, *, dry_run: bool
) -> Counted:
    size = file.seek(0, 2)
    if size > LARGEST:
        raise ConfigError([f"{file.name}: is larger than {LARGEST >> 20} MiB; import it in parts"])
    encoding = encoding_of(_chunks(file))
    if encoding is None:
        raise ConfigError(
            [f"{file.name}: is neither UTF-8 nor UTF-16 nor Russian in CP1251; save it as UTF-8. Nothing was changed."]
        )
    parsed = _parsed(file, encoding)
    first = list(islice(parsed, 1))  # a file that is no phonebook is refused before anything is opened
    async with prepared_store(config) as store:
        with progress_bar("bytes") as bar:
            task = bar.add_task(enterprise.number, total=size)
            return await import_phonebook(
                chain(first, parsed),
                store.phonebook,
                enterprise,
                dry_run=dry_run,
                complain=lambda broken: complaints.add(broken.line, broken.why),
                progress=lambda: bar.update(task, completed=file.tell()),
            )


def _parsed(file: BinaryIO, encoding: str) -> Iterator[Parsed]:
    lines = read_lines(_chunks(file), encoding)
    return read_vcards(lines) if _is_cards(file) else read_csv(lines)


def _is_cards(file: BinaryIO) -> bool:
    suffix = Path(file.name).suffix.lower()
    if suffix not in TABLES | CARDS:
        raise ConfigError([f"{file.name}: its name ends neither in .csv nor in .vcf"])
    return suffix in CARDS


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(CHUNK):
        yield chunk
