"""The two ways to speak with a Bitrix24 portal: an inbound webhook, and a local application with OAuth2.

Cards and calls want an application; by a webhook the portal tells names only. An access token lives an hour and is
renewed when, and only when, the portal calls it expired. Source: the vendor's documentation of its REST API.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from vochi_agent.crm.fields import text
from vochi_agent.crm.http import Answer, CrmHttp, json_object
from vochi_agent.crm.oauth import TokenExpired, TokenKeeper, Tokens
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable

__all__ = ["ByApplication", "ByWebhook", "Portal", "buy_tokens", "interpret"]

MAX_MESSAGE: Final = 200
EXPIRED: Final = frozenset({"expired_token", "invalid_token"})
AUTH_ERRORS: Final = frozenset(
    {"no_auth_found", "invalid_credentials", "insufficient_scope", "access_denied",
     "user_access_error", "wrong_auth_type", "invalid_client", "payment_required", "portal_deleted"}
)  # fmt: skip
# A block by hand: asking again makes it worse.
BLOCKED_BY_HAND: Final = "overload_limit"


class Portal(Protocol):
    """How a portal is spoken with."""

    http: CrmHttp
    telephony: bool

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

    def __init__(self, http: CrmHttp) -> None:
        self.http = http

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

    def __init__(self, http: CrmHttp, tokens: TokenKeeper) -> None:
        self.http = http
        self._tokens = tokens

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
            repeatable=repeatable,
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
    code, description = text(body.get("error")), text(body.get("error_description"))
    message = f"{code} {description}".strip()[:MAX_MESSAGE] or f"status {answer.status} without a reason"
    if code.lower() in EXPIRED:
        raise TokenExpired(message)
    if code.lower() in AUTH_ERRORS or code.lower() == BLOCKED_BY_HAND:
        raise CrmAuthFailed(message)
    raise CrmRejected(message)


async def buy_tokens(http: CrmHttp, *, client_id: str, client_secret: str, refresh: str) -> Tokens:
    """A new pair for a refresh token, from the vendor's own server.

    Raises:
        CrmAuthFailed: the token is not taken.
        CrmUnavailable: nobody answers.
    """
    query = [
        ("grant_type", "refresh_token"),
        ("client_id", client_id),
        ("client_secret", client_secret),
        ("refresh_token", refresh),
    ]
    # Not repeated: the first request may have spent the token.
    body = await http.send("GET", "/oauth/token/", _pair, deadline=http.deadline(), query=query, repeatable=False)
    return Tokens(access=text(body.get("access_token")), refresh=text(body.get("refresh_token")))


def _pair(answer: Answer) -> Mapping[str, object]:
    body = json_object(answer)
    if text(body.get("access_token")) and text(body.get("refresh_token")):
        return body
    raise CrmAuthFailed(text(body.get("error"))[:MAX_MESSAGE] or f"no tokens ({answer.status})")
