"""Numbers that a source no longer lists lose its id, and the uid unless something else vouches for it. Pure.

Names and all other keys stay. Only a list that is complete lets anything go.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from .identity import CORPORATE, canonical_source, canonical_uid, ids_of, is_corporate, touched, usable_id, with_ids
from .model import Company, Customer, Profile

__all__ = ["Card", "card_of", "leaving", "let_go", "parted", "uid_of"]


@dataclass(frozen=True, slots=True)
class Card:
    """One person's, or one company's, card in a source."""

    source: str
    external_id: str

    @property
    def uid(self) -> str:
        """The `person_uid` that it stands for."""
        return f"{self.source}:{self.external_id}"

    def holds(self, row: Customer) -> bool:
        """The card lists, or listed, the row's number."""
        return self.external_id in ids_of(row.meta).get(self.source, ())


def card_of(profile: Profile) -> Card | None:
    """The person's own card, None without a real id."""
    external_id = usable_id(profile.external_id)
    return Card(canonical_source(profile.source), external_id) if external_id else None


def uid_of(row: Customer) -> str:
    """The row's uid in today's spelling, "" for none."""
    return canonical_uid(row.meta.get("person_uid"))


def parted(rows: Sequence[Customer], company: Company, *, at: datetime) -> list[Customer]:
    """The rows that a complete company lets go, as it leaves them.

    Args:
        rows: Every row that the company's card holds and every row of its uid.
        company: The company; an incomplete one lets nobody go.
        at: For `meta.sources`.
    """
    card = Card(canonical_source(company.source) + CORPORATE, usable_id(company.company_id))
    if not company.complete or not card.external_id:
        return []
    gone = [row for row in rows if row.phone_e164 not in company.contacts and card.holds(row)]
    phones = {row.phone_e164 for row in gone}
    staying = [row for row in rows if row.phone_e164 not in phones]
    return [replace(row, meta=touched(_without(row, [card], staying), company.source, at)) for row in gone]


def let_go(rows: Sequence[Customer], profile: Profile, numbers: Collection[str]) -> list[Customer]:
    """The rows once the numbers are let go that a complete list does not have any more."""
    card = card_of(profile)
    if card is None or not profile.phones_complete:
        return list(rows)
    gone = {row.phone_e164 for row in rows if row.phone_e164 not in numbers and card.holds(row)}
    staying = [row for row in rows if row.phone_e164 not in gone]
    return [_without_card(row, card, staying) if row.phone_e164 in gone else row for row in rows]


def _without_card(row: Customer, card: Card, staying: Sequence[Customer]) -> Customer:
    """The row without a person's card; what a company had of it came through him."""
    cards, company = [card], card.source + CORPORATE
    if row.meta.get("contact_id") == card.external_id:
        cards += [Card(company, each) for each in ids_of(row.meta).get(company, ())]
    return replace(row, meta=_without(row, cards, staying))


def _without(row: Customer, cards: Sequence[Card], staying: Sequence[Customer]) -> dict[str, object]:
    """`meta` without these cards' ids, and without a uid that nothing vouches for any more."""
    meta: dict[str, object] = dict(row.meta)
    for card in cards:
        meta = _without_id(meta, card)
    uid = uid_of(row)
    if not uid or _vouched(uid, ids_of({"ids": meta["ids"]}), staying):
        return meta
    meta = leaving(meta, uid)
    del meta["person_uid"]
    return meta


def _without_id(meta: Mapping[str, object], card: Card) -> dict[str, object]:
    written = with_ids(meta, {card.source: card.external_id})
    ids = written["ids"]
    left = dict(ids) if isinstance(ids, Mapping) else {}
    known = left.pop(card.source, None)
    if isinstance(known, list):
        known = [each for each in known if each != card.external_id]
    return {**written, "ids": {**left, **({card.source: known} if known else {})}}


def _vouched(uid: str, ids: dict[str, list[str]], staying: Sequence[Customer]) -> bool:
    """Some id that is left is the uid's own, or that of another number of the same person."""
    source, _, external_id = uid.partition(":")
    if external_id in ids.get(source, ()):
        return True
    others = [ids_of(row.meta) for row in staying if uid_of(row) == uid]
    return any(
        not set(own).isdisjoint(other.get(name, ()))
        for name, own in ids.items()
        for other in others
        if is_corporate(uid) or not name.endswith(CORPORATE)
    )


def leaving(meta: Mapping[str, object], uid: str) -> dict[str, object]:
    """`meta` of a row that is about to lose its uid: nothing that it was is forgotten."""
    left = {**meta, "person_uid_was": uid}
    was, before = canonical_uid(meta.get("person_uid_was")), meta.get("person_uids_before")
    if was and was != uid:
        earlier = before if isinstance(before, list) else []
        left["person_uids_before"] = [*(each for each in earlier if each != was), was]
    return left
