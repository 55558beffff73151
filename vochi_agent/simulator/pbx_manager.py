"""The AMI listener of the simulated PBX: sessions, logins, rights, and events to everybody who may read them.

Answers and refusals are worded as Asterisk 22 words them. What an action does is in `pbx_actions`.
"""

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, cast

from vochi_agent.errors import RemoteProtocolError
from vochi_agent.ports_in_use import port_taken
from vochi_agent.protocols.ami import AmiReader, Message, encode_message

from .pbx_channels import Headers

__all__ = ["ALL_RIGHTS", "Manager", "Perform", "User", "failure"]

log = logging.getLogger(__name__)

BANNER = b"Asterisk Call Manager/11.0.0\r\n"
ALL_RIGHTS = frozenset({"system", "call", "agent", "user", "dialplan", "originate", "reporting"})
# Any one of them is enough (main/manager.c); an action that is not named here needs a login and nothing more.
RIGHTS = {
    "coreshowchannels": {"system", "reporting"},
    "corestatus": {"system", "reporting"},
    "coresettings": {"system", "reporting"},
    "getvar": {"call", "reporting"},
    "setvar": {"call"},
    "hangup": {"system", "call"},
    "originate": {"originate"},
}

Perform = Callable[[str, Message], Sequence[Headers] | None]
"""Does an action, named in small letters; returns the frames of its answer, None for an unknown action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of manager.conf.

    Attributes:
        read: Classes of events it gets.
        write: Rights its actions have.
    """

    secret: str = field(repr=False)
    read: frozenset[str] = ALL_RIGHTS
    write: frozenset[str] = ALL_RIGHTS


class Manager:
    """Listens while it is entered as a context manager.

    Attributes:
        host: The literal address it listens on.
        port: The port; when 0 was asked for, the one that was free.
        users: By name.
    """

    def __init__(self, host: str, port: int, *, users: Mapping[str, User], perform: Perform) -> None:
        """Prepare; nothing is bound yet."""
        self.host = host
        self.port = port
        self.users = users
        self.perform = perform
        self._listener: asyncio.Server | None = None
        self._sessions: set[Session] = set()
        self._frozen = False

    async def __aenter__(self) -> Self:
        """Bind the port.

        Raises:
            PortTaken: it cannot be bound.
        """
        try:
            self._listener = await asyncio.get_running_loop().create_server(lambda: Session(self), self.host, self.port)
        except OSError as error:
            raise port_taken("AMI of the simulator", self.host, self.port, error) from error
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the door and every session."""
        del kind, error, traceback
        if self._listener:
            self._listener.close()
        self.disconnect()

    def publish(self, event_class: str, headers: Headers) -> None:
        """Send an event to every session that may read its class."""
        self.send(event_class, encode_message(headers))

    def send(self, event_class: str, frames: bytes) -> None:
        """Send events that are encoded already to every session that may read their class."""
        for session in tuple(self._sessions):
            session.tell(event_class, frames)

    def disconnect(self) -> None:
        """Cut every session, as a restart of Asterisk or of the network does."""
        for session in tuple(self._sessions):
            session.abort()

    def freeze(self, *, frozen: bool) -> None:
        """While frozen, sessions stay open and nothing is read or said: the half-open connection."""
        self._frozen = frozen
        for session in tuple(self._sessions):
            session.freeze(frozen=frozen)

    def opened(self, session: "Session") -> None:
        """A connection came."""
        self._sessions.add(session)
        session.freeze(frozen=self._frozen)

    def closed(self, session: "Session") -> None:
        """A connection ended."""
        self._sessions.discard(session)


class Session(asyncio.Protocol):
    """One AMI connection."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._reader = AmiReader()
        self._transport: asyncio.Transport
        self._user: User | None = None
        self._challenge = ""
        self._wants_events = True
        self._frozen = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)
        self._manager.opened(self)
        if not self._frozen:
            self._transport.write(BANNER)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        del exc
        self._manager.closed(self)

    def data_received(self, data: bytes) -> None:
        """Actions from the client."""
        try:
            messages = self._reader.receive_data(data)
        except RemoteProtocolError:
            self.abort()
            return
        for message in messages:
            if not self._transport.is_closing():
                self._take(message)

    def tell(self, event_class: str, frame: bytes) -> None:
        """Send an event when this user reads its class."""
        if self._user and self._wants_events and event_class in self._user.read and not self._frozen:
            self._transport.write(frame)

    def freeze(self, *, frozen: bool) -> None:
        """Stop or go on reading."""
        if frozen == self._frozen:
            return
        self._frozen = frozen
        with contextlib.suppress(RuntimeError):  # it is closing meanwhile
            (self._transport.pause_reading if frozen else self._transport.resume_reading)()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def _take(self, message: Message) -> None:
        name = message.get("Action").lower()
        if not name:
            self._answer(message, [failure("Missing action in request")])
        elif name == "challenge":
            self._challenge_client(message)
        elif name == "login":
            self._log_in(message)
        elif name == "logoff":
            self._answer(message, [[("Response", "Goodbye"), ("Message", "Thanks for all the fish.")]])
            self._transport.close()
        elif not self._may(name):
            self._answer(message, [failure("Permission denied")])
        elif name == "events":
            self._wants_events = message.get("EventMask").lower() != "off"
            self._answer(message, [[("Response", "Success"), ("Events", "On" if self._wants_events else "Off")]])
        else:
            self._perform(name, message)

    def _perform(self, name: str, message: Message) -> None:
        frames = self._manager.perform(name, message)
        if frames is None:
            unknown = f"Invalid/unknown command: {message.get('Action')}."
            frames = [failure(f"{unknown} Use Action: ListCommands to show available commands.")]
        self._answer(message, frames)

    def _may(self, action: str) -> bool:
        return self._user is not None and (action not in RIGHTS or bool(RIGHTS[action] & self._user.write))

    def _challenge_client(self, message: Message) -> None:
        if message.get("AuthType").upper() != "MD5":
            self._answer(message, [failure("Must specify AuthType")])
            return
        self._challenge = self._challenge or str(secrets.randbelow(1_000_000_000))
        self._answer(message, [[("Response", "Success"), ("Challenge", self._challenge)]])

    def _log_in(self, message: Message) -> None:
        if self._user:
            self._answer(message, [[("Response", "Success"), ("Message", "Already authenticated")]])
            return
        user = self._manager.users.get(message.get("Username"))
        if user is None or not self._proves(message, user.secret):
            self._answer(message, [failure("Authentication failed")])
            self._transport.close()
            return
        self._user = user
        self._wants_events = message.get("Events", "on").lower() != "off"
        self._answer(message, [[("Response", "Success"), ("Message", "Authentication accepted")]])
        booted = [("Event", "FullyBooted"), ("Privilege", "system,all"), ("Uptime", "595"), ("LastReload", "595")]
        self.tell("system", encode_message([*booted, ("Status", "Fully Booted")]))

    def _proves(self, message: Message, secret: str) -> bool:
        if message.get("AuthType").upper() != "MD5":
            return secrets.compare_digest(message.get("Secret").encode(), secret.encode())
        # Asterisk's own scheme; MD5 is not our choice.
        key = hashlib.md5((self._challenge + secret).encode(), usedforsecurity=False).hexdigest()
        return bool(self._challenge) and secrets.compare_digest(message.get("Key").lower().encode(), key.encode())

    def _answer(self, message: Message, frames: Sequence[Headers]) -> None:
        """Send the frames; the ActionID of the request stands second in each, as in Asterisk."""
        identity = [("ActionID", message.action_id)] if message.action_id else []
        for first, *rest in frames:
            self._transport.write(encode_message([first, *identity, *rest]))


def failure(sentence: str) -> Headers:
    """`Response: Error` with its sentence."""
    return [("Response", "Error"), ("Message", sentence)]
