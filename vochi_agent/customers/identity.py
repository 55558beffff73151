"""What one row of customers keeps: merges what a source says into it, without losing what we knew. Pure.

Invariants: no key and no id of `meta` is ever lost here; a `person_uid` is set once and kept (who moves and who is let
go is decided for whole persons, see `persons`); a placeholder id is no id; a name of a source that is not the primary
one only fills gaps.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from .blocking import BLACK_LISTED_AT
from .model import Customer, Names, Profile

__all__ = [
    "CORPORATE",
    "MANUAL",
    "canonical_source",
    "canonical_uid",
    "corrected_by_hand",
    "cut",
    "ids_of",
    "is_corporate",
    "merge_meta",
    "merge_names",
    "merge_profile",
    "person_uid",
    "spellings",
    "touched",
    "usable_id",
    "with_ids",
]

Meta = Mapping[str, object]

NAME_LENGTH = 100
COMPANY_LENGTH = 200
LINK_LENGTH = 500
ID_LENGTH = 100  # no CRM has longer ids, and an index holds them
SAME_DIGITS = 7  # a national spelling shares at least these last digits with E.164
# Seen in real data in place of an id; each once merged strangers into one person.
PLACEHOLDER_IDS = frozenset({"", "0", "-1", "none", "null", "nil", "undefined", "unknown", "false", "n/a", "-"})
# Spellings of earlier systems. The corporate one must stand before its prefix is looked at as a source.
SOURCE_ALIASES = {"retail": "retailcrm", "retailcrm_corp": "retailcrm_corporate"}
CORPORATE = "_corporate"
MANUAL = "manual"  # the name of the source that is a person at a keyboard


def merge_profile(customer: Customer, profile: Profile, *, primary: bool, target: str = "", at: datetime) -> Customer:
    """A row after a fresh profile of the same number; equal to the old one when nothing is new.

    Args:
        customer: The row as it stands.
        profile: What the CRM says about this very number.
        primary: The CRM is the enterprise's primary source of names.
        target: The `person_uid` to set when there is none.
        at: Stored in `meta.sources` when anything changed.
    """
    names = merge_names(customer.names, profile.names, phone=customer.phone_e164, primary=primary)
    meta = merge_meta(customer.meta, profile, primary=primary, target=target)
    if names == customer.names and meta == dict(customer.meta):
        return customer
    return replace(customer, names=names, meta=touched(meta, profile.source, at))


def merge_names(stored: Names, incoming: Names, *, phone: str, primary: bool) -> Names:
    """The primary source overwrites with what it knows, any other fills what is empty; nobody erases.

    Parts that a CRM made up from the number itself are no names.
    """
    fresh = _real_names(incoming, phone)

    def pick(old: str, new: str) -> str:
        return new if new and (primary or not old.strip()) else old

    return Names(
        last_name=pick(stored.last_name, fresh.last_name),
        first_name=pick(stored.first_name, fresh.first_name),
        middle_name=pick(stored.middle_name, fresh.middle_name),
        enterprise_name=pick(stored.enterprise_name, fresh.enterprise_name),
    )


def corrected_by_hand(customer: Customer, changes: Mapping[str, str | bool], *, at: datetime) -> Customer:
    """A row after a person changed it: what he writes stands, what he empties is empty; his hand is a source too.

    Args:
        customer: The row as it stands.
        changes: By column: the four names, field1 to field4, black_list (a bool).
        at: Stored in `meta.sources` when a name changed.
    """
    texts = {name: value for name, value in changes.items() if isinstance(value, str)}
    wanted = {
        name: cut(text, COMPANY_LENGTH if name == "enterprise_name" else NAME_LENGTH) for name, text in texts.items()
    }
    first, second, third, fourth = (wanted.pop(f"field{n + 1}", customer.fields[n]) for n in range(4))
    names = replace(customer.names, **wanted)
    meta = dict(customer.meta)
    if names != customer.names:
        meta = touched(meta, MANUAL, at)
    black_list = bool(changes.get("black_list", customer.black_list))
    if black_list and not customer.black_list:
        meta[BLACK_LISTED_AT] = at.isoformat(timespec="seconds")
    elif not black_list:
        meta.pop(BLACK_LISTED_AT, None)
    return replace(
        customer,
        names=names,
        fields=(first, second, third, fourth),
        black_list=black_list,
        meta=meta,
    )


def merge_meta(meta: Meta, profile: Profile, *, primary: bool, target: str = "") -> dict[str, object]:
    """`meta` with the ids of a profile, and with `target` as the `person_uid` when there is none."""
    source = canonical_source(profile.source)
    external_id, company_id = usable_id(profile.external_id), usable_id(profile.company_id)
    merged = with_ids(meta, {source: external_id, source + CORPORATE: company_id})
    if company_id:
        merged["client_type"] = "corporate"
        merged["company_id"] = company_id
        if external_id:
            merged["contact_id"] = external_id
    if profile.url and len(profile.url) <= LINK_LENGTH:
        links = meta.get("links")
        merged["links"] = {**(links if isinstance(links, Mapping) else {}), source: profile.url}
    if primary:
        merged["primary_source"] = source
    if uid := canonical_uid(meta.get("person_uid")) or target:
        merged["person_uid"] = uid
    return merged


def person_uid(profile: Profile) -> str:
    """The uid that a profile stands for: the company's for a contact of one; "" without a real id."""
    source = canonical_source(profile.source)
    if company_id := usable_id(profile.company_id):
        return f"{source}{CORPORATE}:{company_id}"
    if external_id := usable_id(profile.external_id):
        return f"{source}:{external_id}"
    return ""


def canonical_uid(uid: object) -> str:
    """A stored `person_uid` in today's spelling; "" when it is none or a placeholder."""
    if not isinstance(uid, str):
        return ""
    source, _, external_id = uid.partition(":")
    return f"{canonical_source(source)}:{external_id}" if usable_id(external_id) else ""


def canonical_source(source: str) -> str:
    """The name of a source in today's spelling."""
    return SOURCE_ALIASES.get(source, source)


def spellings(uid: str) -> list[str]:
    """Every way in which a uid may stand in existing rows, today's first."""
    source, _, external_id = uid.partition(":")
    return [uid, *(f"{old}:{external_id}" for old, new in SOURCE_ALIASES.items() if new == source)]


def usable_id(external_id: str) -> str:
    """An id as it is stored; "" for a placeholder or for what no CRM has."""
    text = cut(external_id, ID_LENGTH + 1)
    return "" if text.lower() in PLACEHOLDER_IDS or len(text) > ID_LENGTH else text


def is_corporate(uid: str) -> bool:
    """Whether a uid is a company's."""
    return uid.partition(":")[0].endswith(CORPORATE)


def ids_of(meta: Meta) -> dict[str, list[str]]:
    """The real ids of a row by source, each in the order in which it came; those of a row that has a uid only."""
    stored, found = meta.get("ids"), dict[str, list[str]]()
    for source, ids in stored.items() if isinstance(stored, Mapping) else ():
        known = found.setdefault(canonical_source(source), [])
        known += [each for each in (ids if isinstance(ids, list) else ()) if isinstance(each, str) and usable_id(each)]
    if any(found.values()):
        return found
    source, _, external_id = canonical_uid(meta.get("person_uid")).partition(":")
    return {source: [external_id]} if source else {}


def with_ids(meta: Meta, added: Mapping[str, str]) -> dict[str, object]:
    """`meta` with further ids, old spellings of a source under its name of today, every id once and in order."""
    if not any(added.values()):
        return dict(meta)
    stored, merged = meta.get("ids"), dict[str, object]()
    for source, ids in stored.items() if isinstance(stored, Mapping) else ():
        known = merged.get(canonical_source(source), [])
        if isinstance(known, list) and isinstance(ids, list):
            merged[canonical_source(source)] = [*known, *(each for each in ids if each not in known)]
        else:
            merged.setdefault(source, ids)
    # What the uid alone knew has to be written down before another id stands there.
    wanted = [(source, each) for source, ids in ids_of(meta).items() for each in ids] + list(added.items())
    for source, external_id in wanted:
        known = merged.get(source, [])
        if external_id and isinstance(known, list) and external_id not in known:
            merged[source] = [*known, external_id]
    return {**meta, "ids": merged}


def touched(meta: Meta, source: str, at: datetime) -> dict[str, object]:
    """`meta` with the moment at which a source changed the row last."""
    name, trail = canonical_source(source), meta.get("sources")
    others = [
        entry
        for entry in (trail if isinstance(trail, list) else ())
        if not (isinstance(entry, Mapping) and entry.get("source") == name)
    ]
    return {**meta, "sources": [*others, {"source": name, "updated_at": at.isoformat(timespec="seconds")}]}


def cut(text: str, length: int) -> str:
    """`text` without what a column cannot hold, cut between characters as people see them."""
    clean = "".join(char for char in text if not _unstorable(char)).strip()
    if len(clean) <= length:
        return clean
    while length and (
        unicodedata.combining(clean[length]) or clean[length] in JOINERS or clean[length - 1] == "\u200d"
    ):
        length -= 1
    return clean[:length].rstrip()


# A zero-width joiner or a variation selector belongs to the character before it.
JOINERS = frozenset({"\u200d", "\ufe0e", "\ufe0f"})


def _real_names(names: Names, phone: str) -> Names:
    person = names.last_name + names.first_name + names.middle_name
    shown = replace(names, last_name="", first_name="", middle_name="") if _is_auto_made(person, phone) else names
    return Names(
        last_name=_real_name(shown.last_name, phone, NAME_LENGTH),
        first_name=_real_name(shown.first_name, phone, NAME_LENGTH),
        middle_name=_real_name(shown.middle_name, phone, NAME_LENGTH),
        enterprise_name=_real_name(shown.enterprise_name, phone, COMPANY_LENGTH),
    )


def _real_name(text: str, phone: str, length: int) -> str:
    return "" if _is_auto_made(text, phone) else cut(text, length)


def _is_auto_made(text: str, phone: str) -> bool:
    """CRMs name an unknown caller after the number: `+375290000011`, `Клиент 375290000011`, `80290000011`."""
    digits = "".join(char for char in text if char.isdecimal())
    if not digits:
        return False
    number = phone.lstrip("+")
    if number in digits or text.strip().startswith("+"):
        return True
    bare = not any(char.isalpha() for char in text)
    return bare and len(digits) >= SAME_DIGITS and digits[-SAME_DIGITS:] == number[-SAME_DIGITS:]


def _unstorable(char: str) -> bool:
    """NUL has no place in PostgreSQL's text, a lone surrogate none in UTF-8."""
    return char == "\0" or "\ud800" <= char <= "\udfff"
