"""The far end of an AMI connection on a real socket, as helpful or as broken as a test wants it.

Reads actions with its own three lines, not with the codec under test. Texts and order of answers are those of
Asterisk 22.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

BANNER = b"Asterisk Call Manager/11.0.0\r\n"
CHALLENGE = "697613656"
DEADLINE_S = 5.0

Action = dict[str, str]


def frame(*lines: str) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class AmiPeer:
    """A PBX with one user, `vochi` / `secret`.

    Attributes:
        actions: Every action received, logins and pings included.
        answers: What to write for an action, by its name; without an entry the answer is an error.
        takes_md5: Whether Challenge is answered.
        refusal: What it says to others.
        mute: Once true, nothing is answered any more, though the connection stays.
        pbx_time: What Pong says.
    """

    def __init__(self) -> None:
        self.port = 0
        self.banner = BANNER
        self.actions: list[Action] = []
        self.answers: dict[str, Callable[[str], Iterable[bytes]]] = {}
        self.secret = "secret"
        self.takes_md5 = True
        self.refusal = "Authentication failed"
        self.mute = False
        self.pbx_time = "1795174452.753800"
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Condition()

    def names(self) -> list[str]:
        """The actions so far, by name."""
        return [action["Action"] for action in self.actions]

    async def seen(self, name: str, times: int = 1) -> Action:
        """Wait until an action of that name came so many times; the last of them."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: self.names().count(name) >= times)
        return [action for action in self.actions if action["Action"] == name][-1]

    def send(self, *pieces: bytes) -> None:
        """Write to everybody who is connected."""
        for writer in self._writers:
            writer.writelines(pieces)

    def drop(self) -> None:
        """End every connection as a killed Asterisk does."""
        for writer in self._writers:
            writer.transport.abort()

    async def connected(self, times: int) -> None:
        """Wait until somebody connected so many times."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: self.connections >= times)

    async def left(self) -> None:
        """Wait until nobody is connected any more."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: not self._writers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one client until it goes."""
        self._writers.add(writer)
        async with self._changed:
            self.connections += 1
            self._changed.notify_all()
        try:
            writer.write(self.banner)
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                action = dict(line.split(": ", 1) for line in lines if line)
                if not self.mute:
                    writer.writelines(self._answer(action))
                async with self._changed:
                    self.actions.append(action)
                    self._changed.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            async with self._changed:
                self._writers.discard(writer)
                self._changed.notify_all()

    def _answer(self, action: Action) -> Iterable[bytes]:
        action_id = f"ActionID: {action['ActionID']}"
        match action["Action"]:
            case "Challenge" if self.takes_md5:
                return [frame("Response: Success", action_id, f"Challenge: {CHALLENGE}")]
            case "Login" if self._is_right(action):
                return [frame("Response: Success", action_id, "Message: Authentication accepted")]
            case "Login":
                return [frame("Response: Error", action_id, f"Message: {self.refusal}")]
            case "Ping" if "Ping" not in self.answers:
                return [frame("Response: Success", action_id, "Ping: Pong", f"Timestamp: {self.pbx_time}")]
            case name if name in self.answers:
                return self.answers[name](action_id)
            case name:
                return [frame("Response: Error", action_id, f"Message: Invalid/unknown command: {name}.")]

    def _is_right(self, action: Action) -> bool:
        if "Key" in action:
            return action["Key"] == hashlib.md5((CHALLENGE + self.secret).encode()).hexdigest()
        return action.get("Secret") == self.secret


@asynccontextmanager
async def ami_peer(port: int = 0) -> AsyncIterator[AmiPeer]:
    """A peer that listens on loopback until the block ends."""
    peer = AmiPeer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", port)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        peer.drop()
        await peer.left()
        await server.wait_closed()
