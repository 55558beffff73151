"""What a CRM sends to a webhook as one mapping: a form, JSON or parameters of the URL. Pure.

Invariants: nesting, number and length of fields are bounded; of a key given twice the last one counts.
"""

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from vochi_agent.errors import NotUnderstood

__all__ = ["read_json", "read_payload"]

MAX_FIELDS: Final = 1000
MAX_DEPTH: Final = 8


def read_payload(content_type: str, query: str, body: bytes) -> Mapping[str, object]:
    """The fields of a webhook, names in lower case; `client[u_id]=7` becomes `{"client": {"u_id": "7"}}`.

    The body is read as what it is: senders mislabel JSON as a form and the other way round.

    Raises:
        NotUnderstood: neither.
    """
    fields = _form(query)
    stripped = body.strip()
    if stripped[:1] == b"{":
        fields |= _json(stripped)
    elif stripped and ("multipart" in content_type.lower() or b"=" not in stripped):
        raise NotUnderstood("neither a form nor a JSON object")
    else:
        fields |= _form(stripped.decode("utf-8", "replace"))
    if not fields:
        raise NotUnderstood("it is empty")
    return fields


def read_json(body: bytes) -> Mapping[str, object]:
    """The fields of a webhook that is JSON and nothing else, names as they are.

    Raises:
        NotUnderstood: it is no JSON object.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise NotUnderstood("broken JSON") from None
    if not isinstance(value, dict):
        raise NotUnderstood("JSON, but no object")
    return value


def _json(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise NotUnderstood("broken JSON") from None
    return {key.lower(): inner for key, inner in value.items()} if isinstance(value, dict) else {}


def _form(encoded: str) -> dict[str, object]:
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise NotUnderstood(f"more than {MAX_FIELDS} fields") from None
    fields: dict[str, object] = {}
    for key, value in pairs:
        _put(fields, _path(key.lower()), value)
    return fields


def _path(key: str) -> list[str]:
    """`a[b][c]` as PHP writes it -> a, b, c; a key that is not written so stands for itself."""
    head, bracket, rest = key.partition("[")
    if not bracket or not head or not rest.endswith("]"):
        return [key]
    path = [head, *rest.removesuffix("]").split("][")]
    if len(path) > MAX_DEPTH:
        raise NotUnderstood("fields within fields without end")
    return path


def _put(fields: dict[str, object], path: list[str], value: str) -> None:
    *outer, last = path
    for key in outer:
        inner = fields.get(key)
        if not isinstance(inner, dict):
            # Brackets win over a plain text of the same name.
            inner = fields[key] = {}
        fields = inner
    fields[last] = value
