"""Logging to stdout: one line a record, JSON or for the eye.

Invariants: whatever text a record carries, it stays on its line, is bounded and shows no control character; above DEBUG
phone numbers are masked; a known secret is never printed.
"""

import json
import logging
import math
import re
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, TextIO
from urllib.parse import quote, quote_plus

__all__ = ["about_call", "hide", "linkedid", "set_level", "set_up", "visible"]

# The call in hand; every record of its tasks carries it.
linkedid: ContextVar[str] = ContextVar("linkedid", default="")

# Shorter ones would be found inside ordinary words.
MIN_SECRET_LENGTH = 6
# Tokens that were bought while we run: the last ones, an account buys one an hour at most.
MOST_LEARNED: Final = 100
# Signs of a message, a field, a traceback: what a stranger says must not fill the disk.
MAX_TEXT: Final = 16_000

# Secrets that came after `set_up`.
_learned: deque[str] = deque(maxlen=MOST_LEARNED)

# What a record has before anybody's `extra`.
STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Libraries whose INFO is a line a request.
CHATTY = ("aiogram", "aiohttp.access", "asyncio")

# A linkedid or uniqueid (epoch.counter) and a Telegram supergroup's id stay; other runs of 9 digits and more, and
# anything written as +375 (29) 000-00-01 or 8 (029) 000-00-01, are taken for phones.
PHONE = re.compile(
    r"""
      (?P<kept> (?<!\d)[12]\d{9}\.\d+ | (?<!\d)-100\d{10}(?!\d) )
    | (?P<phone>
          \+\d[\d()\s-]{6,}\d
        | (?<!\.)(?<!\d)\d{9,}
        | (?<![\d.-])(?:\d[ -]?)?\(?\d{2,4}\)?[ -]?\d{3}[ -]\d{2}[ -]\d{2}(?![\d.-])
      )
    """,
    re.VERBOSE,
)


def set_up(
    *,
    level: str,
    format: str,  # noqa: A002 - the name of the configuration key
    mask_phones: bool,
    secrets: Collection[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send every record of this process to one stream; a second call replaces the first.

    Args:
        level: debug, info, warning or error.
        format: json or console.
        mask_phones: Hide phone numbers in records above DEBUG.
        secrets: Values that are replaced by `***` wherever they turn up, an exception's text for one.
        stream: Where to; stdout when None.
    """
    formatter = _JsonFormatter if format == "json" else _ConsoleFormatter
    handler = logging.StreamHandler(stream or sys.stdout)
    _learned.clear()
    handler.setFormatter(formatter(_Censor(mask_phones=mask_phones, secrets=secrets)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.captureWarnings(capture=True)
    set_level(level)


def hide(*secrets: str) -> None:
    """Replace these too from here on: what was not a secret of the configuration, such as a token just bought."""
    _learned.extend(secret for secret in secrets if secret not in _learned)


@contextmanager
def about_call(call: str) -> Iterator[None]:
    """Records of the block, and of the tasks that it starts, carry this linkedid unless they name another one."""
    token = linkedid.set(call)
    try:
        yield
    finally:
        linkedid.reset(token)


def set_level(level: str) -> None:
    """Change the level of the running process: debug, info, warning or error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(number)
    for name in CHATTY:
        logging.getLogger(name).setLevel(number if number == logging.DEBUG else max(number, logging.WARNING))


def visible(text: str) -> str:
    """A text for a terminal, line by line: what would steer it, such as the words of a PBX, is shown instead."""
    return "\n".join(_escaped(line, _console_escape) for line in text.split("\n"))


class _Censor:
    """Takes out of a text what must not be printed."""

    def __init__(self, *, mask_phones: bool, secrets: Collection[str]) -> None:
        self._mask_phones = mask_phones
        self._secrets = _pattern(secrets)
        self._learned: tuple[str, ...] = ()
        self._learned_secrets = _pattern(())

    def clean(self, text: str, level: int) -> str:
        if self._learned != (learned := tuple(_learned)):
            self._learned, self._learned_secrets = learned, _pattern(learned)
        for secrets in (self._secrets, self._learned_secrets):
            text = secrets.sub("***", text)
        if self._mask_phones and level > logging.DEBUG:
            text = PHONE.sub(_masked, text)
        # Last: a secret cut in half would not be known any more.
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text)} signs)"


class _Formatter(logging.Formatter):
    """What both formats share: the parts of a record, cleaned."""

    def __init__(self, censor: _Censor) -> None:
        super().__init__()
        self._censor = censor

    def parts(self, record: logging.LogRecord) -> Mapping[str, object]:
        def clean(value: object) -> object:
            if value is None or isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
                return value
            text = self._censor.clean(str(value), record.levelno)
            return value if isinstance(value, int) and text == str(value) else text

        parts: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "level": record.levelname.lower(),
            "logger": clean(record.name),
            "message": clean(_message(record)),
        }
        if call := getattr(record, "linkedid", "") or linkedid.get():
            parts["linkedid"] = clean(call)
        own = STANDARD_FIELDS | parts.keys()
        parts |= {key: clean(value) for key, value in vars(record).items() if key not in own}
        if record.exc_info and record.exc_info[0]:
            parts["exception"] = clean(self.formatException(record.exc_info))
        if record.stack_info:
            parts["stack"] = clean(record.stack_info)
        return parts


class _JsonFormatter(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return _escaped(json.dumps(self.parts(record), ensure_ascii=False), _json_escape)


class _ConsoleFormatter(_Formatter):
    """`12:00:00.123 WARNING asterisk.ami: AMI connection lost [action=ami_lost]`."""

    def format(self, record: logging.LogRecord) -> str:
        parts = dict(self.parts(record))
        time, level, logger, message = (parts.pop(key) for key in ("time", "level", "logger", "message"))
        trace = "".join(f" | {parts.pop(key)}" for key in ("exception", "stack") if key in parts)
        facts = " ".join(f"{key}={value}" for key, value in parts.items())
        line = f"{str(time)[11:23]} {str(level).upper():7} {str(logger).removeprefix('vochi_agent.')}: {message}"
        return _escaped(line + (f" [{facts}]" if facts else "") + trace, _console_escape)


def _pattern(secrets: Collection[str]) -> re.Pattern[str]:
    """What finds secrets, also as they stand in addresses and in quoted text; the longest first."""
    forms = {
        form
        for secret in secrets
        if len(secret) >= MIN_SECRET_LENGTH
        for form in (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1])
    }
    # One secret may be the beginning of another; of no secrets nothing is found.
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))) or r"(?!)")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a sentence with the wrong number of arguments is still worth its words
        return f"{record.msg} {record.args}"


def _masked(match: re.Match[str]) -> str:
    """First three and last two digits of a phone stay: enough to recognise, too little to dial."""
    if match["kept"]:
        return match["kept"]
    digits = re.sub(r"\D", "", match["phone"])
    return f"{'+' if match['phone'].startswith('+') else ''}{digits[:3]}***{digits[-2:]}"


def _escaped(line: str, escape: Callable[[str], str]) -> str:
    """Control characters, line separators of Unicode, bidirectional overrides, lone surrogates: made visible."""
    return line if line.isprintable() else "".join(sign if sign.isprintable() else escape(sign) for sign in line)


def _json_escape(sign: str) -> str:
    return json.dumps(sign)[1:-1]


def _console_escape(sign: str) -> str:
    return ascii(sign)[1:-1]
