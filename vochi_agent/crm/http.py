"""The HTTP client every CRM adapter holds: one deadline, one rate, one breaker, one way to fail.

Invariants: nothing waits past the deadline; a half-read, oversized or foreign answer is never shown to an adapter;
no secret leaves this module in a message, not even as a part of a URL.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
from aiolimiter import AsyncLimiter
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from vochi_agent.crm.breaker import Breaker, State
from vochi_agent.errors import CrmAuthFailed, CrmBlocked, CrmPaused, CrmRejected, CrmUnavailable, CrmUncertain

__all__ = ["Answer", "CrmHttp", "json_object", "limiter", "mask"]

log = logging.getLogger(__name__)

BUDGET_S: Final = 10.0  # a whole operation; a phone has long been answered by then, the customer's row still gains
ATTEMPT_S: Final = 4.0
ATTEMPTS: Final = 3
CROWD_TOLD_S: Final = 60.0  # between two lines of the log about requests that had to be left out
MAX_BODY_BYTES: Final = 1 << 20
LIMITED_PAUSE_S: Final = 1.0  # RetailCRM names no time with its 503; its limits count per second
MAX_PAUSE_S: Final = 5.0
BACKOFF: Final = wait_random_exponential(multiplier=0.1, max=2.0)
# A leaky bucket of capacity c and rate r lets c + r through in its fullest second: a fifth for bursts and four
# fifths of steady rate together stay within what the CRM allows.
BURST_SHARE: Final = 0.2

HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,100}")
NO_HEADERS: Final[Mapping[str, str]] = {}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer below 500 that is neither a redirect nor a rate limit."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One request, as often as it is made.

    Attributes:
        changes: It changes something in the CRM, so that a lost answer leaves a doubt.
        repeatable: Made twice it does no more than once.
        hide: Secrets of this request alone.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    changes: bool
    repeatable: bool
    hide: Sequence[str]


class _Limited(CrmUnavailable):
    """The CRM asks to slow down."""

    def __init__(self, message: str, pause_s: float) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class _NotAsked(CrmUnavailable):
    """Our own rate left no time: the CRM was not asked, so this says nothing about it."""


class CrmHttp:
    """Requests to one account of one CRM.

    Args:
        session: Shared; must not be closed before this client's last request.
        name: The CRM and enterprise in messages and logs, e.g. `retailcrm of 0901`.
        base_url: What every path is appended to.
        headers: Sent with every request; secrets belong here when the CRM allows it.
        secrets: Texts that must never be seen: replaced by `***` wherever a message holds them.
        rps: Requests per second the CRM allows, or the limiter of all clients of the same account.
        clock: Monotonic seconds, for the breaker.
        on_state: Told when the breaker changes.
        attempt_s: Seconds one attempt may take.
        budget_s: Seconds of a whole operation, see `deadline`.
        tokens_expire: A 401 is read by `interpret`: a new token may be all that it wants.
        blocked: What the CRM writes into a 503 that is a block by hand and no limit; "" for a CRM without such.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        name: str,
        base_url: str,
        headers: Mapping[str, str],
        secrets: Sequence[str],
        rps: float | AsyncLimiter,
        clock: Callable[[], float],
        on_state: Callable[[State], None],
        attempt_s: float = ATTEMPT_S,
        budget_s: float = BUDGET_S,
        tokens_expire: bool = False,
        blocked: str = "",
    ) -> None:
        self._session = session
        self._name = name
        self._base_url = base_url.rstrip("/")
        self._headers = dict(headers)
        self._secrets = tuple(secrets)
        self._attempt_s = attempt_s
        self._budget_s = budget_s
        self._clock = clock
        self._tokens_expire = tokens_expire
        self._blocked = blocked
        self._on_state = on_state
        self._breaker = Breaker(clock=clock, on_change=self._breaker_changed)
        self._limiter = rps if isinstance(rps, AsyncLimiter) else limiter(rps)
        self._failing: type[Exception] | None = None
        self._crowded_at: float | None = None

    def apart(self, what: str, *, rps: float | None = None, attempt_s: float | None = None) -> "CrmHttp":
        """The same account at the same rate with a breaker of its own, for work that nobody waits for.

        What fails there does not close the way for a caller's name.

        Args:
            what: Stands in messages and logs.
            rps: Of methods that have a limit of their own.
            attempt_s: Of methods whose answer takes its time: a single attempt.
        """
        return CrmHttp(
            self._session,
            name=f"{self._name}, {what}",
            base_url=self._base_url,
            headers=self._headers,
            secrets=self._secrets,
            rps=rps or self._limiter,
            clock=self._clock,
            on_state=lambda _: None,
            attempt_s=attempt_s or self._attempt_s,
            budget_s=attempt_s or self._budget_s,
            tokens_expire=self._tokens_expire,
            blocked=self._blocked,
        )

    def deadline(self) -> float:
        """The moment, on the event loop's clock, when an operation that starts now has to be over."""
        return asyncio.get_running_loop().time() + self._budget_s

    async def get(
        self,
        path: str,
        query: Iterable[tuple[str, str]],
        interpret: Callable[[Answer], T],
        *,
        deadline: float,
        headers: Mapping[str, str] = NO_HEADERS,
        hide: Sequence[str] = (),
    ) -> T:
        """Ask until there is a usable answer or no time is left; a GET may be repeated without harm.

        Args:
            path: Below the base URL, with a leading slash.
            query: Parameters in order, repeated names allowed.
            interpret: Pure; turns an answer into a result or raises CrmUnavailable, CrmRejected, CrmAuthFailed.
            deadline: On the event loop's clock.
            headers: Of this request alone, such as a token that changes.
            hide: Further secrets, as `secrets` of the client: that token.

        Raises:
            CrmPaused: the breaker is open.
            CrmUnavailable: no usable answer in time.
            CrmRejected: as `interpret` says.
            CrmAuthFailed: the key is refused.
        """
        request = _Request(
            method="GET", path=path, query=list(query), body={}, headers=headers, changes=False, repeatable=True,
            hide=hide,
        )  # fmt: skip
        return await self._ask(request, interpret, deadline)

    async def send(
        self,
        method: str,
        path: str,
        interpret: Callable[[Answer], T],
        *,
        deadline: float,
        query: Iterable[tuple[str, str]] = (),
        form: Mapping[str, str] | None = None,
        json: object = None,
        headers: Mapping[str, str] = NO_HEADERS,
        hide: Sequence[str] = (),
        repeatable: bool,
    ) -> T:
        """Change something in the CRM.

        Args:
            form: Sent as `application/x-www-form-urlencoded`; else `json` is sent when there is any.
            hide: As for `get`.
            repeatable: The CRM knows a repetition (an id of ours in it): a lost answer is asked for again. Otherwise
                it is tried once more only when it surely was not carried out.

        Raises:
            CrmUncertain: it may have been carried out.
            CrmPaused, CrmUnavailable: it was not.
            CrmRejected, CrmAuthFailed: as for `get`.
        """
        body: Mapping[str, Any] = {"data": form} if form is not None else {} if json is None else {"json": json}
        request = _Request(
            method=method, path=path, query=list(query), body=body, headers=headers, changes=True,
            repeatable=repeatable, hide=hide,
        )  # fmt: skip
        return await self._ask(request, interpret, deadline)

    async def _ask(self, request: _Request, interpret: Callable[[Answer], T], deadline: float) -> T:
        def worth_repeating(error: BaseException) -> bool:
            if isinstance(error, CrmUncertain) and not request.repeatable:
                return False
            # When this very failure opened the breaker, its asker is told what failed, not that the breaker is open.
            return isinstance(error, CrmUnavailable) and self._breaker.state is not State.OPEN

        retrying = AsyncRetrying(
            retry=retry_if_exception(worth_repeating),
            stop=stop_after_attempt(ATTEMPTS) | stop_before_delay(deadline - asyncio.get_running_loop().time()),
            wait=_pause,
            reraise=True,
        )
        try:
            result: T = await retrying(self._attempt, request, interpret, deadline)
        except (CrmUnavailable, CrmRejected, CrmAuthFailed) as failure:
            failure.args = (mask(str(failure), (*self._secrets, *request.hide)),)
            self._report(failure)
            raise
        self._report(None)
        return result

    async def _attempt(self, request: _Request, interpret: Callable[[Answer], T], deadline: float) -> T:
        try:
            async with asyncio.timeout_at(deadline):
                await self._limiter.acquire()
        except TimeoutError:
            # Our own rate limit: the CRM was not asked, so its breaker hears nothing of this.
            raise _NotAsked("too many requests of our own are waiting") from None
        if asyncio.get_running_loop().time() >= deadline:
            raise _NotAsked("no time was left to ask")
        with self._breaker.guard():
            answer = await self._fetch(request, deadline)
            try:
                return interpret(answer)
            except CrmUnavailable as error:
                # A web page or half a text in place of the answer says nothing of what became of a change.
                raise _doubted(request, str(error)) from None

    async def _fetch(self, request: _Request, deadline: float) -> Answer:
        until = min(deadline, asyncio.get_running_loop().time() + self._attempt_s)
        try:
            # Redirects are not followed: the key would travel to whatever host the answer names.
            async with (
                asyncio.timeout_at(until),
                self._session.request(
                    request.method,
                    self._base_url + request.path,
                    params=request.query,
                    headers={**self._headers, **request.headers},
                    allow_redirects=False,
                    **request.body,
                ) as response,
            ):
                self._check_status(request, response)
                answer = Answer(response.status, await self._read(request, response))
                if answer.status in (429, 503):
                    if self._blocked and self._blocked.encode() in answer.body:
                        raise CrmBlocked(f"has blocked this account by hand ({self._blocked}): ask its support")
                    raise _Limited(f"asks to slow down ({answer.status})", _retry_after(response.headers))
                return answer
        except aiohttp.ClientConnectorError as error:
            raise CrmUnavailable(f"{type(error).__name__}: {error}") from None
        except TimeoutError:
            raise _doubted(request, "no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            # `from None`: the text of aiohttp's errors may hold the URL, and a traceback would print it unmasked.
            raise _doubted(request, f"{type(error).__name__}: {error}") from None

    def _check_status(self, request: _Request, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if status in (429, 503):
            return
        if status >= 500 or status == 408:  # noqa: PLR2004 - the classes of HTTP
            raise _doubted(request, f"answered {status}")
        if 300 <= status < 400:  # noqa: PLR2004 - as above
            where = _host(response.headers.get("Location", ""))
            to = f" to {where}" if where else ""
            raise CrmUnavailable(f"answered {status}, a redirect{to}: is the configured address right?")
        if status == 401 and not self._tokens_expire:  # noqa: PLR2004 - as above
            raise CrmAuthFailed("refuses our key (401)")

    @staticmethod
    async def _read(request: _Request, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _doubted(request, f"the answer is larger than {MAX_BODY_BYTES} bytes")
        return bytes(body)

    def _report(self, failure: Exception | None) -> None:
        """One line an outage: its first failure speaks, a refused key once more; a refused request is an answer."""
        if isinstance(failure, CrmPaused):
            return
        if isinstance(failure, _NotAsked):
            self._report_crowd(failure)
            return
        if failure is None or isinstance(failure, CrmRejected):
            if self._failing:
                log.info("CRM %s answers again", self._name, extra={"action": "crm_up"})
            self._failing = None
            return
        kind = CrmAuthFailed if isinstance(failure, CrmAuthFailed) else CrmUnavailable
        if self._failing is not kind:
            log.warning("CRM %s fails: %s", self._name, failure, extra={"action": "crm_down"})
        self._failing = kind

    def _report_crowd(self, failure: _NotAsked) -> None:
        """A busy hour is no outage: one answer more or less a second must not make a line each."""
        now = self._clock()
        if self._crowded_at is None or now - self._crowded_at >= CROWD_TOLD_S:
            self._crowded_at = now
            log.warning(
                "CRM %s is not asked as often as needed: %s", self._name, failure, extra={"action": "crm_crowd"}
            )

    def _breaker_changed(self, state: State) -> None:
        log.info("CRM %s: breaker is %s", self._name, state.value, extra={"action": "crm_breaker"})
        self._on_state(state)


def limiter(rps: float) -> AsyncLimiter:
    """What lets no more than so many requests through in any second."""
    burst = max(1.0, rps * BURST_SHARE // 1)
    return AsyncLimiter(burst, burst / (rps * (1 - BURST_SHARE)))


def json_object(answer: Answer) -> Mapping[str, object]:
    """The answer as a JSON object.

    Raises:
        CrmUnavailable: a web page, a text cut short, or JSON that is no object.
    """
    if answer.body.lstrip()[:1] == b"<":
        raise CrmUnavailable(f"a web page instead of JSON ({answer.status}): is the account's address right?")
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise CrmUnavailable(f"broken or incomplete JSON ({answer.status}, {len(answer.body)} bytes)") from None
    if not isinstance(value, dict):
        raise CrmUnavailable(f"JSON, but no object ({answer.status})")
    return value


def _doubted(request: _Request, message: str) -> CrmUnavailable:
    """The failure of a request that the CRM may have carried out."""
    return CrmUncertain(message) if request.changes else CrmUnavailable(message)


def mask(text: str, secrets: Iterable[str]) -> str:
    """`text` with every secret, plain or percent-encoded, replaced by `***`."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for form in (secret, quote(secret, safe=""), quote(secret)):
            text = text.replace(form, "***")
    return text


def _pause(state: RetryCallState) -> float:
    """Seconds before the next attempt: what the CRM asked for, and jitter on top."""
    error = state.outcome.exception() if state.outcome else None
    return BACKOFF(state) + (error.pause_s if isinstance(error, _Limited) else 0.0)


def _host(address: str) -> str:
    """The host of an address that somebody else wrote, "" for what is none."""
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return ""
    return host if HOST.fullmatch(host) else ""


def _retry_after(headers: Mapping[str, str]) -> float:
    """`Retry-After` in seconds (RFC 9110 §10.2.3; the date form is not used by CRMs), bounded; MoySklad's in ms."""
    value = headers.get("X-Lognex-Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:9]) / 1000, MAX_PAUSE_S)
    value = headers.get("Retry-After", "").strip()
    return min(float(value), MAX_PAUSE_S) if value.isascii() and value.isdigit() else LIMITED_PAUSE_S
