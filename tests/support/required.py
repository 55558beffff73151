"""The real programs that tests ask for. What cannot be had skips loudly; with VOCHI_REQUIRE_ASTERISK=1 it fails."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import pytest

from tests.support.fetch import Tool, ToolMissing, fetch
from tests.support.machine import Machine

__all__ = ["machine", "missing", "require"]

missing: dict[str, str] = {}


def require(name: str) -> Tool:
    """The tool, or the end of the test."""
    try:
        return fetch(name)
    except ToolMissing as exc:
        _give_up(name, exc, "VOCHI_REQUIRE_ASTERISK")


@contextmanager
def machine(folders: Mapping[Path, str], shared: Mapping[Path, str] = MappingProxyType({})) -> Iterator[Machine]:
    """A booted Debian, or the end of the test: it needs root and kernel namespaces, which not every CI gives."""
    debian = Machine(folders, shared)
    try:
        debian.boot()
    except ToolMissing as exc:
        _give_up("a Debian with a systemd of its own", exc, "VOCHI_PACKAGES")
    try:
        yield debian
    finally:
        debian.end()


def _give_up(name: str, reason: ToolMissing, strict: str) -> NoReturn:
    missing[name] = str(reason)
    if os.getenv(strict) == "1":
        pytest.fail(f"{name} is required and cannot be had: {reason}")
    pytest.skip(f"NOT TESTED against {name}: {reason}")
