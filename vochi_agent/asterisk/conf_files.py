"""Asterisk's own configuration files, read as Asterisk reads them: templates, additions, includes, comments.

Invariants: nothing is executed (`#exec` is only noted), nothing is written, and what is read is bounded. A file that
makes no sense gives fewer sections, never an error: who is asked here is a helper, not a judge.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["Conf", "Section", "read_conf"]

MAX_FILE_BYTES: Final = 4 << 20
MAX_FILES: Final = 300
MAX_DEPTH: Final = 20
HEADER: Final = re.compile(r"\[([^\]]+)\](?:\s*\(([^)]*)\))?")
DIRECTIVE: Final = re.compile(r"#(include|tryinclude|exec)\s+[\"<]?([^\">]+)[\">]?")
OPTION: Final = re.compile(r"([^=]+?)\s*=>?\s*(.*)")


@dataclass(slots=True)
class Section:
    """One `[name]`, with what it takes over from its templates in front of its own options.

    Attributes:
        options: In order; a key may stand there several times.
        template: Marked with `(!)`: it only lends.
    """

    name: str
    options: list[tuple[str, str]] = field(default_factory=list)
    template: bool = False

    def get(self, key: str, default: str = "") -> str:
        """The last value of a key: what most of Asterisk goes by."""
        return next((value for name, value in reversed(self.options) if name == key), default)

    def all(self, key: str) -> list[str]:
        """Every value of a key, in order."""
        return [value for name, value in self.options if name == key]


@dataclass(slots=True)
class Conf:
    """What a file says, with all that it includes.

    Attributes:
        exists: The file itself could be read.
        unread: Included files that could not be, and what they would have been made by.
    """

    exists: bool = False
    sections: list[Section] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def named(self, name: str) -> list[Section]:
        """Every section of that name that is no template."""
        return [section for section in self.sections if section.name == name and not section.template]

    def get(self, section: str, key: str, default: str = "") -> str:
        """A key of the first section of that name."""
        return next((each.get(key, default) for each in self.named(section)), default)

    def has(self, section: str) -> bool:
        """Whether something can be added to it with `[section](+)`."""
        return any(each.name == section for each in self.sections)


def read_conf(folder: Path, name: str) -> Conf:
    """A file of /etc/asterisk; blocks as reading local files does."""
    conf = Conf()
    reader = _Reader(folder, conf)
    conf.exists = reader.read(folder / name, depth=0)
    return conf


class _Reader:
    """Where the reading of one file and its includes stands."""

    def __init__(self, folder: Path, conf: Conf) -> None:
        self._folder = folder
        self._conf = conf
        self._section: Section | None = None
        self._files = 0

    def read(self, file: Path, *, depth: int) -> bool:
        self._files += 1
        if self._files > MAX_FILES or depth > MAX_DEPTH:
            return False
        try:
            with file.open("rb") as stream:
                text = stream.read(MAX_FILE_BYTES).decode("utf-8", errors="replace")
        except OSError:
            return False
        for line in _uncommented(text):
            self._take(line, depth)
        return True

    def _take(self, line: str, depth: int) -> None:
        if line.startswith("#"):
            self._follow(line, depth)
        elif line.startswith("["):
            self._open(line)
        elif self._section is not None and (option := OPTION.fullmatch(line)):
            self._section.options.append((option[1], option[2]))

    def _follow(self, line: str, depth: int) -> None:
        directive = DIRECTIVE.match(line)
        if directive is None:
            return
        kind, name = directive[1], directive[2].strip()
        if kind == "exec":
            self._conf.unread.append(f"#exec {name}")
            return
        place = Path(name)
        # Asterisk takes patterns here; a plain name is one that matches itself.
        found = sorted(self._folder.glob(name)) if not place.is_absolute() and ".." not in place.parts else [place]
        read = [file for file in found if self.read(file, depth=depth + 1)]
        if not read and kind == "include":
            self._conf.unread.append(name)

    def _open(self, line: str) -> None:
        header = HEADER.match(line)
        if header is None:
            return
        name, modifiers = header[1], [word.strip() for word in (header[2] or "").split(",") if word.strip()]
        added = next((word[1:] for word in modifiers if word.startswith("+")), None)
        if added is not None:
            self._section = self._to_add_to(name, added)
            return
        self._section = Section(name, template="!" in modifiers)
        for modifier in modifiers:
            lender = next((each for each in reversed(self._conf.sections) if each.name == modifier), None)
            if lender is not None:
                self._section.options += lender.options
        self._conf.sections.append(self._section)

    def _to_add_to(self, name: str, wanted: str) -> Section | None:
        """The first section that an addition such as `[gsm1](+type=endpoint)` means."""
        pairs = [tuple(pair.split("=", 1)) for pair in wanted.split("&") if "=" in pair]
        for section in self._conf.sections:
            if section.name == name and all(section.get(key) == value for key, value in pairs):
                return section
        return None


def _uncommented(text: str) -> Iterator[str]:
    """Lines without comments and spaces around; empty ones are left out."""
    in_block = False
    for line in text.splitlines():
        kept, rest = "", line
        while rest:
            if in_block:
                _, end, rest = rest.partition("--;")
                in_block = not end
                continue
            comment = re.search(r"(?<!\\);", rest)
            kept += rest[: comment.start()] if comment else rest
            # ;-- begins a long comment, ;--- is an ornament (main/config.c)
            in_block = bool(comment and re.match(r";--(?!-)", rest[comment.start() :]))
            rest = rest[comment.start() + 3 :] if comment and in_block else ""
        if stripped := kept.replace("\\;", ";").strip():
            yield stripped
