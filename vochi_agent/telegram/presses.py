"""What happens when somebody presses a button below a card: decides who he is and what he may, and does it.

Invariants: only who has an extension of the card's own enterprise gets anything done; a button works below the message
that shows it now and nowhere else; whatever is refused is refused politely, logged without a number, and does nothing.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from vochi_agent.calls.model import Call
from vochi_agent.config import Chat, Enterprise
from vochi_agent.desk_ports import CallBackDesk, Names, Operator, Press, PressedCard, PressStore, Redial
from vochi_agent.errors import NotPossible, TooOften, VochiError

from . import press_text as say
from .budget import Window
from .keyboards import CALL, TAKE, WHY, pressed
from .labels import labels_of
from .text import Labels
from .why import why, why_briefly

__all__ = ["PressAnswer", "Presses", "rings"]

log = logging.getLogger(__name__)

MOST_A_MINUTE: Final = 20
MINUTE_S: Final = 60.0
# Lines in the log about who may not press; he is answered all the same, which no limit of Telegram's forbids.
REFUSALS_LOGGED_A_MINUTE: Final = 10
OTHER: Final = "other"
# Who has waited longer does something else by now, and his telephone is not to ring. Telegram's clients give up, too.
PATIENCE_S: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PressAnswer:
    """What is done about a press.

    Attributes:
        text: What stands above the chat for a moment, plain.
        alert: He has to close it.
        privately: What he is written in his own chat with the bot, Telegram HTML; "" for nothing.
        otherwise: The alert when that cannot be written.
        button, result: For the metrics.
    """

    text: str
    alert: bool = False
    privately: str = ""
    otherwise: str = ""
    button: str
    result: str


@dataclass(frozen=True, slots=True)
class _Scene:
    """A press that is good: whose, below which card."""

    enterprise: Enterprise
    operator: Operator
    card: PressedCard
    labels: Labels


class Presses:
    """The buttons of one bot.

    Args:
        enterprises: Those that the bot belongs to, as they are configured now.
        redial: By enterprise number; those without ARI are missing.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        enterprises: Callable[[], Sequence[Enterprise]],
        store: PressStore,
        names: Names,
        call_backs: CallBackDesk,
        *,
        redial: Mapping[str, Redial],
        clock: Callable[[], float],
    ) -> None:
        self._enterprises = enterprises
        self._store = store
        self._names = names
        self._call_backs = call_backs
        self._redial = redial
        self._clock = clock
        self._recent: deque[tuple[float, int]] = deque()
        self._logged = Window(REFUSALS_LOGGED_A_MINUTE, MINUTE_S)

    async def answer(self, press: Press) -> PressAnswer:
        """Do what is asked, when it may be. Raises StoreUnavailable."""
        served = self._enterprises()
        numbers = [each.number for each in served]
        operators = {
            each.enterprise_number: each for each in await self._store.operators(press.person.user_id, numbers)
        }
        button = pressed(press.data)
        verb = button[0] if button else OTHER
        if not operators:
            return self._refused(press, say.STRANGER, verb, "stranger")
        if not self._admitted(press.person.user_id):
            return PressAnswer(text=say.TOO_OFTEN, alert=True, button=verb, result="refused")
        scene = await self._scene(press, button[1], served, operators) if button else None
        if scene is None:
            return self._refused(press, say.STALE, verb, "refused")
        match verb:
            case "why":
                return await self._why(scene)
            case "call":
                return await self._call(scene, press.age_s)
            case _:
                return await self._take(scene)

    async def _scene(
        self, press: Press, token: UUID, served: Sequence[Enterprise], operators: Mapping[str, Operator]
    ) -> _Scene | None:
        """What the button belongs to; None when it is not below this very message, or below a foreign card."""
        home = await self._store.home_chat(press.chat_id)
        card = await self._store.pressed_card(token, list(operators), home, press.message_id)
        if card is None:
            return None
        enterprise = next(each for each in served if each.number == card.enterprise_number)
        chat = _chat_of(enterprise, home, card.topic)
        if chat is None or not chat.buttons:
            return None
        return _Scene(enterprise, operators[card.enterprise_number], card, labels_of(enterprise, chat))

    def _refused(self, press: Press, text: str, button: str, result: str) -> PressAnswer:
        now = self._clock()
        if self._logged.left(now):
            self._logged.spend(now)
            log.warning(
                "Telegram user %d pressed a button in chat %d and was refused: %s",
                press.person.user_id,
                press.chat_id,
                "he has not signed up" if result == "stranger" else "it is not below this message, or not his",
                extra={"action": "press_refused"},
            )
        return PressAnswer(text=text, alert=True, button=button, result=result)

    def _admitted(self, user_id: int) -> bool:
        now = self._clock()
        while self._recent and self._recent[0][0] <= now - MINUTE_S:
            self._recent.popleft()
        if sum(each == user_id for _, each in self._recent) >= MOST_A_MINUTE:
            return False
        self._recent.append((now, user_id))
        return True

    async def _why(self, scene: _Scene) -> PressAnswer:
        call = await self._known(scene)
        if call is None:
            return PressAnswer(text=say.NO_CALL, alert=True, button=WHY, result="failed")
        customer = await self._names.customer(call.enterprise_number, call.phone) if call.phone else None
        return PressAnswer(
            text=say.PRIVATELY,
            privately=why(call, customer=customer, labels=scene.labels),
            otherwise=why_briefly(call, labels=scene.labels),
            button=WHY,
            result="done",
        )

    async def _take(self, scene: _Scene) -> PressAnswer:
        taken, call_back = await self._call_backs.take(scene.card, scene.operator)
        if taken:
            log.info(
                "extension %s of %s takes a missed call",
                scene.operator.extension,
                scene.enterprise.number,
                extra={"action": "call_back_taken", "linkedid": scene.card.linkedid},
            )
            return PressAnswer(text=say.TAKEN, button=TAKE, result="done")
        if call_back is None:
            return PressAnswer(text=say.NOT_MISSED, button=TAKE, result="late")
        own = call_back.reached_at is None and call_back.taken_by == scene.operator.extension
        text = say.MINE if own else say.somebodys(call_back, scene.labels)
        return PressAnswer(text=text, alert=not own, button=TAKE, result="late")

    async def _call(self, scene: _Scene, age_s: float) -> PressAnswer:
        if age_s > PATIENCE_S:
            return PressAnswer(text=say.LATE, alert=True, button=CALL, result="failed")
        redial, call = self._redial.get(scene.enterprise.number), await self._known(scene)
        if redial is None or call is None or not call.phone:
            text = say.AWAY if redial is None else say.NO_NUMBER if call else say.NO_CALL
            return PressAnswer(text=text, alert=True, button=CALL, result="failed")
        extension = scene.operator.extension
        try:
            rings = await redial.ring(extension, call.phone)
        except NotPossible as refusal:
            return self._not_called(scene, refusal, say.NOT_CALLED)
        except TooOften as refusal:
            return self._not_called(scene, refusal, say.CALLED_TOO_OFTEN)
        except (VochiError, TimeoutError) as failure:
            return self._not_called(scene, failure, say.PBX_SILENT)
        text = say.RINGING.format(extension=extension) if rings else say.RINGS_ALREADY
        return PressAnswer(text=text, button=CALL, result="done")

    def _not_called(self, scene: _Scene, failure: Exception, text: str) -> PressAnswer:
        log.warning(
            "extension %s of %s is not connected from Telegram: %s",
            scene.operator.extension,
            scene.enterprise.number,
            failure,
            extra={"action": "redial_failed", "linkedid": scene.card.linkedid},
        )
        return PressAnswer(text=text, alert=True, button=CALL, result="failed")

    async def _known(self, scene: _Scene) -> Call | None:
        return await self._store.call(scene.card.enterprise_number, scene.card.linkedid)


def rings(press: Press) -> bool:
    """Whether this press makes a telephone ring, which must not happen a second time."""
    button = pressed(press.data)
    return button is not None and button[0] == CALL


def _chat_of(enterprise: Enterprise, chat_id: int, topic: int) -> Chat | None:
    return next((chat for chat in enterprise.chats if (chat.id, chat.topic) == (chat_id, topic)), None)
