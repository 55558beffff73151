"""The two ways to speak with a Bitrix24 portal: an inbound webhook, and a local application with OAuth2.

Cards and calls want an application; by a webhook the portal tells names only. An access token lives an hour and is
renewed when, and only when, the portal calls it expired. Source: the vendor's documentation of its REST API.
"""

import logging
from collections.abc import Mapping
from typing import Final, Protocol, Self
from urllib.parse import urlsplit

from vochi_agent.crm.fields import text
from vochi_agent.crm.http import Answer, CrmHttp, json_object
from vochi_agent.crm.oauth import ALLOW_AGAIN, TokenExpired, TokenKeeper, Tokens
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable

__all__ = ["BLOCKED_BY_HAND", "ByApplication", "ByWebhook", "Portal", "TokenShop", "bind_event", "interpret", "refusal"]

log = logging.getLogger(__name__)

MAX_MESSAGE: Final = 200
EXPIRED: Final = frozenset({"expired_token", "invalid_token"})
AUTH_ERRORS: Final = frozenset(
    {"no_auth_found", "invalid_credentials", "insufficient_scope", "access_denied",
     "user_access_error", "wrong_auth_type", "invalid_client", "payment_required", "portal_deleted"}
)  # fmt: skip
# A block by hand, sent as 503: asking again makes it worse.
BLOCKED_BY_HAND: Final = "OVERLOAD_LIMIT"
# Sent as 503 and 429, and inside a batch: later it will be well.
LIMITS: Final = frozenset({"query_limit_exceeded", "operation_time_limit"})


class Portal(Protocol):
    """How a portal is spoken with."""

    http: CrmHttp
    telephony: bool

    @property
    def moved_to(self) -> str:
        """The portal's new host, "" when it is where it is configured, or nobody said."""
        ...

    def apart(self, what: str, *, attempt_s: float | None = None) -> Self:
        """The same with a breaker of its own, see `CrmHttp.apart`."""
        ...

    async def call(
        self, method: str, parameters: Mapping[str, object], *, deadline: float, repeatable: bool
    ) -> Mapping[str, object]:
        """The answer's body of a REST method.

        Raises:
            CrmUncertain, CrmUnavailable, CrmAuthFailed, CrmRejected: as `CrmHttp.send`.
        """
        ...


class ByWebhook:
    """By an inbound webhook: its secret is a part of the base URL. It may not touch telephony."""

    telephony = False
    moved_to = ""

    def __init__(self, http: CrmHttp) -> None:
        self.http = http

    def apart(self, what: str, *, attempt_s: float | None = None) -> "ByWebhook":
        """See `Portal.apart`."""
        return ByWebhook(self.http.apart(what, attempt_s=attempt_s))

    async def call(
        self, method: str, parameters: Mapping[str, object], *, deadline: float, repeatable: bool
    ) -> Mapping[str, object]:
        """See `Portal.call`."""
        return await self.http.send(
            "POST", f"/{method}.json", interpret, deadline=deadline, json=parameters, repeatable=repeatable
        )


class ByApplication:
    """By a local application: its token is refreshed when, and only when, the portal calls it expired."""

    telephony = True

    def __init__(self, http: CrmHttp, tokens: TokenKeeper, shop: "TokenShop") -> None:
        self.http = http
        self._tokens = tokens
        self._shop = shop

    @property
    def moved_to(self) -> str:
        """See `Portal.moved_to`; known as long as the pair that came with the word is in use."""
        return self._tokens.host if self._tokens.host != self._shop.portal else ""

    def apart(self, what: str, *, attempt_s: float | None = None) -> "ByApplication":
        """See `Portal.apart`."""
        return ByApplication(self.http.apart(what, attempt_s=attempt_s), self._tokens, self._shop)

    async def call(
        self, method: str, parameters: Mapping[str, object], *, deadline: float, repeatable: bool
    ) -> Mapping[str, object]:
        """See `Portal.call`."""
        token = await self._tokens.access()
        try:
            return await self._ask(method, parameters, token, deadline=deadline, repeatable=repeatable)
        except TokenExpired:
            token = await self._tokens.renew(token)
        try:
            return await self._ask(method, parameters, token, deadline=deadline, repeatable=repeatable)
        except TokenExpired as refusal:
            raise CrmAuthFailed(f"a fresh token is refused: {refusal}") from None

    async def _ask(
        self, method: str, parameters: Mapping[str, object], token: str, *, deadline: float, repeatable: bool
    ) -> Mapping[str, object]:
        return await self.http.send(
            "POST", f"/rest/{method}.json", interpret, deadline=deadline, json={**parameters, "auth": token},
            hide=[token], repeatable=repeatable,
        )  # fmt: skip


def interpret(answer: Answer) -> Mapping[str, object]:
    """The body of a successful answer.

    Raises:
        CrmUnavailable: no JSON object came.
        TokenExpired: a new token is needed.
        CrmAuthFailed: the token, the webhook's secret or its rights are refused.
        CrmRejected: any other error. Its code may be an empty string.
    """
    body = json_object(answer)
    if "error" not in body:
        if "result" not in body:
            raise CrmUnavailable(f"JSON without a result ({answer.status})")
        return body
    raise refusal(body, f"status {answer.status} without a reason")


def refusal(error: Mapping[str, object], otherwise: str = "without a reason") -> Exception:
    """What an error means, that of a whole answer or of one command of a batch."""
    code, description = text(error.get("error")), text(error.get("error_description"))
    message = f"{code} {description}".strip()[:MAX_MESSAGE] or otherwise
    if code.lower() in EXPIRED:
        return TokenExpired(message)
    if code.lower() in LIMITS:
        return CrmUnavailable(message)
    return CrmAuthFailed(message) if code.lower() in AUTH_ERRORS else CrmRejected(message)


async def bind_event(portal: Portal, parameters: Mapping[str, object]) -> None:
    """Ask for one event, by the parameters of `event.bind`.

    Bound again it is refused, and then it is as it should be: somebody was quicker, or an answer was lost on its way.
    Raises as `Portal.call`.
    """
    try:
        await portal.call("event.bind", parameters, deadline=portal.http.deadline(), repeatable=True)
    except CrmRejected as refusal:
        if "already" not in str(refusal).lower():
            raise


class TokenShop:
    """Where the vendor sells pairs of tokens; with each it says where the portal lives.

    Args:
        http: Of the vendor's own server.
        portal: The portal's configured address.

    Attributes:
        portal: Its host.
    """

    def __init__(self, http: CrmHttp, *, client_id: str, client_secret: str, portal: str) -> None:
        self._http = http
        self._client = [("client_id", client_id), ("client_secret", client_secret)]
        self.portal = urlsplit(portal).hostname or ""
        self._moved_to = ""

    async def buy(self, refresh: str) -> Tokens:
        """A new pair for a refresh token.

        Raises:
            CrmAuthFailed: the token is not taken.
            CrmUnavailable: nobody answers.
        """
        query = [("grant_type", "refresh_token"), *self._client, ("refresh_token", refresh)]
        # Not repeated: the first request may have spent the token.
        body = await self._http.send(
            "GET", "/oauth/token/", _pair, deadline=self._http.deadline(), query=query, hide=[refresh],
            repeatable=False,
        )  # fmt: skip
        host = _host(text(body.get("client_endpoint")))
        self._notice(host)
        return Tokens(access=text(body.get("access_token")), refresh=text(body.get("refresh_token")), host=host)

    def _notice(self, host: str) -> None:
        """A portal may get another domain; its old address goes on for a while, or redirects."""
        moved_to = host if host != self.portal else ""
        if moved_to and moved_to != self._moved_to:
            log.warning(
                "The Bitrix24 portal %s has moved to %s: configure its new url", self.portal, moved_to,
                extra={"action": "crm_moved"},
            )  # fmt: skip
        self._moved_to = moved_to


def _host(endpoint: str) -> str:
    try:
        return (urlsplit(endpoint).hostname or "")[:MAX_MESSAGE]
    except ValueError:
        return ""


def _pair(answer: Answer) -> Mapping[str, object]:
    body = json_object(answer)
    if text(body.get("access_token")) and text(body.get("refresh_token")):
        return body
    reason = text(body.get("error")) or f"no tokens ({answer.status})"
    raise CrmAuthFailed(f"{reason[:MAX_MESSAGE]}: {ALLOW_AGAIN}")
