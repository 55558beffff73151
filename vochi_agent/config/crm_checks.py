"""Which of a CRM's credentials go together: one whole set, never two, never a half.

Works on the raw document, like `checks`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from vochi_agent.config.document import Document, KeyPath

__all__ = ["check_applications", "check_crms"]

SECRETS: Final = frozenset({"api_key", "client_secret", "refresh_token"})
# Each way to be let in, by what one calls it: all keys of it, and none of another.
WAYS: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "bitrix24": {
        "a webhook": ("user_id", "api_key"),
        "an application": ("client_id", "client_secret", "refresh_token"),
    },
    "amocrm": {
        "a long-lived token": ("api_key",),
        "an application": ("client_id", "client_secret", "redirect_uri", "refresh_token"),
    },
}


def check_crms(
    document: Document, enterprise_path: KeyPath, enterprise: dict[str, Any], failed_secrets: Collection[KeyPath]
) -> None:
    """Add a problem for every CRM whose credentials are no whole set.

    Args:
        failed_secrets: Were given but could not be read.
    """
    tables = enterprise.get("crm")
    for name, ways in WAYS.items():
        table = tables.get(name) if isinstance(tables, dict) else None
        if not isinstance(table, dict):
            continue
        path = (*enterprise_path, "crm", name)
        given = {key for keys in ways.values() for key in keys if table.get(key) or (*path, key) in failed_secrets}
        _check_ways(document, path, ways, given)
        if name == "amocrm" and table.get("unsorted") and table.get("unknown_in", "nothing") != "nothing":
            document.complain((*path, "unsorted"), "and unknown_in are two ways with the same callers; allowed: one")
        if name == "bitrix24" and table.get("events_s") and not given & {"client_id", "client_secret", "refresh_token"}:
            document.complain((*path, "events_s"), "wants an application (client_id, client_secret, refresh_token)")


def check_applications(document: Document, enterprises: Sequence[tuple[KeyPath, dict[str, Any]]]) -> None:
    """Add a problem for a refresh token that two enterprises were given: whoever is first to use it spends it."""
    seen: dict[tuple[str, str], KeyPath] = {}
    for path, enterprise in enterprises:
        tables = enterprise.get("crm")
        for name in WAYS:
            table = tables.get(name) if isinstance(tables, dict) else None
            token = table.get("refresh_token") if isinstance(table, dict) else None
            if not isinstance(token, str) or not token:
                continue
            here = (*path, "crm", name, _shown("refresh_token"))
            if (name, token) in seen:
                whose = document.name(seen[name, token])
                document.complain(here, f"holds the token of {whose}; allowed: an application of its own")
            seen.setdefault((name, token), here)


def _check_ways(document: Document, path: KeyPath, ways: Mapping[str, Sequence[str]], given: Collection[str]) -> None:
    begun = [way for way, keys in ways.items() if any(key in given for key in keys)]
    allowed = " or ".join(f"{way} ({', '.join(map(_shown, keys))})" for way, keys in ways.items())
    if not begun:
        document.complain((*path, _shown(next(iter(ways.values()))[-1])), f"is missing; needed: {allowed}")
    elif len(begun) > 1:
        extra = next(key for key in ways[begun[1]] if key in given)
        document.complain(
            (*path, _shown(extra)), f"belongs to {begun[1]}, but {begun[0]} is there too; allowed: {allowed}"
        )
    else:
        for key in ways[begun[0]]:
            if key not in given:
                document.complain(
                    (*path, _shown(key)), f"is missing; {begun[0]} needs {', '.join(map(_shown, ways[begun[0]]))}"
                )


def _shown(key: str) -> str:
    """As an operator writes it: secrets in files."""
    return f"{key}_file" if key in SECRETS else key
