"""One card of each kind, as people read it: the source of the golden file, of docs/telegram-cards.md and its pictures.

`python -m tests.support.cards` writes all of them anew; look at what changed before keeping it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.support.pictures import sheet
from vochi_agent.calls.call_backs import CallBack
from vochi_agent.calls.evidence import LegEvidence, LegRole, StayEvidence
from vochi_agent.calls.model import Call, CallProgress, Direction, Phase, Reason, Source, Status
from vochi_agent.customers.model import Customer, History, Names
from vochi_agent.telegram.keyboards import CALL, TAKE, WHY, labels_of_buttons
from vochi_agent.telegram.text import Labels, brief_final, brief_live, final_card, live_card, reminder
from vochi_agent.telegram.together import board_of, in_one_message, recovered_digest
from vochi_agent.telegram.why import why

__all__ = [
    "COMPANY",
    "LABELS",
    "PERSON",
    "STARTED_AT",
    "cards",
    "final",
    "finished",
    "golden",
    "live",
    "page",
    "pictures",
    "told",
]

ROOT: Final = Path(__file__).parents[2]
GOLDEN: Final = ROOT / "tests" / "golden" / "cards.txt"
PAGE: Final = ROOT / "docs" / "telegram-cards.md"
PICTURES: Final = ROOT / "docs" / "pictures"

STARTED_AT: Final = datetime(2026, 11, 20, 7, 0, 5, tzinfo=UTC)  # 10:00 in Minsk
LABELS: Final = Labels(
    agents={"150": "Первый Агент", "151": "Второй Агент", "152": "Третий Агент", "901": "Продажи"},
    lines={"0001701": "МТС Центр", "0001702": "A1 Центр"},
    timezone=ZoneInfo("Europe/Minsk"),
    badges=frozenset({"repeated", "black_list"}),
)
MASKED: Final = replace(LABELS, mask=True)
TALKATIVE: Final = replace(LABELS, badges=frozenset({"new", "repeated", "black_list"}), hashtags=True)
CALLED_BEFORE: Final = History(
    calls_total_in=3,
    calls_answered_in=2,
    calls_missed_in=1,
    last_call_at=datetime(2026, 11, 18, 13, 42, tzinfo=UTC),
    last_call_direction="in",
    last_call_status="missed",
    last_agent_internal="151",
)
TALKED_BEFORE: Final = History(
    calls_total_in=21,
    calls_answered_in=21,
    last_call_at=datetime(2026, 11, 18, 13, 42, tzinfo=UTC),
    last_call_direction="in",
    last_call_status="answered",
    last_agent_internal="151",
)


# What stands below some of them.
BUTTONS: Final = {
    "Входящий, ответили, незнакомый номер": (WHY, CALL),
    "Пропущенный, звонили три телефона": (TAKE, WHY, CALL),
    "Пропущенный: один телефон звонил, другой занят, третий не в сети, четвёртый отклонил": (TAKE, WHY, CALL),
    "Есть запись разговора": (WHY, CALL),
    "Сегодня уже звонил": (WHY, CALL),
    "Пропущенный, взяли": (WHY, CALL),
    "Пропущенный, перезвонили": (WHY, CALL),
    "Напоминание": (TAKE, WHY, CALL),
    "Скрытый номер": (WHY,),
    "Внутренний, не ответили": (WHY,),
}


def customer(phone: str, **names: str) -> Customer:
    """A row of `customers` with these names."""
    return Customer(enterprise_number="0901", phone_e164=phone, names=Names(**names), history=History())


PERSON: Final = customer("+375290000022", last_name="Тестов", first_name="Тест")
COMPANY: Final = customer(
    "+375290000033", last_name="Контактова", first_name="Анна", enterprise_name='ООО "Ромашка & Ко"'
)
LINKED: Final = replace(PERSON, meta={"links": {"retailcrm": "https://demo.retailcrm.example/customers/2002"}})
UNWELCOME: Final = replace(PERSON, black_list=True)
CALLED_TODAY: Final = replace(CALLED_BEFORE, last_call_at=datetime(2026, 11, 20, 6, 31, tzinfo=UTC))
FIRM: Final = customer("+375290000033", enterprise_name="Ромашка")


def phone_leg(extension: str, **facts: Any) -> LegEvidence:
    """What the channel to a telephone did."""
    known: dict[str, Any] = {"endpoint": f"PJSIP/{extension}", "role": LegRole.AGENT, "entered": False, "started": 1.0}
    return LegEvidence(extension=extension, **known | facts)


def finished(**facts: Any) -> Call:
    """A call: answered inbound by 151 unless the facts say otherwise."""
    status = facts.get("status", Status.ANSWERED)
    talked = status is Status.ANSWERED
    talk, wait = facts.get("talk_seconds", 62.0 if talked else 0.0), facts.get("wait_seconds", 5.0 if talked else 40.0)
    path = facts.get("path", ("151",) if talked else ())
    known: dict[str, Any] = {
        "enterprise_number": "0901",
        "linkedid": "1795165024.84",
        "direction": Direction.IN,
        "status": status,
        "reason": Reason.TALKED if talked else Reason.NO_ANSWER,
        "phone": "+375290000011",
        "raw_number": "375290000011",
        "line": "0001701",
        "started_at": STARTED_AT,
        "answered_at": STARTED_AT + timedelta(seconds=wait) if talked else None,
        "ended_at": STARTED_AT + timedelta(seconds=wait + talk),
        "wait_seconds": wait,
        "talk_seconds": talk,
        "first_agent": path[0] if path else None,
        "last_agent": path[-1] if path else None,
        "path": path,
        "rung": ("150", "151", "152"),
    }
    return Call(**known | facts)


def told(phase: Phase, direction: Direction = Direction.IN, **facts: Any) -> CallProgress:
    """A live call in a phase."""
    at = STARTED_AT.timestamp()
    known: dict[str, Any] = {
        "at": at,
        "enterprise_number": "0901",
        "linkedid": "1795165024.84",
        "phone": "+375290000011",
        "raw_number": "375290000011",
        "line": "0001701",
        "started_at": at,
        "agents": (),
    }
    return CallProgress(phase=phase, direction=direction, **known | facts)


def final(call: Call, who: Customer | None = None, before: History | None = None, labels: Labels = LABELS) -> str:
    """The final card."""
    return final_card(call, customer=who, before=before, labels=labels)


def live(
    progress: CallProgress, who: Customer | None = None, before: History | None = None, placed_by: str = ""
) -> str:
    """The live card."""
    return live_card(progress, customer=who, before=before, labels=LABELS, placed_by=placed_by)


def cards() -> Iterator[tuple[str, str]]:
    """Every kind of card: its title, its text."""
    for _, group in GROUPS.values():
        yield from group()


def _incoming() -> Iterator[tuple[str, str]]:
    missed = {"status": Status.MISSED}
    yield "Входящий, ответили, незнакомый номер", final(finished())
    yield "Входящий, ответили, известный человек", final(finished(phone="+375290000022"), PERSON, TALKED_BEFORE)
    yield "Входящий, ответили, контакт компании", final(finished(phone="+375290000033"), COMPANY, CALLED_BEFORE)
    yield "Входящий, ответили, известна только компания", final(finished(phone="+375290000033"), FIRM)
    yield "Входящий, ответили и перевели", final(finished(path=("151", "152"), talk_seconds=90.0))
    yield "Входящий, ответили вне офиса", final(finished(path=("+375290000095",)))
    yield "Пропущенный, звонили три телефона", final(finished(**missed), PERSON, CALLED_BEFORE)
    yield "Пропущенный, звонил один телефон", final(finished(**missed, rung=("151",)))
    yield (
        "Пропущенный, звонили пять телефонов",
        final(finished(**missed, rung=("150", "151", "152", "153", "154"))),
    )
    yield (
        "Пропущенный во время приветствия",
        final(finished(**missed, rung=(), reason=Reason.ABANDONED_GREETING, wait_seconds=4.0)),
    )
    yield (
        "Пропущенный: один телефон звонил, другой занят, третий не в сети, четвёртый отклонил",
        final(
            finished(
                **missed,
                rung=("150", "153"),
                evidence=(
                    phone_leg("150", rang=1.5, cause=26),
                    phone_leg("151", cause=17, dial_status="BUSY"),
                    phone_leg("152", dial_status="CHANUNAVAIL"),
                    phone_leg("153", rang=1.5, cause=21),
                ),
            )
        ),
    )
    yield "Имя ведёт в карточку CRM", final(finished(phone="+375290000022"), LINKED)
    yield (
        "Есть запись разговора",
        final_card(
            finished(), customer=None, before=None, labels=LABELS, recording="https://pbx.example/vochi/recordings/…"
        ),
    )
    yield "Сегодня уже звонил", final(finished(phone="+375290000022"), PERSON, CALLED_TODAY)
    yield "Чёрный список", final(finished(phone="+375290000022", **missed, rung=(), reason=Reason.BLOCKED), UNWELCOME)
    yield "Чат с хештегами и отметкой новых", final(finished(), before=History(), labels=TALKATIVE)
    yield "Скрытый номер", final(finished(phone=None, raw_number="anonymous"))
    yield "Чат со скрытыми номерами", final(finished(), labels=MASKED)
    yield "Линия без названия", final(finished(line="3880001"))
    yield "Восстановленный, ответили", final(finished(source=Source.RECOVERY))
    yield "Восстановленный, пропущенный", final(finished(**missed, source=Source.RECOVERY, rung=("151",)))
    yield (
        "Конец разговора не виден",
        final(finished(status=Status.UNKNOWN, reason=Reason.UNKNOWN_END, rung=()), PERSON),
    )


def _called_back() -> Iterator[tuple[str, str]]:
    call = finished(status=Status.MISSED, rung=("151",))
    taken = CallBack(ended_at=call.ended_at, taken_by="152", taken_at=call.ended_at + timedelta(minutes=3))
    at = call.ended_at + timedelta(minutes=12)
    reached = replace(taken, reached_by="151", reached_at=at)
    for title, stands in (
        ("Пропущенный, взяли", taken),
        ("Пропущенный, взял тот, у кого имя только в Telegram", replace(taken, taken_by="159", taken_name="Анна")),
        ("Пропущенный, перезвонили", reached),
        ("Пропущенный, клиент дозвонился сам", replace(reached, called_again=True)),
        ("Пропущенный, перезвонили, кто – неизвестно", replace(reached, reached_by="")),
    ):
        yield title, final_card(call, customer=PERSON, before=None, labels=LABELS, call_back=stands)
    later = call.ended_at + timedelta(minutes=15)
    yield "Напоминание", reminder(call, customer=PERSON, labels=LABELS, at=later)
    asked = replace(call, evidence=(in_vain(40.0), phone_leg("151", rang=1.5, cause=16, ended=40.1)))
    yield "Ответ на «Почему?» о пропущенном", why(asked, customer=PERSON, labels=LABELS)
    yield "Ответ на «Почему?» об отвеченном", why(talk(), customer=None, labels=LABELS)


def in_vain(seconds: float) -> LegEvidence:
    """What the channel of a customer did who was not answered."""
    return LegEvidence(
        endpoint="PJSIP/gsm1", extension="", role=LegRole.CUSTOMER, entered=True, started=0.0, up=0.2, hung_up=seconds
    )


def talk() -> Call:
    """A call that was answered and whose every channel was seen."""
    stay = StayEvidence("b1", 5.0, 67.0)
    return finished(
        evidence=(
            replace(in_vain(67.0), stays=(stay,)),
            phone_leg("150", rang=1.4, cause=26, ended=5.1),
            phone_leg("152", cause=17, ended=1.3),
            phone_leg("151", rang=1.5, up=5.0, stays=(stay,), cause=16, ended=67.1),
        )
    )


def _outgoing() -> Iterator[tuple[str, str]]:
    out: dict[str, Any] = {"direction": Direction.OUT, "rung": (), "raw_number": "80290000011"}
    yield "Исходящий, ответили", final(finished(**out, talk_seconds=4.0))
    yield (
        "Исходящий, не ответили",
        final(finished(**out, status=Status.MISSED, wait_seconds=32.0, first_agent="151"), PERSON, TALKED_BEFORE),
    )
    yield "Исходящий, перевели", final(finished(**out, path=("151", "152"), talk_seconds=3725.0))
    yield (
        "Исходящий на короткий номер",
        final(finished(**out | {"raw_number": "103"}, phone=None, talk_seconds=75.0)),
    )
    forbidden = {"status": Status.MISSED, "reason": Reason.FORBIDDEN, "first_agent": "151", "wait_seconds": 0.0}
    yield "Исходящий по запрещённому направлению", final(finished(**out, **forbidden))


def _colleagues() -> Iterator[tuple[str, str]]:
    inside: dict[str, Any] = {"direction": Direction.INTERNAL, "phone": None, "line": None, "raw_number": "151"}
    yield "Внутренний, ответили", final(finished(**inside, path=("150", "151"), rung=("151",), talk_seconds=15.0))
    missed = {"status": Status.MISSED, "first_agent": "150", "wait_seconds": 20.0}
    yield "Внутренний, не ответили", final(finished(**inside, **missed, rung=("151",)))
    yield (
        "Внутренний в отдел, не ответили",
        final(finished(**inside | {"raw_number": "901"}, **missed, rung=("151", "152"))),
    )


def _live() -> Iterator[tuple[str, str]]:
    group = ("150", "151", "152")
    yield "Идёт приветствие", live(told(Phase.START, phone="+375290000022"), PERSON, CALLED_BEFORE)
    yield "Звонят телефоны", live(told(Phase.DIAL, agents=group))
    yield "Звонят больше четырёх телефонов", live(told(Phase.DIAL, agents=(*group, "153", "154")))
    yield "Идёт входящий разговор", live(told(Phase.BRIDGE, phone="+375290000033", agents=("151",)), COMPANY)
    yield "Набирают клиента", live(told(Phase.DIAL, Direction.OUT), placed_by="151")
    yield "Идёт исходящий разговор", live(told(Phase.BRIDGE, Direction.OUT, agents=("151",)), PERSON)
    inside: dict[str, Any] = {"direction": Direction.INTERNAL, "phone": None, "line": None, "raw_number": "151"}
    yield "Звонят коллеге", live(told(Phase.DIAL, **inside, agents=("151",)), placed_by="150")
    yield "Идёт внутренний разговор", live(told(Phase.BRIDGE, **inside, agents=("150", "151")))


def _together() -> Iterator[tuple[str, str]]:
    missed = finished(status=Status.MISSED)
    calls = [(finished(phone="+375290000022"), PERSON), (missed, None), (finished(phone="+375290000033"), COMPANY)]
    cards = [(final(call, who), brief_final(call, customer=who, labels=LABELS)) for call, who in calls]
    yield "Наплыв: итоги нескольких звонков в одном сообщении", in_one_message(cards[:2], held=False)
    yield "Очень много итогов сразу", in_one_message(cards * 5, held=False)
    yield "Утром, после тихих часов", in_one_message(cards, held=True)
    yield "Восстановлено много звонков", recovered_digest([brief for _, brief in cards])
    live = [
        told(Phase.BRIDGE, phone="+375290000033", agents=("151",)),
        told(Phase.BRIDGE, Direction.OUT, agents=("152",)),
        told(Phase.DIAL, agents=("150", "153", "154")),
    ]
    briefs = [
        (
            progress.phase.value,
            brief_live(progress, customer=COMPANY if progress.phone == "+375290000033" else None, labels=LABELS),
        )
        for progress in live
    ]
    yield "Наплыв: табло вместо карточек звонков, которые идут", board_of(briefs)


# By the name of the picture: the heading of the page, the cards.
GROUPS: Final[Mapping[str, tuple[str, Callable[[], Iterator[tuple[str, str]]]]]] = {
    "incoming": ("Входящие", _incoming),
    "missed": ("Пропущенные: кто перезвонит", _called_back),
    "outgoing": ("Исходящие", _outgoing),
    "internal": ("Внутренние", _colleagues),
    "live": ("Звонки, которые идут", _live),
    "together": ("Несколько звонков в одном сообщении", _together),
}
# What the first page of the documentation shows: one call from ringing to its end, one that nobody took, a rush.
FIRST: Final = (
    "Звонят телефоны",
    "Идёт входящий разговор",
    "Есть запись разговора",
    "Пропущенный: один телефон звонил, другой занят, третий не в сети, четвёртый отклонил",
    "Сегодня уже звонил",
    "Наплыв: табло вместо карточек звонков, которые идут",
)


def golden() -> str:
    """The golden file."""
    return "".join(f"=== {title}\n{text}\n{_buttons(title)}\n" for title, text in cards())


def page() -> str:
    """The page of the documentation, from the same cards."""
    head = (
        "# Telegram cards\n\n"
        "Every kind of message that a chat can get about calls, with the markup as it is sent. `👤` stands there\n"
        "when the customer is known, the history when he called before. A `<blockquote expandable>` is folded until\n"
        "somebody taps it. `[...]` is a button. When a chat gets which, what buttons do, what happens in a rush:\n"
        "[telegram.md](telegram.md).\n"
    )
    for name, (heading, group) in GROUPS.items():
        head += f"\n## {heading}\n\n![{heading}](pictures/telegram-{name}.svg)\n"
        head += "".join(f"\n### {title}\n\n```\n{text}\n{_buttons(title)}```\n" for title, text in group())
    return head


def pictures() -> Mapping[Path, str]:
    """The same cards as people see them, by file."""
    below = {
        title: [[label for _, label in row] for row in labels_of_buttons(names)] for title, names in BUTTONS.items()
    }
    found = {
        PICTURES / f"telegram-{name}.svg": sheet(list(group()), columns=3, title=heading, buttons=below)
        for name, (heading, group) in GROUPS.items()
    }
    by_title = dict(cards())
    first = [(title, by_title[title]) for title in FIRST]
    top = sheet(first, columns=3, title="Карточки звонков в Telegram", buttons=below)
    return found | {PICTURES / "telegram.svg": top}


def _buttons(title: str) -> str:
    rows = labels_of_buttons(BUTTONS.get(title, ()))
    return "".join(" ".join(f"[{label}]" for _, label in row) + "\n" for row in rows)


if __name__ == "__main__":
    for path, text in {GOLDEN: golden(), PAGE: page(), **pictures()}.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
