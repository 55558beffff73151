"""What of a new configuration counts only after a restart. The counterpart of `Daemon.reload`."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from vochi_agent.config.tables import Config, Table

__all__ = ["waiting_for_restart"]

ENTERPRISES: Final = "enterprises"
# What a reload takes wholly.
TAKEN: Final[Mapping[str, Collection[str]]] = {
    "daemon": {"timezone"},
    "log": {"level"},
    "telegram": {"card"},
    ENTERPRISES: {"name", "legal_forms", "block", "allow", "lines", "agents", "departments", "chats"},
}


def waiting_for_restart(running: Config, new: Config) -> list[str]:
    """Keys that differ and that a reload does not take, named as mistakes name them."""
    found = [
        key
        for name in Config.model_fields
        if name != ENTERPRISES
        for key in _differing(name, getattr(running, name), getattr(new, name), TAKEN.get(name, ()))
    ]
    ours = {each.number: each for each in running.enterprises}
    theirs = {each.number: each for each in new.enterprises}
    for number in dict.fromkeys([*ours, *theirs]):
        key = f"{ENTERPRISES}[{number}]"
        if number in ours and number in theirs:
            found += _differing(key, ours[number], theirs[number], TAKEN[ENTERPRISES])
        else:
            found.append(key)
    return found


def _differing(name: str, one: Table, other: Table, taken: Collection[str] = ()) -> Iterator[str]:
    for key in type(one).model_fields:
        before, after = getattr(one, key), getattr(other, key)
        if isinstance(before, Table) and isinstance(after, Table):
            yield from _differing(f"{name}.{key}", before, after)
        elif key not in taken and before != after:
            yield f"{name}.{key}"
