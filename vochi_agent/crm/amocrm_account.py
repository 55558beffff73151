"""One amoCRM account: its token, and what its answers mean.

A long-lived token is sent as it is, and a 401 is final. An application's token lives a day; its refresh token is spent
by use. Source: the vendor's PHP client.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from vochi_agent.crm.fields import objects, text
from vochi_agent.crm.http import Answer, CrmHttp, json_object
from vochi_agent.crm.oauth import ALLOW_AGAIN, TokenExpired, TokenKeeper, Tokens
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable

__all__ = ["LISTED", "Account", "buy_tokens", "interpret"]

MAX_MESSAGE: Final = 200
# Where `interpret` puts an answer that is a list, as that of `leads/complex` is.
LISTED: Final = "listed"
Ask = Callable[[str], Awaitable[Mapping[str, object]]]

BAD_REQUEST, UNAUTHORIZED, PAYMENT, FORBIDDEN, NOT_FOUND = 400, 401, 402, 403, 404


class Account:
    """Requests with the token of the moment.

    Args:
        http: With `tokens_expire` for an application; with a long-lived token a 401 is final.
        token: A long-lived one; "" for an application's.
        tokens: The application's; None with a long-lived one.
    """

    def __init__(self, http: CrmHttp, *, token: str = "", tokens: TokenKeeper | None = None) -> None:
        self._http = http
        self._token = token
        self._tokens = tokens

    def apart(self, what: str) -> "Account":
        """The same with a breaker of its own, see `CrmHttp.apart`."""
        return Account(self._http.apart(what), token=self._token, tokens=self._tokens)

    def deadline(self) -> float:
        """See `CrmHttp.deadline`."""
        return self._http.deadline()

    async def get(self, path: str, query: Iterable[tuple[str, str]], *, deadline: float) -> Mapping[str, object]:
        """The answer's body, an empty one for nothing found. Raises as `CrmHttp.get`."""
        parameters = list(query)

        async def ask(token: str) -> Mapping[str, object]:
            return await self._http.get(
                path, parameters, interpret, deadline=deadline, headers=_bearing(token), hide=[token]
            )

        return await self._with_token(ask)

    async def send(self, method: str, path: str, body: object, *, deadline: float) -> Mapping[str, object]:
        """The answer's body. Raises as `CrmHttp.send`."""

        async def ask(token: str) -> Mapping[str, object]:
            return await self._http.send(
                method, path, interpret, deadline=deadline, json=body, headers=_bearing(token), hide=[token],
                repeatable=False,
            )  # fmt: skip

        return await self._with_token(ask)

    async def _with_token(self, ask: Ask) -> Mapping[str, object]:
        token = await self._tokens.access() if self._tokens else self._token
        try:
            return await ask(token)
        except TokenExpired as refusal:
            if self._tokens is None:
                raise CrmAuthFailed(str(refusal)) from None
            token = await self._tokens.renew(token)
        try:
            return await ask(token)
        except TokenExpired as refusal:
            raise CrmAuthFailed(f"a fresh token is refused: {refusal}") from None


def _bearing(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"}


def interpret(answer: Answer) -> Mapping[str, object]:
    """The body of a successful answer, an empty one for 204 and 404.

    Raises:
        CrmUnavailable: no JSON object came.
        TokenExpired: 401.
        CrmAuthFailed: the account is not paid for, or the address is blocked.
        CrmRejected: any other refusal, but one of single elements, whose `errors` are the caller's to read.
    """
    if answer.status == NOT_FOUND or (answer.status < 300 and not answer.body.strip()):  # noqa: PLR2004 - HTTP
        return {}
    if answer.status == UNAUTHORIZED:
        raise TokenExpired("the token is refused (401)")
    if answer.status == PAYMENT:
        raise CrmAuthFailed("the account is not paid for (402)")
    if answer.status == FORBIDDEN:
        raise CrmAuthFailed(f"refuses us (403), for the token's rights or for too many requests: {_detail(answer)}")
    if answer.body.lstrip()[:1] == b"[":
        answer = Answer(answer.status, b'{"%s":%s}' % (LISTED.encode(), answer.body))
    body = json_object(answer)
    told = body.get("status")  # a problem's own, whatever it was sent with
    failed = answer.status >= BAD_REQUEST or (isinstance(told, int) and told >= BAD_REQUEST)
    if not failed or objects(body.get("errors")):
        return body
    details = [
        text(error.get("detail"))
        for each in objects(body.get("validation-errors"))
        for error in objects(each.get("errors"))
    ]
    message = "; ".join(filter(None, (text(body.get("detail")), *details)))[:MAX_MESSAGE]
    raise CrmRejected(message or f"status {answer.status} without a reason")


async def buy_tokens(http: CrmHttp, *, client_id: str, client_secret: str, redirect_uri: str, refresh: str) -> Tokens:
    """A new pair for a refresh token.

    Raises:
        CrmAuthFailed: the token is not taken.
        CrmUnavailable: nobody answers.
    """
    body = {
        "client_id": client_id,
        "client_secret": client_secret,
        "grant_type": "refresh_token",
        "refresh_token": refresh,
        "redirect_uri": redirect_uri,
    }
    # Not repeated: the first request may have spent the token.
    found = await http.send(
        "POST", "/oauth2/access_token", _pair, deadline=http.deadline(), json=body, hide=[refresh], repeatable=False
    )
    return Tokens(access=text(found.get("access_token")), refresh=text(found.get("refresh_token")))


def _detail(answer: Answer) -> str:
    """What a refusal says; a block is told by a web page or a bare word."""
    try:
        body = json_object(answer)
    except CrmUnavailable:
        return "no reason is given"
    return text(body.get("detail"))[:MAX_MESSAGE] or "no reason is given"


def _pair(answer: Answer) -> Mapping[str, object]:
    body = json_object(answer)
    if text(body.get("access_token")) and text(body.get("refresh_token")):
        return body
    reason = text(body.get("hint")) or text(body.get("title")) or f"no tokens ({answer.status})"
    raise CrmAuthFailed(f"{reason[:MAX_MESSAGE]}: {ALLOW_AGAIN}")
