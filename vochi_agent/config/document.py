"""The text of the configuration before it means anything: merged TOML that remembers which file said what.

Merging: the main file first, then `conf.d/*.toml` in the order of their names. Tables are merged, lists of tables
(`[[enterprises]]`) are joined, and of two plain values the later file's wins, as in every `conf.d`.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Document", "KeyPath"]

KeyPath = tuple[str | int, ...]

# The key that names an element of a list of tables, so that people read `lines[0001701]` and not `lines[3]`.
ELEMENT_NAMES: Mapping[str, str] = {
    "enterprises": "number",
    "lines": "id",
    "agents": "extension",
    "departments": "number",
    "chats": "id",
}


class Document:
    """Merged tables and the file of each, with the problems met so far."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.tables: dict[str, Any] = {}
        self.problems: list[str] = []
        self._origins: dict[KeyPath, Path] = {}

    def read(self) -> None:
        """Read the main file and its `conf.d`; what cannot be read is a problem, not an exception."""
        for file in self._files():
            tables = self._parse(file)
            self._merge(self.tables, tables, file, ())

    def _files(self) -> Iterator[Path]:
        """The main file, then those of `conf.d`; hidden ones are those of editors at work."""
        yield self.file
        folder = self.file.parent / "conf.d"
        try:
            names = os.listdir(folder)  # noqa: PTH208 - Path.glob passes over a folder that it may not read
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as exc:
            self.problems.append(f"{folder}: the folder cannot be read: {exc.strerror}")
            return
        yield from (folder / name for name in sorted(names) if name.endswith(".toml") and not name.startswith("."))

    def complain(self, path: KeyPath, sentence: str) -> None:
        """Add the problem of a key: the file and the key are put before the sentence."""
        self.problems.append(f"{self.origin(path)}: {self.name(path)} {sentence}")

    def origin(self, path: KeyPath) -> Path:
        """The file that gave a value; for a missing value the file of the table around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                return self._origins[path[:length]]
        return self.file

    def moved(self, old: KeyPath, new: KeyPath) -> None:
        """A value stands under another key now, but still comes from the same file."""
        self._origins[new] = self.origin(old)

    def value(self, path: KeyPath) -> Any:
        """The raw value at a path; the nearest value around it where the path leads into a plain value."""
        value: Any = self.tables
        for key in path:
            if isinstance(value, dict):
                value = value.get(str(key))
            elif isinstance(value, list) and isinstance(key, int):
                value = value[key]
        return value

    def name(self, path: KeyPath) -> str:
        """`enterprises[0901].lines[0001701].number_rule`."""
        parts: list[str] = []
        value: Any = self.tables
        for position, key in enumerate(path):
            if isinstance(key, str):
                parts.append(("." if parts else "") + (key if re.fullmatch(r"[\w-]+", key) else json.dumps(key)))
                value = value.get(key) if isinstance(value, dict) else None
            elif isinstance(value, list):
                value = value[key]
                parts.append(f"[{_element_name(path[position - 1], key, value)}]")
        return "".join(parts)

    def _parse(self, file: Path) -> dict[str, Any]:
        try:
            # Editors of other systems put a byte order mark in front.
            return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
        except OSError as exc:
            self.problems.append(f"{file}: the file cannot be read: {exc.strerror}")
        except UnicodeDecodeError as exc:
            self.problems.append(f"{file}: the file is not UTF-8 text (byte {exc.start})")
        except tomllib.TOMLDecodeError as exc:
            self.problems.append(f"{file}: not valid TOML: {exc}")
        except RecursionError:
            self.problems.append(f"{file}: not valid TOML: nested too deeply")
        return {}

    def _merge(self, into: dict[str, Any], tables: dict[str, Any], file: Path, path: KeyPath) -> None:
        for key, value in tables.items():
            here = (*path, key)
            present = into.get(key)
            if isinstance(present, dict) and isinstance(value, dict):
                self._merge(present, value, file, here)
            elif isinstance(present, list) and _is_tables(present) and _is_tables(value):
                self._origins.update({(*here, len(present) + index): file for index in range(len(value))})
                present.extend(value)
            else:
                into[key] = value
                self._claim(here, value, file)

    def _claim(self, path: KeyPath, value: Any, file: Path) -> None:
        for stale in [known for known in self._origins if known[: len(path)] == path]:
            del self._origins[stale]
        self._origins[path] = file
        if _is_tables(value):
            self._origins.update({(*path, index): file for index in range(len(value))})


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def _element_name(of: str | int, index: int, element: Any) -> str:
    name = element.get(ELEMENT_NAMES.get(str(of), "")) if isinstance(element, dict) else None
    if isinstance(name, str | int) and str(name).isprintable() and name != "":
        return str(name)
    return f"#{index + 1}"
