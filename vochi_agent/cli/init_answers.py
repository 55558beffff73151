"""What `init` has to know that no PBX can tell, from options, else from the person, else by a default that is said."""

import argparse
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from zoneinfo import available_timezones

from phonenumbers import SUPPORTED_REGIONS

from vochi_agent.asterisk.discovery import FoundEndpoint, Kind, PbxFacts, agent_of, kinds_of
from vochi_agent.config import CRM_TABLES
from vochi_agent.errors import ConfigError

from .init_machine import country_of_zone, zones_of
from .init_person import Person

__all__ = ["Answers", "CrmAnswer", "FoundLine", "FoundPhone", "answers", "file_text"]

NUMBER: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
EXTENSION: Final = re.compile(r"[0-9]{2,5}")
CHAT: Final = re.compile(r"-?[0-9]{1,15}")
TOKEN: Final = re.compile(r"[0-9]+:[A-Za-z0-9_-]+")
# Shown to whoever calls and stored with every call: short.
LONGEST_TEXT: Final = 60
# Of these the API's address is the same for everybody.
KNOWN_URLS: Final = ("uon", "moysklad")
MAX_SECRET_BYTES: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLine:
    """A line to be: its endpoint and what people call it."""

    endpoint: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPhone:
    """An agent to be."""

    extension: str
    endpoint: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrmAnswer:
    """A CRM: its name as in the configuration, its address ("" for the only one there is), its key."""

    name: str
    url: str = ""
    user_id: str = ""
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Everything that the configuration is made of besides what the PBX said.

    Attributes:
        left_open: Sentences: what was not known and not asked for.
    """

    number: str
    name: str
    country: str
    timezone: str
    lines: tuple[FoundLine, ...]
    phones: tuple[FoundPhone, ...]
    crm: CrmAnswer | None = None
    token: str = field(default="", repr=False)
    chat: int | None = None
    left_open: tuple[str, ...] = ()


def answers(args: argparse.Namespace, pbx: PbxFacts, *, machine_zone: str) -> Answers:
    """Options first, then the person unless `--yes`, then defaults.

    Raises:
        ConfigError: an answer that cannot be, or one that is needed and was not given.
    """
    person = Person(asks=not args.yes)
    left_open: list[str] = []
    lines, phones = _endpoints(args, pbx, person, left_open)
    timezone = _timezone(args, pbx, person, machine_zone)
    country = person.word(
        "Country, two letters: how national numbers are read", args.country, option="--country",
        default=country_of_zone(timezone), allowed=_is_country,
    )  # fmt: skip
    number = person.word(
        "Number of the enterprise: the key of all that is stored", args.number, option="--number", default="0001",
        allowed=lambda text: bool(NUMBER.fullmatch(text)),
    )  # fmt: skip
    name = person.word(
        "Its name, for people", args.name, option="--name", default="", allowed=_is_text, needed=False
    )  # fmt: skip
    crm = _crm(args, person)
    token, chat = _telegram(args, person)
    return Answers(
        number=number,
        name=name,
        country=country,
        timezone=timezone,
        lines=lines,
        phones=phones,
        crm=crm,
        token=token,
        chat=chat,
        left_open=tuple(left_open),
    )


# ---------------------------------------------------------------- lines and telephones


def _endpoints(
    args: argparse.Namespace, pbx: PbxFacts, person: Person, left_open: list[str]
) -> tuple[tuple[FoundLine, ...], tuple[FoundPhone, ...]]:
    said_lines, said_phones = _pairs(args.line), _pairs(args.phone)
    kinds = kinds_of(pbx.endpoints)
    known = {each.name: each for each in pbx.endpoints}
    lines: list[FoundLine] = []
    phones: list[FoundPhone] = []
    for name in dict.fromkeys([*said_lines, *said_phones, *kinds]):
        endpoint = known.get(name, FoundEndpoint(name=name))
        kind = _kind(name, kinds.get(name, Kind.UNCLEAR), said_lines, said_phones, person)
        extension = said_phones.get(name) or agent_of(endpoint)
        if kind is Kind.LINE:
            lines.append(FoundLine(endpoint=name, label=_label(name, said_lines, person)))
        elif kind is Kind.PHONE and extension:
            phones.append(FoundPhone(extension=extension, endpoint=name, name=_cut(endpoint.name_shown)))
        else:
            left_open.append(f"{name} is left out: a line (--line {name}) or a telephone (--phone {name}=EXTENSION)?")
    phones = _one_each(phones, said_phones, left_open)
    _check_phones(phones)
    return tuple(lines), tuple(phones)


def _kind(
    name: str, found: Kind, lines: Collection[str], phones: Collection[str], person: Person
) -> Kind:  # fmt: skip
    if name in lines:
        return Kind.LINE
    if name in phones:
        return Kind.PHONE
    if found is not Kind.UNCLEAR:
        return found
    said = person.word(
        f"{name}: a line to outside, or neither?", None, option="--line", default="neither",
        allowed=lambda text: text in ("line", "neither"),
    )  # fmt: skip
    return Kind.LINE if said == "line" else Kind.UNCLEAR


def _label(name: str, said: Mapping[str, str], person: Person) -> str:
    if name in said:
        return said[name]
    return person.word(
        f"{name} is a line. What do people call it (shown on handsets and cards)?", None, option="--line",
        default="", allowed=_is_text, needed=False,
    )  # fmt: skip


def _pairs(values: list[str] | None) -> dict[str, str]:
    """`PJSIP/gsm1=МТС` -> endpoint and the rest."""
    pairs = {}
    for value in values or ():
        name, _, rest = value.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9]+/[!-~]+", name) or not _is_text(rest):
            raise ConfigError([f"{value!r}: needed: technology and endpoint, then = and a text: PJSIP/gsm1=МТС"])
        pairs[name] = rest
    return pairs


def _one_each(phones: list[FoundPhone], said: Collection[str], left_open: list[str]) -> list[FoundPhone]:
    """Without second telephones of somebody: endpoints that only show an extension which another one has."""

    def only_shows_it(phone: FoundPhone) -> bool:
        return phone.endpoint not in said and phone.endpoint.partition("/")[2] != phone.extension

    kept: dict[str, FoundPhone] = {}
    others: list[FoundPhone] = []
    for phone in sorted(phones, key=only_shows_it):
        first = kept.setdefault(phone.extension, phone)
        if first is not phone and only_shows_it(phone):
            left_open.append(f"{phone.endpoint} is left out: {phone.extension} is {first.endpoint}")
        elif first is not phone:
            others.append(phone)
    return [*kept.values(), *others]


def _check_phones(phones: list[FoundPhone]) -> None:
    problems = [
        f"--phone {each.endpoint}={each.extension}: an extension has 2 to 5 digits"
        for each in phones
        if not EXTENSION.fullmatch(each.extension)
    ]
    extensions = [each.extension for each in phones]
    for extension in sorted({each for each in extensions if extensions.count(each) > 1}):
        names = " and ".join(each.endpoint for each in phones if each.extension == extension)
        problems.append(f"{names} both are extension {extension}: say --phone ENDPOINT=EXTENSION for one of them")
    if problems:
        raise ConfigError(problems)


def _cut(text: str) -> str:
    return "".join(sign for sign in text if sign.isprintable())[:LONGEST_TEXT].strip()


# ---------------------------------------------------------------- where, CRM, Telegram


def _timezone(args: argparse.Namespace, pbx: PbxFacts, person: Person, machine_zone: str) -> str:
    likely = [zone for zone in (machine_zone,) if zone and not pbx.utc_offset] or zones_of(
        pbx.utc_offset, args.country or "", machine_zone
    )
    return person.word(
        "Time zone of the enterprise", args.timezone, option="--timezone", default=likely[0] if likely else "UTC",
        allowed=lambda text: text in available_timezones(),
    )  # fmt: skip


def _crm(args: argparse.Namespace, person: Person) -> CrmAnswer | None:
    name = person.word(
        f"CRM ({', '.join(CRM_TABLES)}; empty: none)", args.crm, option="--crm", default="",
        allowed=CRM_TABLES.__contains__, needed=False,
    )  # fmt: skip
    if not name:
        return None
    url = args.crm_url or ""
    if name not in KNOWN_URLS:
        url = person.word("Its address", args.crm_url, option="--crm-url", default="", allowed=_is_url)
    user_id = ""
    if name == "bitrix24":
        user_id = person.word(
            "Whose inbound webhook it is (user id)", args.crm_user, option="--crm-user", default="",
            allowed=str.isdecimal,
        )  # fmt: skip
    key = person.word(
        "Its key", file_text(args.crm_key_file, "--crm-key-file"), option="--crm-key-file", default="",
        allowed=_is_text, secret=True,
    )  # fmt: skip
    return CrmAnswer(name=name, url=url, user_id=user_id, key=key)


def _telegram(args: argparse.Namespace, person: Person) -> tuple[str, int | None]:
    token = person.word(
        "Token of the Telegram bot (empty: none)",
        file_text(args.telegram_token_file, "--telegram-token-file"), option="--telegram-token-file", default="",
        allowed=lambda text: bool(TOKEN.fullmatch(text)), needed=False, secret=True,
    )  # fmt: skip
    if not token:
        return "", None
    chat = person.word(
        "Id of the chat that is told of calls, such as -1001000000001 (empty: none yet)", args.chat, option="--chat",
        default="", allowed=lambda text: bool(CHAT.fullmatch(text)) and int(text) != 0, needed=False,
    )  # fmt: skip
    return token, int(chat) if chat else None


def file_text(file: Path | None, option: str) -> str | None:
    """The one line of a secret file; None when none is named."""
    if file is None:
        return None
    try:
        text = file.read_bytes()[: MAX_SECRET_BYTES + 1].decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError([f"{option} {file}: cannot be read: {getattr(exc, 'strerror', None) or exc}"]) from exc
    if not text or not text.isprintable() or len(text) > MAX_SECRET_BYTES:
        raise ConfigError([f"{option} {file}: needed: one line of text"])
    return text


def _is_text(text: str) -> bool:
    return text.isprintable() and len(text) <= MAX_SECRET_BYTES


def _is_url(text: str) -> bool:
    return bool(re.fullmatch(r"https?://[!-~]+", text))


def _is_country(text: str) -> bool:
    return text in SUPPORTED_REGIONS
