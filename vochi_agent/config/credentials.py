"""Secrets: `X_file` is replaced by `X`, read from $CREDENTIALS_DIRECTORY or from beside the configuration file.

systemd hands over single files (`LoadCredential=ami-secret:/…`) under their name and the files of a folder
(`LoadCredential=secrets:/…/secrets/`) as `secrets_ami-secret`; either is found.

Invariant: no sentence of this module holds a secret's value.
"""

import os.path
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from vochi_agent.config.document import Document, KeyPath
from vochi_agent.config.environment import credentials_directories
from vochi_agent.config.tables import Table

__all__ = ["SECRET_KEYS", "places_of_secrets", "read_secrets", "secret_values"]

SUFFIX = "_file"
# Beside the configuration file, and the name under which the unit hands that folder over.
SECRETS_FOLDER = "secrets"
# Passwords and keys are short; this bounds what a path to a wrong file (a device, a log) can cost.
MAX_SECRET_BYTES = 8192


def places_of_secrets(folder: Path) -> list[Path]:
    """Where a relative name of a secret file is looked for, in order; `folder` is that of the configuration file."""
    apart = folder / SECRETS_FOLDER
    return [*credentials_directories(), folder, *([apart] if os.path.isdir(apart) else [])]  # noqa: PTH112 - as below


def read_secrets(document: Document, places: Sequence[Path]) -> frozenset[KeyPath]:
    """Put the contents of every secret file into the document; return the keys whose file failed (and was reported).

    Args:
        document: Changed in place.
        places: Folders in which a relative file name is looked for, in order.
    """
    broken: set[KeyPath] = set()
    for path, table in list(_tables((), document.tables)):
        for key in [key for key in table if key.removesuffix(SUFFIX) in SECRET_KEYS and key.endswith(SUFFIX)]:
            name = key.removesuffix(SUFFIX)
            try:
                secret = _secret(table[key], inline=table.get(name), name=name, places=places)
            except _SecretFileError as exc:
                document.complain((*path, key), str(exc))
                broken.add((*path, name))
            else:
                if secret:
                    table[name] = secret
            document.moved((*path, key), (*path, name))
            del table[key]
    return frozenset(broken)


def secret_values(table: Table) -> frozenset[str]:
    """Every secret a configuration holds, passwords in addresses too: what must never be printed."""
    return frozenset(_values(table))


def _values(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr) and value:
        yield value.get_secret_value()
    elif isinstance(value, Table):
        for name in type(value).model_fields:
            yield from _values(getattr(value, name))
    elif isinstance(value, tuple):
        for element in value:
            yield from _values(element)
    elif isinstance(value, Mapping):
        yield from _values(tuple(value.values()))
    elif isinstance(value, str) and "://" in value and (password := urlsplit(value).password):
        yield password


class _SecretFileError(Exception):
    """Why a secret file is of no use, as the end of a sentence."""


def _secret(file_name: Any, *, inline: Any, name: str, places: Sequence[Path]) -> str:
    """The content of a secret file; "" when no file is named."""
    if not isinstance(file_name, str) or not file_name.isprintable():
        raise _SecretFileError("does not name a file; allowed: a file name in quotes")
    if not file_name:
        return ""
    if inline:
        raise _SecretFileError(f"and {name} are both given; allowed: one of them")
    file = _find(file_name, places)
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_SECRET_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as exc:
        raise _SecretFileError(f"names {_looked_for(file_name, places)}, which cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise _SecretFileError(f"names {file}, which is not UTF-8 text") from exc
    if not text or not text.isprintable() or len(content) > MAX_SECRET_BYTES:
        raise _SecretFileError(f"names {file}, which is {'empty' if not text else 'more than one line of text'}")
    return text


def _find(file_name: str, places: Sequence[Path]) -> Path:
    credential = file_name.replace("/", "_")  # as systemd.exec(5) has it for what lies in a folder
    names = (file_name, credential, f"{SECRETS_FOLDER}_{credential}")
    candidates = [place / name for place in places for name in names]
    # Unlike Path.exists, no error where even the folder is closed to us: opening the file says it better.
    return next((file for file in candidates if os.path.exists(file)), places[-1] / file_name)  # noqa: PTH110


def _looked_for(file_name: str, places: Sequence[Path]) -> str:
    return " or ".join(dict.fromkeys(str(place / file_name) for place in places))


def _tables(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
        for key, inner in value.items():
            yield from _tables((*path, key), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _tables((*path, index), inner)


def _secret_keys(table: type[Table]) -> Iterator[str]:
    yield from (name for name, field in table.model_fields.items() if field.annotation is SecretStr)
    for kind in table.__subclasses__():
        yield from _secret_keys(kind)


SECRET_KEYS = frozenset(_secret_keys(Table))
