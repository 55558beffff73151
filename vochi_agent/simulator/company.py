"""The company of the demonstration: its configuration, its customers in the CRM, the calls of its morning.

Every name and number is invented.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from .pbx import Pbx
from .retailcrm import RetailCrmSandbox

__all__ = [
    "AMI_SECRET",
    "API_KEY",
    "BOT_TOKEN",
    "CHAT_ID",
    "FINISHED",
    "MORNING",
    "PHONES",
    "TRUNK",
    "Scene",
    "configuration",
    "fill",
]

AMI_SECRET: Final = "demonstration"
API_KEY: Final = "demonstration-key"
BOT_TOKEN: Final = "42:demonstration"
# A person's chat: a group may be told no more than twenty times a minute, and this morning lasts half of one.
CHAT_ID: Final = 1000000001
# What cards of finished calls begin with.
FINISHED: Final = ("✅", "❌")
TRUNK: Final = "PJSIP/gsm1"
LINE: Final = "0001701"
PHONES: Final = {"150": "Первый Агент", "151": "Второй Агент", "152": "Третий Агент"}

PERSON: Final = "+375290000022"
STRANGER: Final = "+375290000011"
CONTACT: Final = "+375290000033"
COLLEAGUE: Final = "+375290000044"


def configuration(
    *, state_dir: str, ami_port: int, crm_url: str, telegram_url: str, agi_port: int, http_port: int
) -> str:
    """The configuration a sysadmin of this company would write."""
    agents = "".join(
        f'\n  [[enterprises.agents]]\n  extension = "{extension}"\n  name = "{name}"\n'
        for extension, name in PHONES.items()
    )
    return f"""
[daemon]
timezone = "Europe/Minsk"
state_dir = "{state_dir}"

[fastagi]
listen = "127.0.0.1:{agi_port}"

[http]
listen = "127.0.0.1:{http_port}"

[telegram]
token = "{BOT_TOKEN}"
api_url = "{telegram_url}"

[[enterprises]]
number = "0901"
name = "Ромашка"
country = "BY"
timezone = "Europe/Minsk"
primary_source = "retailcrm"

  [enterprises.asterisk]
  ami = "127.0.0.1:{ami_port}"
  ami_username = "vochi"
  ami_secret = "{AMI_SECRET}"

  [[enterprises.lines]]
  id = "{LINE}"
  endpoint = "{TRUNK}"
  label = "МТС Центр"
  shop = "Салон 1"
  number_rule = "+375{{9}}"
  caller_name = ["customer", "line", "shop"]
{agents}
  [enterprises.crm.retailcrm]
  url = "{crm_url}"
  api_key = "{API_KEY}"
  agents = {{ "7" = "151" }}

  [[enterprises.chats]]
  id = {CHAT_ID}
"""


def fill(crm: RetailCrmSandbox) -> None:
    """The CRM's people: a customer of his own and a company with two contacts."""
    crm.add_manager(7, code="151")
    crm.add_customer(2002, first_name="Тест", last_name="Тестов", phones=[PERSON], manager_id=7)
    crm.add_customer(2003, first_name="Анна", last_name="Контактова", phones=[CONTACT], manager_id=7)
    crm.add_customer(2004, first_name="Олег", last_name="Контактов", phones=[COLLEAGUE], manager_id=7)
    crm.add_company(77, nick_name="Ромашка", contacts=[2003, 2004])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One call of the morning and what has to come of it.

    Attributes:
        title: What happens, for the audience.
        play: Places the call; a coroutine function.
        crm_is_dead: The CRM does not answer meanwhile.
        display: What every phone that rings has to show, None when none rings.
        card: Pieces the chat's card has to hold.
    """

    title: str
    play: Callable[[Pbx], Awaitable[str]]
    crm_is_dead: bool = False
    display: str | None = None
    card: Sequence[str] = field(default=())


MORNING: Final = (
    Scene(
        title="Звонит клиент, которого знает CRM; отвечает 151",
        play=lambda pbx: pbx.inbound(
            trunk=TRUNK, did=LINE, caller="80290000022", ring=["150", "151"], answer="151", after_s=3, talk_s=12
        ),
        display="Тестов Тест | МТС Центр | Салон 1",
        card=(
            "✅Успешный входящий звонок",
            "💰+375 (29) 000-00-22",
            "👤Тестов Тест",
            "☎️Второй Агент (151)",
            "📡МТС Центр",
        ),
    ),
    Scene(
        title="Звонит незнакомец; отвечает 150",
        play=lambda pbx: pbx.inbound(
            trunk=TRUNK, did=LINE, caller="375290000011", ring=["150", "151"], answer="150", after_s=2, talk_s=8
        ),
        display="МТС Центр | Салон 1",
        card=("✅Успешный входящий звонок", "💰+375 (29) 000-00-11", "☎️Первый Агент (150)"),
    ),
    Scene(
        title="Он же перезванивает, трубку никто не берёт",
        play=lambda pbx: pbx.inbound(
            trunk=TRUNK, did=LINE, caller="375290000011", ring=["150", "152"], answer="", timeout_s=60, gives_up_s=15
        ),
        display="МТС Центр | Салон 1",
        card=(
            "❌ Мы не подняли трубку",
            "💰+375 (29) 000-00-11",
            "Первый Агент (150)",
            "Третий Агент (152)",
            "Звонил: 1 раз",
        ),
    ),
    Scene(
        title="151 перезванивает клиенту",
        play=lambda pbx: pbx.outbound(extension="151", number="80290000022", trunk=TRUNK, after_s=3, talk_s=9),
        card=("✅Успешный исходящий звонок", "☎️Второй Агент (151)", "💰+375 (29) 000-00-22", "👤Тестов Тест"),
    ),
    Scene(
        title="Звонит контакт компании: на трубке название компании",
        play=lambda pbx: pbx.inbound(
            trunk=TRUNK, did=LINE, caller="+375290000033", ring=["151", "152"], answer="152", after_s=2, talk_s=10
        ),
        display="Ромашка | МТС Центр | Салон 1",
        card=("✅Успешный входящий звонок", "👤Контактова Анна (Ромашка)", "☎️Третий Агент (152)"),
    ),
    Scene(
        title="CRM не отвечает, звонит тот же контакт: имя из своей базы",
        play=lambda pbx: pbx.inbound(
            trunk=TRUNK, did=LINE, caller="+375290000033", ring=["151"], answer="151", after_s=2, talk_s=5
        ),
        crm_is_dead=True,
        display="Ромашка | МТС Центр | Салон 1",
        card=("✅Успешный входящий звонок", "👤Контактова Анна (Ромашка)", "Звонил: 1 раз"),
    ),
)
