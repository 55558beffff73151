"""Which numbers are one person: what a fresh profile joins, and what people link. Pure; `parting` is its counterpart.

A number is *known as* one person of each source: the first id of that source on its row, or the one its uid names. That
decides who is who when a number is on two cards of one CRM: the number stays with the first, the cards stay two people.

- A profile joins the persons of its numbers: two uids of different sources turn out to be one person, and the uid of
  the oldest row wins. Two cards of one CRM are two people by its own word, under whatever uid their numbers stand by
  now; only a person at a keyboard joins them.
- A contact's person moves to the company, never back, never to another company, and only by the word of the CRM that
  knew the person, or of the primary one.
- What a row was before it moved stays in `person_uid_was`, and what it was before that in `person_uids_before`.
- What a complete list lets go takes no part in what the list joins.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from vochi_agent.errors import LinkRefused

from .identity import (
    CORPORATE,
    MANUAL,
    canonical_source,
    ids_of,
    is_corporate,
    merge_names,
    merge_profile,
    person_uid,
    touched,
    with_ids,
)
from .model import Customer, Names, Profile
from .parting import Card, card_of, leaving, let_go, uid_of

__all__ = ["contact_of", "enriched", "linked"]

NOBODY: Final = Names()


def enriched(
    rows: Sequence[Customer], profile: Profile, numbers: Collection[str], *, primary: bool, at: datetime
) -> list[Customer]:
    """The rows that a fresh profile changes, as it leaves them.

    Further rows of the same person get the names too; of the same company only the company's name.

    Args:
        rows: Oldest first: those of the numbers, those that the profile's card holds, every row of the persons all
            these belong to and of the company.
        profile: What the CRM says.
        numbers: The number asked about and the profile's further ones.
        primary: The CRM is the enterprise's primary source of names.
        at: For `meta.sources`.
    """
    left = let_go(rows, profile, numbers)
    target, moving = _union(left, profile, numbers, primary=primary)
    merged = []
    for row in left:
        moved = _move(row, target) if uid_of(row) in moving else row
        if row.phone_e164 in numbers:
            moved = merge_profile(moved, profile, primary=primary, target=target, at=at)
        elif share := _share_of(moved, profile, target):
            moved = merge_profile(moved, share, primary=primary, at=at)
        merged.append(moved)
    if not primary and any(uid_of(new) != uid_of(old) for new, old in zip(merged, rows, strict=True)):
        merged = _led(merged, target)
    return _touched_by(profile.source, rows, merged, at)


def linked(rows: Sequence[Customer], first: str, second: str, *, at: datetime) -> list[Customer]:
    """The rows that change when a person says that two numbers are one customer's; see `LinkRefused`.

    A person joins a company that the other number belongs to; else the oldest uid wins. Names fill rows that have none.

    Args:
        rows: Oldest first: both numbers' rows and every row of the persons they belong to.
        first: A number.
        second: The other one.
        at: For `meta.sources`.

    Raises:
        LinkRefused: they are one already, or belong to two companies.
    """
    pair = [row for row in rows if row.phone_e164 in (first, second)]
    uids = {uid_of(row) for row in pair}
    if first == second:
        raise LinkRefused("both are the same number")
    if len(uids) == 1 and "" not in uids:
        raise LinkRefused("both numbers belong to one customer already")
    companies = sorted(filter(is_corporate, uids))
    if len(companies) > 1:
        raise LinkRefused(f"the numbers belong to two different companies ({', '.join(companies)})")
    oldest = next((uid for row in rows if (uid := uid_of(row)) and uid in uids), f"{MANUAL}:{pair[0].phone_e164}")
    target = companies[0] if companies else oldest
    # The link is an id of its own, so that no CRM's list can part what a person has joined.
    links = [each for row in pair for each in ids_of(row.meta).get(MANUAL, ())] or [pair[0].phone_e164]
    company = next((row.names.enterprise_name for row in rows if uid_of(row) == target), "") if companies else ""
    name = NOBODY if companies else next((row.names for row in rows if _has_person(row)), NOBODY)
    joined = [_move(row, target) if uid_of(row) in uids or row in pair else row for row in rows]
    for link in links:
        joined = [
            replace(row, meta=with_ids(row.meta, {MANUAL: link})) if row.phone_e164 in (first, second) else row
            for row in joined
        ]
    if not companies:
        joined = _led(joined, target)
    joined = [replace(row, names=_filled(row.names, name, company)) for row in joined]
    return _touched_by(MANUAL, rows, joined, at)


def contact_of(row: Customer) -> Card | None:
    """Who of a company a number belongs to, by the word of the CRM that knows the company; None: nobody can say."""
    source = _source(uid_of(row)).removesuffix(CORPORATE)
    known_as = _known_as(row, source)
    return Card(source, known_as) if known_as else None


def _touched_by(source: str, old: Sequence[Customer], new: Sequence[Customer], at: datetime) -> list[Customer]:
    pairs = zip(old, new, strict=True)
    return [replace(after, meta=touched(after.meta, source, at)) for before, after in pairs if after != before]


def _led(rows: Sequence[Customer], uid: str) -> list[Customer]:
    """The rows of a person who was joined just now, named as the primary source names the number that it knows."""

    def knows(row: Customer) -> bool:
        source = row.meta.get("primary_source")
        return uid_of(row) == uid and isinstance(source, str) and bool(_known_as(row, canonical_source(source)))

    lead = next(filter(knows, rows), None)
    if lead is None or is_corporate(uid):
        return list(rows)
    return [
        replace(row, names=merge_names(row.names, lead.names, phone=row.phone_e164, primary=True))
        if uid_of(row) == uid and not knows(row)
        else row
        for row in rows
    ]


def _union(
    rows: Sequence[Customer], profile: Profile, numbers: Collection[str], *, primary: bool
) -> tuple[str, set[str]]:
    """The uid that the profile's numbers get, and the uids whose rows move to it."""
    own, card = person_uid(profile), card_of(profile)
    if not own:
        return "", set()
    source = canonical_source(profile.source)
    his = [row for row in rows if _is_his(row, source, card, numbers)]
    uids = {uid for row in his if (uid := uid_of(row)) and not is_corporate(uid)}
    oldest_first = list(dict.fromkeys(uid for row in rows if (uid := uid_of(row)) in uids))
    if is_corporate(own):
        return own, {uid for uid in oldest_first if primary or _source(uid) == source}
    listed = [_with_card(row, card) if row.phone_e164 in numbers else row for row in rows]
    joined: list[str] = []
    known: dict[str, set[str]] = {}
    for uid in oldest_first:
        cards = _cards(row for row in listed if uid_of(row) == uid)
        if all(cards[each] == known[each] for each in cards.keys() & known.keys()):
            joined.append(uid)
            known |= cards
    target = next(iter(joined), own)
    return target, set(joined) - {target}


def _with_card(row: Customer, card: Card | None) -> Customer:
    return row if card is None else replace(row, meta=with_ids(row.meta, {card.source: card.external_id}))


def _cards(rows: Iterable[Customer]) -> dict[str, set[str]]:
    """By source the cards that the rows of one person are on; what people linked is none."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for source in {_source(uid_of(row)), *ids_of(row.meta)}:
            if source != MANUAL and not source.endswith(CORPORATE):
                found.setdefault(source, set()).add(_known_as(row, source) or uid_of(row).partition(":")[2])
    return found


def _source(uid: str) -> str:
    return uid.partition(":")[0]


def _is_his(row: Customer, source: str, card: Card | None, numbers: Collection[str]) -> bool:
    """Whether a row speaks for the profile's person."""
    known_as = _known_as(row, source)
    if card is not None and (known_as == card.external_id or uid_of(row) == card.uid):
        return True
    return not known_as and row.phone_e164 in numbers


def _known_as(row: Customer, source: str) -> str:
    """The person of a source that a number belongs to, "" when the source does not know it."""
    ids = ids_of(row.meta).get(source, [])
    uid_source, _, uid_id = uid_of(row).partition(":")
    return uid_id if uid_source == source and uid_id in ids else next(iter(ids), "")


def _share_of(row: Customer, profile: Profile, target: str) -> Profile | None:
    """What a profile says about another number; its card does not list that, so it brings no id."""
    names = replace(profile, external_id="", company_id="", phones=())
    card = card_of(profile)
    if card is not None and _known_as(row, card.source) == card.external_id:
        return names
    if not target or uid_of(row) != target:
        return None
    if is_corporate(target):
        return replace(names, names=Names(enterprise_name=profile.names.enterprise_name))
    return names


def _move(row: Customer, target: str) -> Customer:
    """The row under another uid; what it was stays."""
    uid = uid_of(row)
    if uid == target:
        return row
    meta: Mapping[str, object] = row.meta
    source, _, external_id = uid.partition(":")
    if external_id in ids_of(meta).get(source, ()):
        meta = with_ids(meta, {source: external_id})  # of a row that has nothing but its uid
    meta = leaving(meta, uid) if uid else meta
    return replace(row, meta={**meta, "person_uid": target})


def _has_person(row: Customer) -> bool:
    return bool(row.names.last_name or row.names.first_name or row.names.middle_name)


def _filled(names: Names, person: Names, company: str) -> Names:
    """Names with a person's where there are none, and with the company's."""
    if not (names.last_name or names.first_name or names.middle_name):
        names = replace(names, last_name=person.last_name, first_name=person.first_name, middle_name=person.middle_name)
    return replace(names, enterprise_name=company or names.enterprise_name)
