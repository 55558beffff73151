"""The pages for people: their links lead somewhere, what they name is there, and both languages name the same."""

import argparse
import re
import textwrap
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from vochi_agent.calls.model import Reason
from vochi_agent.cli import whole_parser
from vochi_agent.config import CRM_TABLES

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# Of English pages with a Russian one that tells all of it; docs/data.ru.md is a digest and says so.
TRANSLATED = sorted(
    page.with_name(page.name.replace(".ru.", "."))
    for page in (ROOT / "docs").glob("*.ru.md")
    if page.name != "data.ru.md"
)
TROUBLES = [ROOT / "docs/troubleshooting.md", ROOT / "docs/troubleshooting.ru.md"]
# What stands in place of a value, as the Russian pages say it.
PLACEHOLDERS = {
    "<внутренний>": "<extension>",
    "<линия>": "<line>",
    "<номер>": "<number>",
    "Имя": "Name",
    "ВРЕМЯ": "TIME",
    "ГОД/МЕСЯЦ/ДЕНЬ": "YEAR/MONTH/DAY",
    "ИМЯ": "NAME",
    "НОВЫЙ": "NEW",
    "НОМЕР": "NUMBER",
    "ПАПКА": "FOLDER",
    "ПАПКУ": "FOLDER",
    "ПОРТ": "PORT",
    "ТЕЛЕФОН": "PHONE",
    "ХОСТ": "HOST",
}
# Words of Asterisk's and nginx' own configuration.
OTHERS = {"proxy_pass", "send_pai"}

FENCED = re.compile(r"^ *```.*?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"(?:^|[;&|] |\$ |bin/)vochi-agent (?:-c \S+ )?([a-z][a-z-]*)((?: [^|;&]+)?)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without what it quotes in blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def code(page: Path) -> set[str]:
    """What a page gives as code: words in the text, lines of blocks without their comments."""
    lines = [line for block in FENCED.findall(page.read_text(encoding="utf-8")) for line in block.splitlines()]
    stripped = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return {*SPAN.findall(prose(page)), *filter(None, stripped)}


@cache
def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    dead = []
    for link in LINK.findall(SPAN.sub("", prose(page))):
        place, _, anchor = unquote(link).partition("#")
        target = (page.parent / place).resolve() if place else page
        if re.match(r"https?:|mailto:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)

    assert dead == []


@pytest.mark.parametrize("readme", ["README.md", "README.ru.md"])
def test_every_page_of_a_language_is_linked_from_its_readme(readme: str) -> None:
    ending = readme.removeprefix("README")
    pages = {page for page in (ROOT / "docs").glob(f"*{ending}") if page.name.count(".") == ending.count(".")}
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(prose(ROOT / readme))}

    assert pages - linked == set()


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: page.name)
def test_a_russian_page_names_every_key_and_command_of_its_english_one(page: Path) -> None:
    russian = set()
    for each in code(page.with_suffix(".ru.md")):
        for ours, theirs in PLACEHOLDERS.items():
            each = each.replace(ours, theirs)  # noqa: PLW2901 - one after the other
        russian.add(each)

    assert code(page) - russian == set()


@pytest.mark.parametrize("language", ["", ".ru"])
@pytest.mark.parametrize("crm", CRM_TABLES)
def test_the_page_of_a_crm_configures_it_with_keys_that_it_has(crm: str, language: str) -> None:
    page = (ROOT / f"docs/{crm}{language}.md").read_text(encoding="utf-8")
    tables = [
        textwrap.dedent(block) for block in re.findall(r"^ *```toml\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    ]
    given: set[str] = set()
    for table in tables:
        read = tomllib.loads(table)
        given |= (read["enterprises"]["crm"][crm] if "enterprises" in read else read).keys()

    assert given
    assert {key.removesuffix("_file") for key in given} <= CRM_TABLES[crm].model_fields.keys()


def cited(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The commands of ours that a page cites, by their name, and the options it gives them."""
    for words in code(page):
        for command, rest in COMMAND.findall(words):
            yield command, re.findall(r"(?<!\S)--[a-z-]+", rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_cites_exists_with_its_options(page: Path) -> None:
    (subparsers,) = (each for each in whole_parser()._actions if isinstance(each, argparse._SubParsersAction))
    known = {
        name: {option for action in _all_actions(parser) for option in action.option_strings}
        for name, parser in subparsers.choices.items()
    }
    unknown = [
        (command, option)
        for command, options in cited(page)
        for option in options or [""]
        if command not in known or (option and option not in known[command])
    ]

    assert unknown == []


def _all_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _all_actions(each)


@pytest.mark.parametrize("page", TROUBLES, ids=lambda page: page.name)
def test_troubleshooting_has_a_row_for_every_reason(page: Path) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)

    assert rows == [str(reason) for reason in Reason if str(reason) in rows]
    assert set(rows) == {str(reason) for reason in Reason}


@cache
def everything_said() -> str:
    """The program's own text, what it ships for Asterisk, its configuration."""
    files = [*(ROOT / "vochi_agent").rglob("*.py"), *(ROOT / "sql").rglob("*.sql"), ROOT / "config.example.toml"]
    files += [file for file in (ROOT / "dialplan").rglob("*") if file.is_file() and file.suffix != ".pyc"]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize("page", TROUBLES, ids=lambda page: page.name)
def test_troubleshooting_names_nothing_that_the_program_does_not_say(page: Path) -> None:
    """Actions of the log, keys, variables; a metric is known to the program without its namespace and ending."""
    names = {name for words in code(page) for name in re.findall(r"\b[A-Za-z]+_\w+\b", words)}
    bare = {name: re.sub(r"^vochi_|_total$", "", name) for name in names - OTHERS}

    assert [name for name, said in bare.items() if said not in everything_said()] == []


@pytest.mark.parametrize("readme", ["README.md", "README.ru.md"])
def test_a_readme_shows_a_handset_a_card_and_the_dashboard(readme: str) -> None:
    shown = re.findall(r"!\[[^]]+\]\(docs/pictures/([\w-]+)\.svg\)", (ROOT / readme).read_text(encoding="utf-8"))

    assert shown == ["handsets", "telegram", "dashboard"]
