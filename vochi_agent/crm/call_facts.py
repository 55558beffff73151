"""What the lists of calls of all CRMs want to know of a call, and in which words people read it. Pure."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from vochi_agent.calls.model import Call, CallProgress, Direction, Phase, Reason, Status
from vochi_agent.calls.numbers import display
from vochi_agent.errors import CrmUncertain
from vochi_agent.ports import Popup

__all__ = ["agent_of", "begins_to_ring", "call_back", "digits_of", "remark", "settling", "user_of"]

# A server that was asked may still be at work when we no longer listen; sooner a look tells too little.
SETTLES_S: Final = 60.0

REMARKS: Final[Mapping[Reason, str]] = {
    Reason.BLOCKED: "Номер в чёрном списке",
    Reason.FORBIDDEN: "Направление запрещено",
    Reason.CLOSED: "Звонок в нерабочее время",
    Reason.VOICEMAIL: "Оставлено голосовое сообщение",
    Reason.ABANDONED_QUEUE: "Клиент не дождался в очереди",
    Reason.QUEUE_TIMEOUT: "В очереди никто не ответил",
    Reason.ABANDONED: "Клиент не дождался ответа",
    Reason.ABANDONED_GREETING: "Клиент положил трубку во время приветствия",
    Reason.REJECTED: "Звонок отклонён",
    Reason.BUSY: "Занято",
    Reason.NO_ANSWER: "Нет ответа",
    Reason.UNREACHABLE: "Телефоны недоступны",
    Reason.CANCELLED: "Звонок отменён",
    Reason.FAILED: "Не удалось дозвониться",
    Reason.UNKNOWN_END: "Конец звонка не виден",
}


def agent_of(call: Call) -> str:
    """The extension a call is written down for: who talked last, who placed it, else the only phone that rang.

    "" when several phones rang and nobody picked up: no colleague missed it more than the others.
    """
    alone = call.rung[0] if len(call.rung) == 1 else ""
    return call.last_agent or call.first_agent or alone


def user_of(agents: Mapping[str, str], extension: str) -> str:
    """The CRM user with this extension; "" when there is none, or several: none of them is the first.

    Args:
        agents: CRM user id -> extension.
    """
    users = [user for user, his in agents.items() if extension and his == extension]
    return users[0] if len(users) == 1 else ""


def begins_to_ring(popup: Popup) -> tuple[str, ...]:
    """The extensions on whose screens a card opens now.

    Phones that begin to ring, who places a call, and who was handed a conversation over; who picks up first has had
    his card while his phone rang.
    """
    progress: CallProgress = popup.progress
    match progress.phase:
        case Phase.DIAL:
            return popup.began if progress.direction is Direction.IN else ()
        case Phase.START:
            return popup.began if progress.direction is Direction.OUT else ()
        case Phase.BRIDGE:
            return popup.began if len(progress.agents) > 1 else ()
        case _:
            return ()


def digits_of(phone: str | None) -> str:
    """An E.164 number without its plus."""
    return (phone or "").removeprefix("+")


def remark(call: Call) -> str:
    """A sentence for people, in place of the result that an API has no field for; "" for a conversation."""
    return "" if call.status is Status.ANSWERED else REMARKS.get(call.reason, "Пропущен")


def call_back(call: Call) -> str:
    """What a task for a missed call says."""
    return f"Перезвонить: {display(call.phone or '')}. {remark(call)}"


@contextmanager
def settling() -> Iterator[None]:
    """A change whose repetition the CRM does not know again: when its answer is lost, only time brings certainty."""
    try:
        yield
    except CrmUncertain as doubt:
        raise CrmUncertain(str(doubt), settles_s=SETTLES_S) from None
