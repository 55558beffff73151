"""What every key of the configuration means, from the tables themselves: docstrings, types and defaults.

Invariant: a key that can be configured can be explained; the tests go through all of them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from vochi_agent.config.credentials import SECRET_KEYS
from vochi_agent.config.problems import did_you_mean
from vochi_agent.config.tables import CRM_TABLES, Config, Table
from vochi_agent.config.values import Address, Allowed
from vochi_agent.errors import ConfigError

__all__ = ["Explanation", "explain", "explanations"]

ATTRIBUTE: Final = re.compile(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", re.MULTILINE)
ELEMENT: Final = re.compile(r"\[[^\]]*\]")
CRM: Final = "crm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One key, or one table.

    Attributes:
        key: As mistakes name it, without the names of elements: `enterprises.lines.number_rule`.
        meaning: What it is for.
        allowed: Which values it takes; for a table its keys.
        default: As it would stand in the file; None when the key must be given, "" when its table says more.
        secret: It may, and better does, stand in a file of its own, under the same name with `_file`.
    """

    key: str
    meaning: str
    allowed: str
    default: str | None
    secret: bool = False

    def as_json(self) -> dict[str, object]:
        """The object that `check --explain KEY --json` prints."""
        return {
            "key": self.key,
            "meaning": self.meaning,
            "allowed": self.allowed,
            "default": self.default,
            "secret": self.secret,
        }


def explain(wanted: str) -> list[Explanation]:
    """Every key that is meant: a whole path, as a mistake prints it, or the end of one.

    Raises:
        ConfigError: there is no such key.
    """
    bare = ELEMENT.sub("", wanted).strip(".")
    name = bare.removesuffix("_file") if bare.endswith("_file") else bare
    found = {each.key: each for each in explanations()}
    if name in found:
        return [found[name]]
    ends = [each for key, each in found.items() if key.endswith(f".{name}")]
    if not ends:
        near = did_you_mean(name, list(found) if "." in name else sorted({key.rpartition(".")[2] for key in found}))
        raise ConfigError([f"--explain {wanted}: is not a known key{near}"])
    return ends


def explanations() -> Iterator[Explanation]:
    """Every table and every key there is, in the order of the tables."""
    yield from _table("", Config)


def _table(path: str, table: type[Table]) -> Iterator[Explanation]:
    meanings = _meanings(table)
    for name, field in table.model_fields.items():
        key = f"{path}.{name}" if path else name
        inner = _inner(name, field)
        if not inner:
            yield _key(key, name, field, meanings.get(name, ""))
        for part, kind in inner.items():
            here = f"{key}.{part}" if part else key
            yield Explanation(
                key=here, meaning=_summary(kind), allowed=", ".join(_written(each) for each in kind.model_fields),
                default="",
            )  # fmt: skip
            yield from _table(here, kind)


def _inner(name: str, field: FieldInfo) -> Mapping[str, type[Table]]:
    """The tables below a key, by what is added to its path."""
    if name == CRM:
        return CRM_TABLES
    kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
    table = next((kind for kind in kinds if issubclass(kind, Table)), None)
    return {"": table} if table else {}


def _key(key: str, name: str, field: FieldInfo, meaning: str) -> Explanation:
    return Explanation(
        key=key,
        meaning=meaning,
        allowed=_allowed(field),
        default=None if field.is_required() else _default(field),
        secret=name in SECRET_KEYS,
    )


def _allowed(field: FieldInfo) -> str:
    for item in field.metadata:
        if isinstance(item, Allowed):
            return item.text
    element = next(iter(get_args(field.annotation)), None)
    text = next((item.text for item in get_args(element)[1:] if isinstance(item, Allowed)), "")
    if text:
        return f"a list in [ ], each {text}"
    return 'a table { "id" = "extension" }' if field.annotation and "Mapping" in str(field.annotation) else "a list"


def _default(field: FieldInfo) -> str:
    """As TOML; "" for what another key decides."""
    if field.default is PydanticUndefined:
        return "{}" if "Mapping" in str(field.annotation) else ""
    return _toml(field.default)


def _toml(value: object) -> str:
    if isinstance(value, SecretStr):
        return '""'
    if isinstance(value, bool | int | float) or value is None:
        return json.dumps(value)
    if isinstance(value, tuple) and not isinstance(value, Address):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else f"{value}", ensure_ascii=False)


def _written(name: str) -> str:
    """How an operator writes a key: secrets in files."""
    return f"{name}_file" if name in SECRET_KEYS else name


def _meanings(table: type[Table]) -> Mapping[str, str]:
    """What the docstrings of a table, and of those it stands on, say of its keys."""
    found: dict[str, str] = {}
    for kind in reversed(table.__mro__):
        if issubclass(kind, Table):
            found |= {name: " ".join(text.split()) for name, text in ATTRIBUTE.findall(kind.__doc__ or "")}
    return found


def _summary(table: type[Table]) -> str:
    """What the first paragraph of a docstring says beside the table's own name."""
    first = " ".join((table.__doc__ or "").split("\n\n", maxsplit=1)[0].split())
    return re.sub(r"^`[^`]*`(: |; |, | )?", "", first)
