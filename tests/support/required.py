"""The real programs that tests ask for. What cannot be had skips loudly; with VOCHI_REQUIRE_ASTERISK=1 it fails."""

import os

import pytest

from tests.support.fetch import Tool, ToolMissing, fetch

__all__ = ["missing", "require"]

missing: dict[str, str] = {}


def require(name: str) -> Tool:
    """The tool, or the end of the test."""
    try:
        return fetch(name)
    except ToolMissing as exc:
        missing[name] = str(exc)
        if os.getenv("VOCHI_REQUIRE_ASTERISK") == "1":
            pytest.fail(f"{name} is required and cannot be had: {exc}")
        pytest.skip(f"NOT TESTED against {name}: {exc}")
