"""A small AMI client for tests, independent of the product's: reading only when asked, it needs no task."""

import asyncio
import itertools
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Manager", "ManagerError", "Message", "is_event"]

ACTION_TIMEOUT_S = 5.0
END = b"\r\n\r\n"

Message = dict[str, str]


class ManagerError(Exception):
    """Asterisk answered `Response: Error`."""


class Manager:
    """One connection. Events that arrive while an answer is awaited are kept in `events`."""

    def __init__(self, port: int, username: str, secret: str, *, events: str = "on") -> None:
        self.events: list[Message] = []
        self._port, self._username, self._secret, self._mask = port, username, secret, events
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        try:
            async with asyncio.timeout(ACTION_TIMEOUT_S):
                await self._reader.readline()
            await self.action("Login", Username=self._username, Secret=self._secret, Events=self._mask)
        except BaseException:
            self._writer.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def action(self, name: str, **fields: str) -> Message:
        """One action and its answer.

        Raises:
            ManagerError: The answer is an error.
        """
        number = f"lab-{next(self._numbers)}"
        lines = [f"Action: {name}", f"ActionID: {number}", *(f"{key}: {value}" for key, value in fields.items())]
        self._writer.write("\r\n".join(lines).encode() + END)
        async with asyncio.timeout(ACTION_TIMEOUT_S):
            while True:
                message = await self._read()
                if message.get("ActionID") == number and "Response" in message:
                    break
                self.events.append(message)
        if message["Response"] == "Error":
            raise ManagerError(f"{name}: {message.get('Message')}")
        return message

    async def command(self, line: str) -> str:
        """What the console prints for a command."""
        return (await self.action("Command", Command=line)).get("Output", "")

    async def wait_for(self, wanted: Callable[[Message], bool], *, within: float = 10.0) -> Message:
        """The first event, kept or still to come, that is wanted; it is taken out of `events`."""
        for event in self.events:
            if wanted(event):
                self.events.remove(event)
                return event
        async with asyncio.timeout(within):
            while not wanted(event := await self._read()):
                self.events.append(event)
        return event

    async def _read(self) -> Message:
        message: Message = {}
        for line in (await self._reader.readuntil(END)).decode(errors="replace").split("\r\n"):
            name, colon, value = line.partition(": ")
            if colon:
                # The lines a console command prints repeat the header Output.
                message[name] = f"{message[name]}\n{value}" if name in message else value
        return message


def is_event(name: str, **fields: str) -> Callable[[Message], bool]:
    """For `wait_for`: an event with at least these headers."""
    wanted = {"Event": name, **fields}
    return lambda event: wanted.items() <= event.items()
