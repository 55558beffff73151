"""Who answers `init`: an option, else the person before the terminal, else a default."""

import getpass
import sys
from collections.abc import Callable

from vochi_agent.errors import ConfigError

__all__ = ["Person"]


class Person:
    """Who sits before the terminal; nobody when `asks` is false, or when the input has ended."""

    def __init__(self, *, asks: bool) -> None:
        self._asks = asks

    def word(
        self, question: str, given: str | None, *, option: str, default: str, allowed: Callable[[str], bool],
        needed: bool = True, secret: bool = False,
    ) -> str:  # fmt: skip
        """One answer. Raises ConfigError when it is needed and nobody gives it, or an option's cannot be."""
        if given is not None:
            if not allowed(given):
                raise ConfigError([f"{option} {'' if secret else given}: cannot be; needed: {question.lower()}"])
            return given
        while self._asks:
            said = self._ask(f"{question}{f' [{default}]' if default else ''}: ", secret=secret)
            if said is None:
                self._asks = False
            elif not said:
                break
            elif allowed(said):
                return said
            else:
                print("  That cannot be.", file=sys.stderr)
        if needed and not default:
            raise ConfigError([f"{option} is needed: {question}"])
        return default

    @staticmethod
    def _ask(prompt: str, *, secret: bool) -> str | None:
        if secret and sys.stdin.isatty():
            try:
                return getpass.getpass(prompt, stream=sys.stderr).strip()
            except EOFError:
                return None
        print(prompt, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        return line.strip() if line else None
