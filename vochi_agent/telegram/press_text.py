"""What the bot says to who presses a button, in Russian: plain texts of 200 characters at most. Pure."""

from typing import Final

from vochi_agent.calls.call_backs import CallBack

from .text import Labels, done_about, plain

__all__ = [
    "AWAY",
    "CALLED_TOO_OFTEN",
    "LATE",
    "LATER",
    "MINE",
    "NOT_CALLED",
    "NOT_MISSED",
    "NO_CALL",
    "NO_NUMBER",
    "PBX_SILENT",
    "PRIVATELY",
    "RINGING",
    "RINGS_ALREADY",
    "STALE",
    "STRANGER",
    "TAKEN",
    "TOO_OFTEN",
    "somebodys",
]

STRANGER: Final = "Эти кнопки – для сотрудников компании. Ссылку для входа даёт администратор."
STALE: Final = "Эта кнопка больше не действует."
TOO_OFTEN: Final = "Слишком часто. Подождите минуту."
LATER: Final = "Сейчас не получилось. Попробуйте через минуту."
LATE: Final = "Нажатие дошло до бота с опозданием. Если звонок ещё нужен, нажмите снова."
NO_CALL: Final = "Этого звонка в журнале ещё нет. Попробуйте через минуту."
PRIVATELY: Final = "Подробности – в личном чате с ботом."
TAKEN: Final = "Записано за вами. Карточка закроется сама, когда с клиентом поговорят."
MINE: Final = "Этот звонок уже за вами."
NOT_MISSED: Final = "Этому клиенту перезванивать не нужно."
RINGING: Final = "☎️ Звоним на ваш номер {extension}: снимите трубку, и АТС наберёт клиента."
RINGS_ALREADY: Final = "Уже звоним."
NO_NUMBER: Final = "Номер этого звонка неизвестен."
NOT_CALLED: Final = "Отсюда этот звонок сделать нельзя. Наберите клиента с телефона."
CALLED_TOO_OFTEN: Final = "Слишком много звонков. Подождите минуту."
PBX_SILENT: Final = "АТС не смогла начать звонок. Перезвоните с телефона."
AWAY: Final = "Звонить отсюда нельзя: у АТС не включён ARI."


def somebodys(call_back: CallBack, labels: Labels) -> str:
    """Somebody else was quicker."""
    return plain(done_about(call_back, labels)) or NOT_MISSED
