"""The kinds of values a configuration holds, each with the sentence that says what is allowed.

Invariant: a value that is not allowed becomes one error of type `NOT_ALLOWED` that carries that sentence, whatever
was wrong with it; nothing of pydantic's own wording reaches people.
"""

import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from phonenumbers import SUPPORTED_REGIONS
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    SecretStr,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)
from pydantic_core import core_schema

NOT_ALLOWED = "not_allowed"
MAX_PORT = 65535
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 5, 86_400
NEWS_DAYS = 7

# What older data call them (contract: "in old data `retail` is read as `retailcrm`").
SOURCE_ALIASES: Mapping[str, str] = {"retail": "retailcrm"}
SOURCES = (
    "retailcrm",
    "uon",
    "moysklad",
    "bitrix24",
    "amocrm",
    "yclients",
    "altegio",
    "1c",
    "easyweek",
    "phonebook",
    "manual",
)


class Address(NamedTuple):
    """A host and a TCP port; prints as `127.0.0.1:5038` or `[::1]:5038`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Annotates a type with what is allowed; any failure of the type becomes one error that says `text`."""

    text: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Wrap the schema of the annotated type."""
        return core_schema.custom_error_schema(handler(source), NOT_ALLOWED, custom_error_message=self.text)


def _parsed(parse: Callable[[str], object], kind: type | tuple[type, ...]) -> PlainValidator:
    """Accepts a text that `parse` understands, or a `kind` parsed before (configurations built in Python)."""

    def validate(value: object) -> object:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, kind):
            return value
        raise ValueError(value)

    return PlainValidator(validate)


def _checked(is_allowed: Callable[[str], bool]) -> AfterValidator:
    def validate(text: str) -> str:
        if not is_allowed(text):
            raise ValueError(text)
        return text

    return AfterValidator(validate)


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > MAX_PORT:
        raise ValueError(text)
    if ":" in bare:
        if bare == host:  # an IPv6 address without its brackets: which colon starts the port?
            raise ValueError(text)
        ipaddress.IPv6Address(bare)
    elif not re.fullmatch(r"[A-Za-z0-9._-]+", bare):
        raise ValueError(text)
    return Address(bare, int(port))


def _listen_address(text: str) -> Address:
    address = _address(text)
    ipaddress.ip_address(address.host)
    return address


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _is_timezone(key: str) -> bool:
    try:
        zoneinfo.ZoneInfo(key)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _or_empty(is_allowed: Callable[[str], bool]) -> AfterValidator:
    return _checked(lambda text: not text or is_allowed(text))


def _is_url(*schemes: str) -> Callable[[str], bool]:
    def is_allowed(text: str) -> bool:
        try:
            parts = urlsplit(text)
            return parts.scheme in schemes and bool(parts.hostname) and text.isprintable() and " " not in text
        except ValueError:  # urlsplit: an unclosed [ of an IPv6 address
            return False

    return is_allowed


def _is_database(text: str) -> bool:
    # postgresql:///vochi has no host: the local socket, so only the scheme is known for certain.
    return text == "embedded" or text.startswith(("postgresql://", "postgres://"))


def _is_record_place(text: str) -> bool:
    return "://" not in text or text.startswith(("postgresql://", "mysql://"))


def _unaliased(name: object) -> object:
    return SOURCE_ALIASES.get(name, name) if isinstance(name, str) else name


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _bot_token(token: SecretStr) -> SecretStr:
    if token and not re.fullmatch(r"[0-9]+:[A-Za-z0-9_-]+", token.get_secret_value()):
        raise ValueError
    return token


def _one_line_secret(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().isprintable():
        raise ValueError
    return secret


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(text)
    return path


def _nonzero(number: int) -> int:
    if number == 0:
        raise ValueError(number)
    return number


def _pause_or_never(seconds: float) -> float:
    if seconds and not SHORTEST_PAUSE_S <= seconds <= LONGEST_PAUSE_S:
        raise ValueError("out of range")
    return seconds


def _after_news(days: int) -> int:
    if 0 < days <= NEWS_DAYS:
        raise ValueError("out of range")
    return days


def _frozen(values: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(values))


# --- plain values ---
Text = Annotated[StrictStr, _checked(str.isprintable), Allowed("one line of text in quotes")]
Name = Annotated[
    StrictStr, _checked(lambda text: bool(text.strip()) and text.isprintable()), Allowed("a text in quotes")
]
Flag = Annotated[StrictBool, Allowed("true or false")]
Secret = Annotated[SecretStr, AfterValidator(_one_line_secret), Allowed("one line of text in quotes")]
RequiredSecret = Annotated[
    SecretStr, Field(min_length=1), AfterValidator(_one_line_secret), Allowed("one line of text in quotes, not empty")
]
BotToken = Annotated[
    SecretStr, AfterValidator(_bot_token), Allowed("a bot token as BotFather gives it: digits, a colon, letters")
]
AbsolutePath = Annotated[Path, _parsed(_absolute, Path), Allowed("an absolute path, such as /var/lib/vochi-agent")]
PathText = Annotated[StrictStr, _checked(str.isprintable), Allowed("a path in quotes, empty for none")]
Timezone = Annotated[StrictStr, _checked(_is_timezone), Allowed("a time zone, such as Europe/Minsk")]
OptionalTimezone = Annotated[
    StrictStr, _or_empty(_is_timezone), Allowed("a time zone, such as Europe/Minsk, empty for that of [daemon]")
]
ContactRule = Annotated[Literal["nothing", "contact"], Allowed("nothing, contact")]
ContactOrLeadRule = Annotated[Literal["nothing", "contact", "lead"], Allowed("nothing, contact, lead")]
TaskMinutes = Annotated[StrictInt, Field(ge=0, le=10_080), Allowed("minutes, from 1 to 10080, or 0 for none")]
PhonePrefix = Annotated[
    StrictStr, Field(pattern=r"^\+[1-9][0-9]{0,13}$"), Allowed('the beginning of a number in E.164, such as "+375"')
]
AccountTimezone = Annotated[
    StrictStr, _or_empty(_is_timezone), Allowed("a time zone, such as Europe/Minsk, empty for that of the enterprise")
]
Country = Annotated[
    StrictStr,
    _checked(SUPPORTED_REGIONS.__contains__),
    Allowed("a country's two capital letters (ISO 3166), such as BY or RU"),
]
Instance = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9_]{1,16}$"), Allowed("1 to 16 letters and digits")]

# --- addresses ---
ListenAddress = Annotated[
    Address,
    _parsed(_listen_address, Address),
    Allowed('a literal IP address and a port, such as "127.0.0.1:4577" or "[::1]:4577"'),
]
HostAndPort = Annotated[
    Address, _parsed(_address, Address), Allowed('a host and a port, such as "127.0.0.1:5038" or "[::1]:5038"')
]
Network = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    _parsed(_network, (ipaddress.IPv4Network, ipaddress.IPv6Network)),
    Allowed('an IP address or a network, such as "127.0.0.0/8" or "::1/128"'),
]
HttpUrl = Annotated[StrictStr, _checked(_is_url("http", "https")), Allowed("an http:// or https:// address")]
OptionalHttpUrl = Annotated[
    StrictStr, _or_empty(_is_url("http", "https")), Allowed("an http:// or https:// address, empty for none")
]
ProxyUrl = Annotated[
    StrictStr,
    _or_empty(_is_url("http", "socks5")),
    Allowed("a socks5:// or http:// address, empty for none"),
]
DatabaseUrl = Annotated[StrictStr, _checked(_is_database), Allowed('"embedded" or a postgresql:// address')]
RecordPlace = Annotated[
    StrictStr, _checked(_is_record_place), Allowed("a file, a postgresql:// or a mysql:// address, empty for none")
]

# --- telephony ---
EnterpriseNumber = Annotated[
    StrictStr, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$"), Allowed('letters and digits in quotes, such as "0901"')
]
LineId = Annotated[StrictStr, Field(pattern=r"^[!-~]{1,64}$"), Allowed('a text without spaces, such as "0001701"')]
Endpoint = Annotated[
    StrictStr, Field(pattern=r"^[A-Za-z0-9]+/[!-~]+$"), Allowed('technology and endpoint, such as "PJSIP/gsm1"')
]
OptionalEndpoint = Annotated[
    StrictStr,
    Field(pattern=r"^([A-Za-z0-9]+/[!-~]+)?$"),
    Allowed('technology and endpoint, such as "PJSIP/151", empty for the default'),
]
Extension = Annotated[StrictStr, Field(pattern=r"^[0-9]{2,5}$"), Allowed('2 to 5 digits in quotes, such as "151"')]
OptionalExtension = Annotated[
    StrictStr, Field(pattern=r"^([0-9]{2,5})?$"), Allowed('2 to 5 digits in quotes, such as "300", empty for none')
]
PhoneNumber = Annotated[
    StrictStr,
    Field(pattern=r"^(\+[1-9][0-9]{6,14})?$"),
    Allowed('a number with + and country code, such as "+375290000901", empty for none'),
]
Did = Annotated[StrictStr, Field(pattern=r"^[!-~]{1,64}$"), Allowed('a dialled number in quotes, such as "0001701"')]
DialPrefix = Annotated[StrictStr, Field(pattern=r"^[0-9*#+]{0,16}$"), Allowed("digits in quotes, empty for none")]
NumberRule = Annotated[
    StrictStr,
    Field(pattern=r"^(\+?[0-9]{1,15})?\{[0-9]{1,2}\}$"),
    Allowed('a prefix and how many last digits follow it, such as "+375{9}"'),
]
NumberRules = Annotated[tuple[NumberRule, ...], BeforeValidator(_one_or_many)]
NamePart = Annotated[
    Literal["customer", "company", "person", "number", "line", "shop"],
    Allowed("customer, company, person, number, line, shop"),
]
RouteStep = Annotated[
    Literal["responsible", "last_agent", "first_agent"], Allowed("responsible, last_agent, first_agent")
]
CallerPattern = Annotated[
    StrictStr,
    Field(pattern=r"^(hidden|\+[0-9]{7,15}|\+[0-9]{0,14}\*)$"),
    Allowed('a number such as "+375290000011", the beginning of numbers such as "+7900*", or "hidden"'),
]
CallDirection = Annotated[Literal["in", "out", "internal"], Allowed("in, out, internal")]
Badge = Annotated[Literal["new", "repeated", "black_list"], Allowed("new, repeated, black_list")]
Charset = Annotated[Literal["utf-8", "latin", "ascii"], Allowed("utf-8, latin, ascii")]
Source = Annotated[StrictStr, BeforeValidator(_unaliased), _or_empty(SOURCES.__contains__), Allowed(", ".join(SOURCES))]
AccountId = Annotated[
    StrictStr, Field(pattern=r"^[0-9]{0,20}$"), Allowed("the account's id, digits in quotes, empty for any")
]
ModuleCode = Annotated[
    StrictStr,
    Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]{0,62})?$"),
    Allowed('letters, digits, - and _, such as "vochi-0901", empty for none'),
]
Subdomain = Annotated[
    StrictStr,
    Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9-]{0,62})?$"),
    Allowed('what stands before .u-on.ru in the cabinet\'s address, such as "id12345", empty for any'),
]
UserId = Annotated[StrictStr, Field(pattern=r"^[0-9]{0,20}$"), Allowed("a user's id, digits in quotes, empty for none")]
Uuid = Annotated[
    StrictStr,
    Field(pattern=r"^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})?$"),
    Allowed("an id of five groups of digits and letters a to f, empty for any"),
]
Word = Annotated[
    StrictStr, Field(pattern=r"^[A-Za-z0-9]{0,64}$"), Allowed("letters and digits in quotes, empty for any")
]
CrmAgents = Annotated[Mapping[StrictStr, Extension], AfterValidator(_frozen)]

# --- choices and quantities ---
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], Allowed("debug, info, warning, error")]
LogFormat = Annotated[Literal["json", "console"], Allowed("json, console")]
QuietHours = Annotated[
    StrictStr,
    Field(pattern=r"^((?:[01][0-9]|2[0-3]):[0-5][0-9]-(?:[01][0-9]|2[0-3]):[0-5][0-9])?$"),
    Allowed('from and to, such as "22:00-08:00", empty for none'),
]
UpdatesMode = Annotated[Literal["polling", "webhook", "off"], Allowed("polling, webhook, off")]
RecordingMode = Annotated[Literal["none", "link", "audio"], Allowed("none, link, audio")]
CardMode = Annotated[Literal["auto", "edit", "resend"], Allowed("auto, edit, resend")]
PoolSize = Annotated[StrictInt, Field(ge=1, le=100), Allowed("a whole number from 1 to 100")]
SpoolSize = Annotated[StrictInt, Field(ge=1, le=10_000), Allowed("mebibytes, a whole number from 1 to 10000")]
Days = Annotated[StrictInt, Field(ge=0, le=36_500), Allowed("whole days, from 1 to 36500, or 0 for ever")]
# CRMs are told of calls that ended within a week, chats within a day: what is younger is still looked up.
DaysAfterNews = Annotated[
    StrictInt,
    Field(ge=0, le=36_500),
    AfterValidator(_after_news),
    Allowed("whole days, from 8 to 36500, or 0 for ever"),
]
# The dialplan leaves a mute server after 2.0 s (contract §3): a later answer would never be heard.
AgiDeadline = Annotated[StrictFloat, Field(ge=0.1, le=1.9), Allowed("seconds, from 0.1 to 1.9")]
CrmTimeout = Annotated[StrictFloat, Field(ge=0.1, le=60), Allowed("seconds, from 0.1 to 60")]
RequestRate = Annotated[StrictFloat, Field(ge=0.1, le=1000), Allowed("requests a second, from 0.1 to 1000")]
HistoryPeriod = Annotated[
    StrictFloat, AfterValidator(_pause_or_never), Allowed("seconds, from 5 to 86400, or 0 for never")
]
RingSeconds = Annotated[StrictInt, Field(ge=1, le=600), Allowed("whole seconds, from 1 to 600")]
NameWidth = Annotated[StrictInt, Field(ge=1, le=255), Allowed("a whole number from 1 to 255")]
# Telegram: a chat id has at most 52 significant bits.
ChatId = Annotated[
    StrictInt,
    Field(gt=-(2**52), lt=2**52),
    AfterValidator(_nonzero),
    Allowed("the chat's id, a whole number without quotes, such as -1001000000001"),
]
TopicId = Annotated[StrictInt, Field(ge=0, lt=2**52), Allowed("a topic's number, 0 for none")]
