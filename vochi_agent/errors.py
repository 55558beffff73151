"""Every exception the agent raises on purpose, split by what the caller does next.

VochiError
├── ConfigError             the configuration is wrong: say every problem, exit 2
├── PortTaken               a listener cannot bind: say who holds the port, exit 2
├── NotReachable            something outside does not answer: wait, or exit 3 in a one-shot command
│   ├── ConnectionLost      a connection that worked is gone; whatever was pending has failed
│   ├── StoreUnavailable    PostgreSQL is away: keep the data, try again
│   │   ├── StoreConflict   somebody else changed the same rows meanwhile: repeat the transaction at once
│   │   └── StoreForbidden  our user there lacks a right: an administrator has to give it
│   ├── RecordsUnavailable  CEL or CDR cannot be read: the gap stays, try again
│   └── CrmUnavailable      a CRM is slow, limited, broken or away: retry with backoff
│       ├── CrmUncertain    a change was sent and its answer lost: it may have been made; look before repeating
│       └── CrmPaused       it failed so often that we leave it alone for a while: do not retry now
├── LoginRefused            the PBX does not accept our AMI or ARI user: slow retry, one alarm
├── ActionFailed            the PBX understood an AMI action or ARI request and refused it
│   └── NotPermitted        our user there lacks the right: an administrator has to give it
├── NotPossible             what was asked of a call cannot be: nobody by that number, no such call: say so
├── TooOften                somebody asks for the same again and again: let him wait
├── ProtocolError           bytes that break the wire format
│   ├── RemoteProtocolError they sent them: drop the connection
│   └── LocalProtocolError  we were about to send them: a bug or an attack, nothing was sent
├── StoreRefused            PostgreSQL cannot hold this value, now or later: set it aside, go on with the next
├── SpoolUnavailable        the disk does not take what should wait there: keep it in memory, try again
├── LinkRefused             two numbers cannot become one person: say why, exit 1
├── CrmRejected             a CRM understood and said no: park it and show it
├── CrmAuthFailed           a CRM refuses our key: longest wait, one alarm
├── NotUnderstood           a message that came in makes no sense: refuse it, keep its shape in the log
└── ForeignTenant           a message that came in is for somebody else: as if nobody lived here

Policy tests the class, never the text.
"""

from collections.abc import Sequence

__all__ = [
    "ActionFailed",
    "ConfigError",
    "ConnectionLost",
    "CrmAuthFailed",
    "CrmPaused",
    "CrmRejected",
    "CrmUnavailable",
    "CrmUncertain",
    "ForeignTenant",
    "LinkRefused",
    "LocalProtocolError",
    "LoginRefused",
    "NotPermitted",
    "NotPossible",
    "NotReachable",
    "NotUnderstood",
    "PortTaken",
    "ProtocolError",
    "RecordsUnavailable",
    "RemoteProtocolError",
    "SpoolUnavailable",
    "StoreConflict",
    "StoreForbidden",
    "StoreRefused",
    "StoreUnavailable",
    "TooOften",
    "VochiError",
]


class VochiError(Exception):
    """The root of the tree above."""


class ConfigError(VochiError):
    """The configuration cannot be used. `problems` holds one plain sentence a mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class PortTaken(VochiError):
    """A listener could not bind its address; the message names who holds it."""


class NotReachable(VochiError):
    """Something outside this process does not answer."""


class ConnectionLost(NotReachable):
    """A connection ended; what was pending on it has failed and is not repeated."""


class StoreUnavailable(NotReachable):
    """PostgreSQL is away or refuses connections."""


class StoreConflict(StoreUnavailable):
    """The transaction lost against another one that wrote the same rows; nothing was stored."""


class StoreForbidden(StoreUnavailable):
    """PostgreSQL does not let our user do what was asked; nothing was stored."""


class RecordsUnavailable(NotReachable):
    """What the PBX wrote about its calls (CEL, CDR) cannot be read this time."""


class StoreRefused(VochiError):
    """PostgreSQL is there and cannot hold a value; repeating it changes nothing."""


class SpoolUnavailable(VochiError):
    """The disk is full, read-only or broken; nothing was kept there."""


class CrmUnavailable(NotReachable):
    """A CRM did not give a usable answer this time."""


class CrmUncertain(CrmUnavailable):
    """A change was sent to a CRM and its answer is lost; nobody knows whether it was made.

    Attributes:
        settles_s: Seconds until a look tells; sooner the change may still be on its way. 0: repeating it is harmless.
    """

    def __init__(self, message: str, *, settles_s: float = 0.0) -> None:
        super().__init__(message)
        self.settles_s = settles_s


class CrmPaused(CrmUnavailable):
    """Our circuit breaker of this CRM is open; nothing was sent."""


class LoginRefused(VochiError):
    """Our AMI or ARI user is not let in; repeating it soon would only fill the PBX's log."""


class ActionFailed(VochiError):
    """The PBX understood an AMI action or an ARI request and refused it."""


class NotPermitted(ActionFailed):
    """Our user on the PBX lacks the right to do it."""


class NotPossible(VochiError):
    """What was asked of a call cannot be: a number that is none, a call that is over, a colleague without a phone."""


class TooOften(VochiError):
    """Somebody asks for more than anybody needs."""


class ProtocolError(VochiError):
    """Abstract: bytes that break a wire format."""


class RemoteProtocolError(ProtocolError):
    """The peer sent bytes that break the wire format; the connection is beyond repair."""


class LocalProtocolError(ProtocolError):
    """We were asked to send bytes that break the wire format; nothing was sent."""


class LinkRefused(VochiError):
    """Two numbers cannot become one person; the message is a sentence for the one who asked."""


class CrmRejected(VochiError):
    """A CRM understood the request and refused it; repeating it changes nothing."""


class CrmAuthFailed(VochiError):
    """A CRM refuses our credentials."""


class CrmBlocked(CrmAuthFailed):
    """A CRM has shut us out; every further request makes it worse."""


class NotUnderstood(VochiError):
    """A message that came in makes no sense, or asks for what we do not do; the text says which."""


class ForeignTenant(VochiError):
    """A message that came in names another account than the configured one."""
