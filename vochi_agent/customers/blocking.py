"""Who may not call. Pure.

In this order: the allow list lets everybody in whom it names; whoever we called ourselves may call back; then the black
list of `customers` and the patterns of the configuration shut out. What is not known for certain blocks nobody.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from .model import Customer

__all__ = ["BLACK_LISTED_AT", "CALLED_BACK", "HIDDEN", "is_blocked", "matches"]

HIDDEN: Final = "hidden"
# Whom we called in this time may call back whatever lists say.
CALLED_BACK: Final = timedelta(days=30)
# In `meta`: when a person put the number on the black list. A call of ours before that does not take it off.
BLACK_LISTED_AT: Final = "black_list_at"


def matches(caller: str, patterns: Sequence[str]) -> bool:
    """`+375290000011` is one number, `+7900*` everything that begins so, `hidden` whoever shows none."""
    return any(caller.startswith(each[:-1]) if each.endswith("*") else caller == each for each in patterns)


def is_blocked(
    caller: str,
    *,
    block: Sequence[str],
    allow: Sequence[str],
    customer: Customer | None,
    known: bool,
    now: datetime,
) -> bool:
    """Whether a caller may not come in.

    Args:
        caller: E.164, `HIDDEN`, or "" for what is neither: extensions, short numbers, a colleague's mobile.
        block: Patterns of the enterprise.
        allow: The same; they win.
        customer: The row of the number, as far as one is there.
        known: The table, or what is remembered of it, could say whether there is a row.
        now: Aware.
    """
    if not caller or matches(caller, allow):
        return False
    if caller == HIDDEN:
        return matches(caller, block)
    if not known:
        return False  # we may have called him
    listed = customer is not None and customer.black_list
    if not listed and not matches(caller, block):
        return False
    return customer is None or not _may_call_back(customer, now)


def _may_call_back(customer: Customer, now: datetime) -> bool:
    called_at = customer.called_at
    if called_at is None or now - called_at > CALLED_BACK:
        return False
    listed_at = _listed_at(customer)
    return listed_at is None or called_at > listed_at


def _listed_at(customer: Customer) -> datetime | None:
    stored = customer.meta.get(BLACK_LISTED_AT)
    if not customer.black_list or not isinstance(stored, str):
        return None
    try:
        at = datetime.fromisoformat(stored)
    except ValueError:
        return None
    return at if at.tzinfo else None
