"""What tables must agree on with each other: nothing twice that must be unique, no reference to what is not there.

Works on the raw document, so that these mistakes are reported together with those of single values.
"""

from collections.abc import Hashable, Iterator
from typing import Any

from vochi_agent.config.crm_checks import check_applications, check_crms
from vochi_agent.config.document import Document, KeyPath
from vochi_agent.config.problems import did_you_mean, shown

__all__ = ["check_agreement"]

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
DEFAULT_DIRECTIONS = ["in", "out"]
# Kinds of telephones, by charset and width: every call carries its name in each.
MAX_KINDS = 16
TELEGRAM = "https://api.telegram.org"
LISTENERS = {"fastagi": "127.0.0.1:4577", "http": "127.0.0.1:8070"}


def check_agreement(document: Document, *, failed_secrets: frozenset[KeyPath]) -> None:
    """Add a problem for every disagreement between tables; `failed_secrets` were given but could not be read."""
    enterprises = list(_elements(document.tables, "enterprises", ()))
    if document.tables.get("enterprises", []) == []:
        document.problems.append(f"{document.file}: no enterprise; needed: at least one table [[enterprises]]")
    _unique(document, enterprises, "number", "the number of another enterprise")
    _check_listeners(document)
    _check_webhook(document)
    _check_ami(document, enterprises)
    for path, enterprise in enterprises:
        _check_lines(document, path, enterprise)
        _check_extensions(document, path, enterprise)
        _check_chats(document, path, enterprise)
        _check_primary_source(document, path, enterprise)
        _check_token(document, path, enterprise, failed_secrets)
        check_crms(document, path, enterprise, failed_secrets)
    check_applications(document, enterprises)


def _check_listeners(document: Document) -> None:
    fastagi, http = (_table(document.tables, name).get("listen", LISTENERS[name]) for name in LISTENERS)
    if fastagi == http and not str(http).endswith(":0"):
        document.complain(("http", "listen"), f"is {shown(http)}, the address of fastagi.listen; allowed: another port")


def _check_webhook(document: Document) -> None:
    """Telegram itself brings updates by https only; a Bot API server of one's own is not so strict."""
    telegram, url = _table(document.tables, "telegram"), _table(document.tables, "http").get("public_url", "")
    if telegram.get("updates") != "webhook" or not isinstance(url, str):
        return
    if not url:
        document.complain(("telegram", "updates"), 'is "webhook" without an address; needed: http.public_url')
    elif telegram.get("api_url", TELEGRAM) == TELEGRAM and not url.startswith("https://"):
        document.complain(("http", "public_url"), 'is no https:// address, which telegram.updates = "webhook" needs')


def _check_ami(document: Document, enterprises: list[tuple[KeyPath, dict[str, Any]]]) -> None:
    """Two enterprises on one AMI would both claim every call of that PBX."""
    seen: dict[str, KeyPath] = {}
    for path, enterprise in enterprises:
        ami = _table(enterprise, "asterisk").get("ami")
        if not isinstance(ami, str):
            continue
        host, _, port = ami.lower().rpartition(":")
        place = f"{'loopback' if host in LOOPBACK_NAMES else host}:{port}"
        here = (*path, "asterisk", "ami")
        if place in seen:
            document.complain(here, f"is {shown(ami)}, as is {document.name(seen[place])}; allowed: an AMI of its own")
        seen.setdefault(place, here)


def _check_lines(document: Document, enterprise_path: KeyPath, enterprise: dict[str, Any]) -> None:
    lines = list(_elements(enterprise, "lines", enterprise_path))
    _unique(document, lines, "id", "the id of another line")
    seen: dict[tuple[str, str], KeyPath] = {}
    for path, line in lines:
        endpoint, dids = line.get("endpoint"), line.get("dids", [line.get("id")])
        for did in dids if isinstance(dids, list) else ():
            if not isinstance(endpoint, str) or not isinstance(did, str):
                continue
            first = seen.setdefault((endpoint, did), path)
            if first != path and "dids" in line:
                document.complain(
                    (*path, "dids"), f"has {shown(did)}, as has {document.name(first)} on the same endpoint {endpoint}"
                )


def _check_extensions(document: Document, enterprise_path: KeyPath, enterprise: dict[str, Any]) -> None:
    agents = list(_elements(enterprise, "agents", enterprise_path))
    departments = list(_elements(enterprise, "departments", enterprise_path))
    _unique(document, agents, "extension", "the extension of another agent")
    _unique(document, departments, "number", "the number of another department")
    kinds: dict[tuple[object, object], KeyPath] = {}
    for path, agent in agents:
        kinds.setdefault((agent.get("charset", "utf-8"), agent.get("name_width", 60)), path)
    for path in list(kinds.values())[MAX_KINDS:]:
        complaint = f"is one more kind of telephone than {MAX_KINDS}; each costs every caller a moment"
        document.complain((*path, "name_width"), complaint)
    people = {agent.get("extension") for _, agent in agents if isinstance(agent.get("extension"), str)}
    for path, department in departments:
        number = department.get("number")
        if isinstance(number, str) and number in people:
            document.complain((*path, "number"), f"is {shown(number)}, which is an agent's extension")


def _check_chats(document: Document, enterprise_path: KeyPath, enterprise: dict[str, Any]) -> None:
    chats = list(_elements(enterprise, "chats", enterprise_path))
    known = [
        line["id"] for _, line in _elements(enterprise, "lines", enterprise_path) if isinstance(line.get("id"), str)
    ]
    for position, (path, chat) in enumerate(chats):
        lines = chat.get("lines")
        for line in lines if isinstance(lines, list) else ():
            if isinstance(line, str) and line not in known:
                document.complain(
                    (*path, "lines"), f"has {shown(line)}, which is no line's id{did_you_mean(line, known)}"
                )
        if chat.get("recording") == "audio" and not _table(enterprise, "asterisk").get("recordings"):
            document.complain((*path, "recording"), 'is "audio" without a folder; needed: asterisk.recordings')
        if any(_same_call_twice(chat, earlier) for _, earlier in chats[:position]):
            document.complain((*path, "id"), "would get some calls twice: an earlier table has the same chat and topic")


def _check_token(
    document: Document, path: KeyPath, enterprise: dict[str, Any], failed_secrets: frozenset[KeyPath]
) -> None:
    given = enterprise.get("telegram_token") or _table(document.tables, "telegram").get("token")
    failed = failed_secrets & {(*path, "telegram_token"), ("telegram", "token")}
    if enterprise.get("chats") and not given and not failed:
        document.complain((*path, "chats"), "cannot be told anything without a bot; needed: telegram.token_file")


def _check_primary_source(document: Document, path: KeyPath, enterprise: dict[str, Any]) -> None:
    crms = list(_table(enterprise, "crm"))
    if len(crms) > 1 and not enterprise.get("primary_source"):
        document.complain((*path, "primary_source"), f"is missing; needed: whose names win, {' or '.join(crms)}")


def _same_call_twice(chat: dict[str, Any], other: dict[str, Any]) -> bool:
    def overlap(key: str, default: list[str]) -> bool:
        first, second = chat.get(key, default), other.get(key, default)
        if not isinstance(first, list) or not isinstance(second, list):
            return False
        return not first or not second or any(item in second for item in first)

    same_place = chat.get("id") == other.get("id") and chat.get("topic", 0) == other.get("topic", 0)
    return same_place and overlap("lines", []) and overlap("directions", DEFAULT_DIRECTIONS)


def _unique(document: Document, elements: list[tuple[KeyPath, dict[str, Any]]], key: str, what: str) -> None:
    seen: dict[Hashable, KeyPath] = {}
    for path, element in elements:
        value = element.get(key)
        if not isinstance(value, str):
            continue
        first = seen.setdefault(value, path)
        if first != path:
            elsewhere = document.origin(first)
            where = "" if elsewhere == document.origin(path) else f" (in {elsewhere})"
            document.complain((*path, key), f"is {shown(value)}, {what}{where}; allowed: each once")


def _elements(table: dict[str, Any], key: str, path: KeyPath) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    elements = table.get(key)
    for index, element in enumerate(elements if isinstance(elements, list) else ()):
        if isinstance(element, dict):
            yield (*path, key, index), element


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}
