"""The tokens of an OAuth2 application: a short-lived one for requests, and one that buys the next pair once.

A refresh token is spent by its use and the answer brings its successor, so the pair is on the disk before it is used,
one refresh is under way at a time, in this process and in others (a command beside the daemon), and one that began is
brought to its end whoever stops waiting for it. A crash between the CRM's answer and our disk loses the pair: some
CRMs still take the old token then; when not, a person has to allow the application again, and the error says so.
No clock of the CRM is believed: a token is renewed when, and only when, it is refused.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable
from vochi_agent.log import hide

__all__ = ["ALLOW_AGAIN", "Refresh", "TokenExpired", "TokenKeeper", "Tokens", "read_tokens"]

log = logging.getLogger(__name__)

# What mends a refresh token that is not taken.
ALLOW_AGAIN: Final = "allow the application again and configure its new token"
PRIVATE: Final = 0o600
# A token that is refused so soon after it was bought will not be mended by another one.
FRESH_S: Final = 60.0
# A dead pair is offered again after so long, in case a person has mended things on the CRM's side.
DEAD_S: Final = 300.0
LOCK_S: Final = 15.0
LOCK_POLL_S: Final = 0.05
FRESH_REFUSED: Final = "a fresh token is refused: are the application's rights and the address right?"


class TokenExpired(CrmRejected):
    """The CRM wants a younger access token: an answer like any other, nothing is wrong with the CRM or with us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A pair: `access` for requests, `refresh` for the next pair.

    Attributes:
        host: Where the account lives, when the seller said so.
    """

    access: str
    refresh: str
    host: str = ""


Refresh = Callable[[str], Awaitable[Tokens]]


class TokenKeeper:
    """The tokens of one account.

    Args:
        path: Where they are kept; readable by nobody else.
        first: The refresh token that a person was given; used while there is no file, and again when it was replaced
            by another one after the file's pair went dead.
        refresh: Buys a pair. Raises CrmAuthFailed when the token is not taken, CrmUnavailable when nobody answers.
        clock: Monotonic seconds.
    """

    def __init__(
        self, path: Path, *, first: str, refresh: Refresh, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._first = first
        self._refresh = refresh
        self._clock = clock
        self._lock = asyncio.Lock()
        self._tokens: Tokens | None = None
        self._bought_at = -FRESH_S
        self._dead_until = 0.0
        self._said = ""
        self._under_way: set[asyncio.Task[str]] = set()

    @property
    def host(self) -> str:
        """Where the account lives, as the seller of the pair in use said; "" when nobody did."""
        return self._tokens.host if self._tokens else ""

    async def access(self) -> str:
        """The access token, bought when there is none yet.

        Raises:
            CrmAuthFailed: a person has to allow the application again.
            CrmUnavailable: nobody answers; try again.
        """
        return self._tokens.access if self._tokens else await self._to_its_end("")

    async def renew(self, refused: str) -> str:
        """A token in place of one that the CRM refused; of several askers one buys it. Raises as `access`."""
        return await self._to_its_end(refused)

    async def _to_its_end(self, refused: str) -> str:
        """Cancelled in the midst, a purchase would lose the pair for ever: only the waiting is."""
        task = asyncio.create_task(self._renewed(refused), name="tokens")  # noqa: TID251 - outlives whoever asked
        self._under_way.add(task)
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    def _over(self, task: asyncio.Task[str]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # heard, whether or not somebody still waits

    async def _renewed(self, refused: str) -> str:
        async with self._lock:
            if self._tokens is None or self._tokens.access == refused:
                self._tokens = await self._another(refused)
                hide(self._tokens.access, self._tokens.refresh)
            return self._tokens.access

    async def _another(self, refused: str) -> Tokens:
        """What another process has bought meanwhile, else a pair of our own."""
        now = self._clock()
        if now < self._dead_until:
            raise CrmAuthFailed(f"the refresh token was not taken: {ALLOW_AGAIN}")
        if refused and now - self._bought_at < FRESH_S:
            self._say_once(FRESH_REFUSED)
            raise CrmAuthFailed(FRESH_REFUSED)
        async with _alone(self._path.with_name(self._path.name + ".lock")):
            stored = await asyncio.to_thread(read_tokens, self._path)
            if stored and stored.access != refused:
                return stored
            tokens = await self._bought(stored.refresh if stored else self._tokens.refresh if self._tokens else "")
            try:
                await asyncio.to_thread(_write, self._path, tokens)
            except OSError as exc:
                # In memory they work on; the disk may have room again before the next pair.
                log.warning(
                    "New tokens cannot be kept in %s: %s", self._path, exc.strerror, extra={"action": "crm_tokens"}
                )
        self._bought_at, self._said = self._clock(), ""
        return tokens

    def _say_once(self, sentence: str) -> None:
        """Nothing else speaks of it: the request that was refused is an answer like any other."""
        if sentence != self._said:
            log.warning("%s: %s", self._path.stem, sentence, extra={"action": "crm_tokens"})
        self._said = sentence

    async def _bought(self, refresh: str) -> Tokens:
        for token in dict.fromkeys((refresh, self._first)):
            if not token:
                continue
            try:
                return await self._refresh(token)
            except CrmAuthFailed:
                continue  # the one from the configuration may be younger
        self._dead_until = self._clock() + DEAD_S
        raise CrmAuthFailed(f"the refresh token is not taken: {ALLOW_AGAIN}")


def read_tokens(path: Path) -> Tokens | None:
    """The pair on disk; None when there is none, or what is there is none."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Tokens(access=str(stored["access"]), refresh=str(stored["refresh"]), host=str(stored.get("host", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@contextlib.asynccontextmanager
async def _alone(path: Path) -> AsyncIterator[None]:
    """Held by one process at a time; freed by the kernel when it dies. Raises CrmUnavailable."""
    with _opened(path) as descriptor:
        try:
            async with asyncio.timeout(LOCK_S):
                while not _locked(descriptor):  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(LOCK_POLL_S)
        except TimeoutError:
            raise CrmUnavailable("another process holds the tokens") from None
        yield


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            _give(path.parent, path.parent.parent)
        # The folder is the service's: by a link that it left there root would open, and give away, what is not ours.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE)
        _give(descriptor, path.parent)
    except OSError as exc:
        raise CrmUnavailable(f"no tokens can be kept in {path.parent}: {exc.strerror}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _give(what: int | Path, folder: Path) -> None:
    """What root makes (a command beside the daemon) belongs to the folder's owner, or the daemon could not read it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        if isinstance(what, int):
            os.fchown(what, owner.st_uid, owner.st_gid)
        else:
            os.lchown(what, owner.st_uid, owner.st_gid)


def _write(path: Path, tokens: Tokens) -> None:
    """Put the pair on the disk, whole or not at all."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)  # of a process that was killed
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    _give(descriptor, path.parent)
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
