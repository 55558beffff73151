"""The cards that Telegram chats should show, for the workers that bring chat and database together.

One life of a revision: `claim` stores that a request is about to be made; then exactly one of `sent`, `failed`, `lost`,
`given_up` - or none, when the daemon died or froze: then its successor claims the card, and what the first request may
have left in the chat is a doubt, to be looked for.

Invariant: only the holder of a claim writes its outcome. Whoever finds that his claim was taken over is told by `sent`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from datetime import timedelta
from typing import Final

from vochi_agent.calls.model import Phase
from vochi_agent.cards import Card, ChatState, ChatWork, Doubt, PendingChat
from vochi_agent.ports import CardDraft, OpenWork

from .card_drafts import CARDS_CHANNEL, CallCards, put_cards, take_back
from .database import Database, Row, Session
from .rows import storable

__all__ = ["CardQueue"]

# A live state that old says nothing any more: the next one or the final comes.
LIVE_WORTH: Final = timedelta(seconds=60)
# Another daemon is gone or frozen, else we were not the ones who send. A moment for the answer he may still get.
PATIENCE: Final = timedelta(seconds=3)
# A look for a lost message before it can have arrived would find nothing.
DOUBT_RIPE: Final = timedelta(seconds=1)
MOST_CARDS: Final = 200
MOST_DELETED: Final = 100  # deleteMessages takes no more
BOARD: Final = "board"


class CardQueue:
    """Fulfils `cards.CardQueue` and `cards.SoundQueue`. Every method raises StoreUnavailable.

    Args:
        holder: Names this life of this daemon in its claims.
        patience: How long another's claim is left alone.
    """

    def __init__(
        self, database: Database, *, holder: str, patience: timedelta = PATIENCE, ripe: timedelta = DOUBT_RIPE
    ) -> None:
        self._database = database
        self._holder = holder
        self._patience = patience
        self._ripe = ripe

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever cards may have changed; runs until cancelled, ends with StoreUnavailable."""
        await self._database.listen(CARDS_CHANNEL, lambda _: wake())

    async def put_live(self, enterprise_number: str, linkedid: str, phase: Phase, drafts: Sequence[CardDraft]) -> int:
        """What chats should show of a call that goes on; returns how many cards changed. A call never goes back."""
        async with self._database.transaction() as session:
            return await put_cards(
                session, enterprise_number, [CallCards(linkedid=linkedid, phase=phase, drafts=drafts)]
            )

    async def take_back_abandoned(
        self, enterprise_number: str, alive: Collection[str], *, silent_for: timedelta
    ) -> int:
        """Take back live cards of calls that nobody follows any more; returns how many.

        Args:
            alive: Linkedids of the calls that go on.
            silent_for: Since the last news of a call.
        """
        rows = await self._database.fetch("take_back_abandoned_cards", enterprise_number, list(alive), silent_for)
        return len(rows)

    async def put_digest(self, enterprise_number: str, linkedids: Sequence[str], drafts: Sequence[CardDraft]) -> None:
        """One message about many calls in each chat; what chats show of them alone is taken back.

        Args:
            linkedids: Of the calls; the last one names the digest, so that the same again changes its text.
        """
        name = f"digest/{linkedids[-1]}"
        async with self._database.transaction() as session:
            for linkedid in linkedids:
                await take_back(session, enterprise_number, linkedid)
            for draft in drafts:
                await _put_notice(session, (enterprise_number, name, "digest", Phase.HANGUP), draft)
            await session.execute("notify_cards", enterprise_number)

    async def put_board(self, enterprise_number: str, draft: CardDraft) -> None:
        """What the board of a chat says; "" takes it away."""
        async with self._database.transaction() as session:
            await _put_notice(session, (enterprise_number, BOARD, BOARD, Phase.BRIDGE), draft)

    async def waiting(self) -> dict[str, OpenWork]:
        """By enterprise: the cards that chats should show by now and do not."""
        rows = await self._database.fetch("cards_waiting", LIVE_WORTH)
        return {row["enterprise_number"]: OpenWork(waiting=row["waiting"], age_s=row["age_s"]) for row in rows}

    async def pending_chats(self) -> list[PendingChat]:
        """Chats in which something is to be done."""
        rows = await self._database.fetch("pending_chats", LIVE_WORTH)
        return [PendingChat(enterprise_number=row["enterprise_number"], chat_id=row["chat_id"]) for row in rows]

    async def work(self, enterprise_number: str, chat_id: int) -> ChatWork:
        """Everything that is to be done in a chat."""
        chat = (enterprise_number, chat_id)
        async with self._database.transaction() as session:
            cards = await session.fetch("open_cards", *chat, self._holder, self._patience, LIVE_WORTH, MOST_CARDS)
            live = await session.fetch("live_cards", *chat, MOST_CARDS)
            leftovers = await session.fetch("leftovers", *chat, MOST_DELETED)
            doubt = await session.fetchrow("doubts", *chat, self._ripe)
        return ChatWork(
            open=_cards(cards),
            live=_cards(live),
            leftovers=[row["message_id"] for row in leftovers],
            doubt=None if doubt is None else Doubt(**dict(doubt)),
        )

    async def cards_of(self, card: Card) -> list[Card]:
        """Every card that the message of this one carries, itself among them."""
        return _cards(
            await self._database.fetch("cards_of_message", card.enterprise_number, card.chat_id, card.message_id)
        )

    async def claim(self, cards: Sequence[Card], *, new_text: str | None) -> bool:
        """Note that a request about these cards is about to be made.

        Args:
            new_text: Of a new message; None for an edit, which may be repeated without harm.

        Returns:
            False when one of them changed meanwhile or is another's: nothing is claimed then.
        """
        ids = [card.id for card in cards]
        revisions = [card.revision for card in cards]
        text = None if new_text is None else storable(new_text)
        claimed = await self._database.fetch("claim_cards", ids, revisions, self._holder, text, self._patience)
        if len(claimed) == len(cards):
            return True
        await self._database.execute("cards_failed", ids, self._holder, timedelta(0))
        return False

    async def sent(self, cards: Sequence[Card], message_id: int) -> list[float]:
        """The chat shows these revisions in that message; how many seconds after each text came.

        Empty when none of the claims is ours any more: then nobody knows of the message, and it is a leftover.
        """
        rows = await self._database.fetch(
            "cards_sent",
            [card.id for card in cards],
            [card.revision for card in cards],
            [card.phase for card in cards],
            self._holder,
            message_id,
            len(cards) > 1,
        )
        if not rows and all(card.message_id != message_id for card in cards):
            await self._database.execute("add_leftover", cards[0].enterprise_number, cards[0].chat_id, message_id)
        return [row["seconds"] for row in rows]

    async def failed(self, cards: Sequence[Card], retry_in: timedelta) -> None:
        """The chat refused; nothing changed there. Try again after a pause."""
        await self._database.execute("cards_failed", [card.id for card in cards], self._holder, retry_in)

    async def lost(self, cards: Sequence[Card], retry_in: timedelta) -> None:
        """No answer came: a new message may stand in the chat, or not. Try again after a pause."""
        await self._database.execute("cards_lost", [card.id for card in cards], self._holder, retry_in)

    async def given_up(self, cards: Sequence[Card], reason: str) -> None:
        """The chat will never show these cards as they are."""
        await self._database.execute("cards_given_up", [card.id for card in cards], self._holder, storable(reason))

    async def taken_back(self, cards: Sequence[Card]) -> None:
        """These cards are to show nothing: their messages become leftovers."""
        await self._database.execute("card_taken_back", [card.id for card in cards])

    async def fold_live(self, enterprise_number: str, chat_id: int) -> None:
        """A board takes the place of the messages of single live cards: those become leftovers."""
        await self._database.execute("fold_live_cards", enterprise_number, chat_id)

    async def deleted(self, enterprise_number: str, chat_id: int, message_ids: Sequence[int]) -> None:
        """Leftovers are gone, or cannot go."""
        await self._database.execute("leftovers_gone", enterprise_number, chat_id, list(message_ids))

    async def unknown(self, chat_id: int, message_ids: Sequence[int]) -> list[int]:
        """Those of some messages that no card has, in their order."""
        known = {row["message_id"] for row in await self._database.fetch("known_messages", chat_id, list(message_ids))}
        return [message_id for message_id in message_ids if message_id not in known]

    async def settled(self, enterprise_number: str, chat_id: int, doubt: Doubt) -> None:
        """The text of a doubt was looked for everywhere."""
        await self._database.execute("doubt_settled", enterprise_number, chat_id, doubt.text)

    async def chat(self, enterprise_number: str, chat_id: int) -> ChatState:
        """What became of a chat."""
        row = await self._database.fetchrow("chat_state", enterprise_number, chat_id)
        if row is None:
            return ChatState(address=chat_id, closed_for=None)
        return ChatState(address=row["moved_to"] or chat_id, closed_for=row["closed_for"])

    async def moved(self, enterprise_number: str, chat_id: int, address: int) -> None:
        """The chat has another id now: no card has a message there, which is news only once."""
        await self._database.execute("chat_moved", enterprise_number, chat_id, address)

    async def mended(self, enterprise_number: str, chats: Collection[int]) -> None:
        """These are the chats of an enterprise: what is known of one under an id that it had before is known of it."""
        await self._database.execute("chats_mended", enterprise_number, list(chats))

    async def closed(self, enterprise_number: str, chat_id: int, why: str) -> None:
        """The chat refuses the bot."""
        await self._database.execute("chat_closed", enterprise_number, chat_id, storable(why))

    async def opened(self, enterprise_number: str, chat_id: int) -> None:
        """The chat takes messages again."""
        await self._database.execute("chat_open", enterprise_number, chat_id)

    async def without_sound(self, enterprises: Sequence[str], not_in: Sequence[int], *, limit: int) -> list[Card]:
        """Cards whose message lacks its recording and shows everything else, oldest first, but for some chats."""
        return _cards(await self._database.fetch("cards_without_sound", list(enterprises), list(not_in), limit))

    async def sounded(self, card: Card) -> None:
        """The message carries the recording, above the text that the card had; a newer text is to be shown again."""
        await self._database.execute("card_sounded", card.id, card.message_id, card.sound, card.revision)

    async def sound_later(self, card: Card, pause: timedelta) -> None:
        """Not before a pause."""
        await self._database.execute("card_sound_later", card.id, pause)

    async def sound_given_up(self, card: Card, reason: str) -> None:
        """The message will never carry it."""
        await self._database.execute("card_sound_given_up", card.id, card.sound, storable(reason))


def _cards(rows: Sequence[Row]) -> list[Card]:
    return [Card(**{each.name: row[each.name] for each in fields(Card)}) for row in rows]


async def _put_notice(session: Session, what: tuple[str, str, str, Phase], draft: CardDraft) -> None:
    enterprise_number, name, kind, phase = what
    await session.fetch(
        "put_notice",
        enterprise_number,
        storable(name),
        draft.chat_id,
        draft.topic,
        kind,
        phase.value,
        storable(draft.text),
        storable(draft.brief),
        draft.silent,
    )
