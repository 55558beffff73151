"""Mistakes in plain sentences: which file, which key, what was found, what is allowed.

Invariant: no word of pydantic's and no secret gets through.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from vochi_agent.config.credentials import SECRET_KEYS
from vochi_agent.config.document import Document, KeyPath
from vochi_agent.config.tables import CRM_TABLES, Config, CrmConfig, Table
from vochi_agent.config.values import NOT_ALLOWED, Allowed

__all__ = ["did_you_mean", "report", "shown"]

MAX_SHOWN = 60
# Greedy on purpose: a password may hold any sign, and a mistyped address need not look like one.
PASSWORD_IN_URL = re.compile(r":.*@", re.DOTALL)


def report(document: Document, error: ValidationError, *, ignore: frozenset[KeyPath], complete: bool) -> None:
    """Add one sentence for each error of the tables.

    Args:
        document: What was read, and the collector of problems.
        error: What is wrong with it.
        ignore: Keys that were reported before.
        complete: False when a file could not be read: what is missing may stand there.
    """
    for details in error.errors(include_url=False, include_context=False):
        path: KeyPath = details["loc"]
        follows_from_another = details["type"] == "default_factory_not_called" or path in ignore
        if not follows_from_another and (complete or details["type"] != "missing"):
            document.complain(path, _sentence(document, path, details))


def shown(value: Any, *, secret: bool = False) -> str:
    """A value as the file has it, short, on one line, without passwords."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if secret:
        return "a value that is not shown here"
    if isinstance(value, str):
        text = PASSWORD_IN_URL.sub(":***@", value)
        text = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
        return '"' + "".join(_visible(sign) for sign in text) + '"'
    return str(value)


def did_you_mean(found: str, known: Mapping[str, object] | list[str]) -> str:
    """`; did you mean timezone?`, or what is known when nothing comes near."""
    near = difflib.get_close_matches(found, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def _visible(sign: str) -> str:
    return sign if sign.isprintable() else sign.encode("unicode_escape", "surrogatepass").decode("ascii")


def _sentence(document: Document, path: KeyPath, details: ErrorDetails) -> str:
    kind = details["type"]
    if kind == "missing":
        return f"is missing; needed: {_needed(path)}"
    if kind == "extra_forbidden":
        return f"is not a known key{did_you_mean(str(path[-1]), _known_keys(path[:-1]))}"
    secret = any(key in SECRET_KEYS for key in path)
    found = shown(document.value(path), secret=secret)
    if kind == NOT_ALLOWED:
        return f"is {found}; allowed: {details['msg']}"
    if kind == "tuple_type":
        return f"is {found}; allowed: {_list_of(path)}"
    return f"is {found}; allowed: a table"


def _needed(path: KeyPath) -> str:
    name = str(path[-1])
    field = _field(path)
    if name in SECRET_KEYS:
        return f"{name}_file (or {name})"
    allowed = _allowed(field.metadata) if field else None
    return allowed or f"a table [{_header(path)}]"


def _list_of(path: KeyPath) -> str:
    field = _field(path)
    element = get_args(field.annotation)[0] if field and get_args(field.annotation) else None
    if isinstance(element, type) and issubclass(element, Table):
        return f"a list of tables, [[{_header(path)}]]"
    allowed = _allowed(get_args(element)[1:])
    return f"a list in [ ], each {allowed}" if allowed else "a list in [ ]"


def _allowed(metadata: Any) -> str | None:
    return next((item.text for item in metadata if isinstance(item, Allowed)), None)


def _header(path: KeyPath) -> str:
    return ".".join(key for key in path if isinstance(key, str))


def _known_keys(path: KeyPath) -> list[str]:
    table = _table(path)
    if table is None:
        return list(CRM_TABLES)
    return [f"{name}_file" if name in SECRET_KEYS else name for name in table.model_fields]


def _field(path: KeyPath) -> FieldInfo | None:
    table = _table(path[:-1])
    return table.model_fields.get(str(path[-1])) if table else None


def _table(path: KeyPath) -> type[Table] | None:
    """The class of the table at a path; None for the table of CRMs, whose keys are names."""
    table: type[Table] | None = Config
    for key in path:
        if isinstance(key, int):
            continue
        if table is None:
            table = CRM_TABLES[key]
            continue
        annotation = table.model_fields[key].annotation
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        tables = [kind for kind in kinds if issubclass(kind, Table)]
        table = tables[0] if tables and not issubclass(tables[0], CrmConfig) else None
    return table
