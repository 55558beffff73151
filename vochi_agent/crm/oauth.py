"""The tokens of an OAuth2 application: a short-lived one for requests, and one that buys the next pair once.

A refresh token is spent by its use and the answer brings its successor, so the pair is on the disk before it is used,
and only one refresh is under way. A crash between the CRM's answer and our disk loses the pair: some CRMs still take
the old token then; when not, a person has to allow the application again, and the error says so.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from vochi_agent.errors import CrmAuthFailed, CrmRejected

__all__ = ["Refresh", "TokenExpired", "TokenKeeper", "Tokens"]

PRIVATE: Final = 0o600


class TokenExpired(CrmRejected):
    """The CRM wants a younger access token: an answer like any other, nothing is wrong with the CRM or with us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A pair: `access` for requests, `refresh` for the next pair."""

    access: str
    refresh: str


Refresh = Callable[[str], Awaitable[Tokens]]


class TokenKeeper:
    """The tokens of one account.

    Args:
        path: Where they are kept; readable by nobody else.
        first: The refresh token that a person was given; used while there is no file, and again when it was replaced
            by another one after the file's pair went dead.
        refresh: Buys a pair. Raises CrmAuthFailed when the token is not taken, CrmUnavailable when nobody answers.
    """

    def __init__(self, path: Path, *, first: str, refresh: Refresh) -> None:
        self._path = path
        self._first = first
        self._refresh = refresh
        self._lock = asyncio.Lock()
        self._tokens: Tokens | None = None

    async def access(self) -> str:
        """The access token, bought when there is none yet.

        Raises:
            CrmAuthFailed: a person has to allow the application again.
            CrmUnavailable: nobody answers; try again.
        """
        async with self._lock:
            if self._tokens is None:
                self._tokens = await asyncio.to_thread(_read, self._path) or await self._buy("")
            return self._tokens.access

    async def renew(self, refused: str) -> str:
        """A token in place of one that the CRM refused; of several askers one buys it. Raises as `access`."""
        async with self._lock:
            if self._tokens is None or self._tokens.access == refused:
                self._tokens = await self._buy(self._tokens.refresh if self._tokens else "")
            return self._tokens.access

    async def _buy(self, refresh: str) -> Tokens:
        for token in dict.fromkeys((refresh, self._first)):
            if not token:
                continue
            try:
                tokens = await self._refresh(token)
            except CrmAuthFailed:
                continue  # the one from the configuration may be younger
            # Cancelled in between, the pair would be lost for ever.
            await asyncio.shield(asyncio.to_thread(_write, self._path, tokens))
            return tokens
        raise CrmAuthFailed("the refresh token is not taken: allow the application again and configure its new token")


def _read(path: Path) -> Tokens | None:
    """The pair on disk; None when there is none, or what is there is none."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Tokens(access=str(stored["access"]), refresh=str(stored["refresh"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, tokens: Tokens) -> None:
    """Put the pair on the disk, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(tokens), file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
