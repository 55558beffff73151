"""A whole company for tests of the commands: PostgreSQL, the shipped PBX, the sandbox CRM and Telegram, a folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import Answer, Workplace
from tests.support.ports import free_port
from vochi_agent.simulator.pbx import Pbx, User
from vochi_agent.simulator.retailcrm import RetailCrmSandbox
from vochi_agent.simulator.telegram import TelegramSandbox
from vochi_agent.store.postgres import PostgresStore

__all__ = [
    "AMI_SECRET",
    "API_KEY",
    "CHAT",
    "CONTACT",
    "PERSON",
    "STRANGER",
    "TOKEN",
    "Site",
    "assert_no_secret",
    "company",
]

CEL = Path(__file__).resolve().parents[1] / "scenarios" / "inbound-answered" / "cel.csv"
AMI_SECRET = "ami-Sesam-1"
API_KEY = "Rk-secret-9f"
TOKEN = "4242:Bot-secret-Token"
CHAT = -1001000000001
PERSON = "+375290000011"
CONTACT = "+375290000033"
STRANGER = "+375290000099"

CONFIGURATION = """
[daemon]
timezone = "Europe/Minsk"
state_dir = "{folder}/state"
[database]
url = "{dsn}"
[fastagi]
listen = "127.0.0.1:{agi_port}"
[http]
listen = "127.0.0.1:{http_port}"
[telegram]
token_file = "telegram-token"
api_url = "{telegram_url}"
[[enterprises]]
number = "0901"
name = "Ромашка"
country = "BY"
  [enterprises.asterisk]
  ami = "127.0.0.1:{ami_port}"
  ami_username = "vochi"
  ami_secret_file = "ami-secret"
  cel = "{cel}"
  [[enterprises.lines]]
  id = "0001701"
  endpoint = "PJSIP/gsm1"
  label = "МТС Центр"
  shop = "Салон 1"
  caller_name = ["customer", "line", "shop"]
  [[enterprises.agents]]
  extension = "151"
  name_width = 12
  [enterprises.crm.retailcrm]
  url = "{crm_url}"
  api_key_file = "retailcrm-key"
  [[enterprises.chats]]
  id = {chat}
"""


@dataclass(frozen=True, slots=True)
class Site(Workplace):
    """A whole company: everything the configuration names is there and works."""

    folder: Path
    config: Path
    pbx: Pbx
    crm: RetailCrmSandbox
    telegram: TelegramSandbox
    store: PostgresStore
    values: dict[str, object]

    def configure(self, **changes: object) -> None:
        """Write the configuration, with some values changed."""
        self.config.write_text(CONFIGURATION.format(**self.values | changes))


@asynccontextmanager
async def company(folder: Path, dsn: str, store: PostgresStore) -> AsyncIterator[Site]:
    """The company, with its customers in the CRM and nothing in the database."""
    rights = frozenset({"call", "agent", "user", "dialplan"})
    user = User(secret=AMI_SECRET, read=rights, write=frozenset({"call", "reporting"}))
    cel = folder / "vochi.csv"
    cel.write_bytes(CEL.read_bytes())
    async with (
        Pbx(phones={"151": "Второй Агент"}, trunks=["PJSIP/gsm1"], users={"vochi": user}, speed=20) as pbx,
        RetailCrmSandbox(api_key=API_KEY) as crm,
        TelegramSandbox(token=TOKEN) as telegram,
    ):
        crm.add_customer(7, last_name="Иванов", first_name="Пётр", phones=["+375 (29) 000-00-11"])
        crm.add_customer(8, last_name="Сидоров", first_name="Олег", phones=["80290000033"])
        crm.add_company(70, nick_name="Ромашка", contacts=[8])
        telegram.add_chat(CHAT)
        values: dict[str, object] = {
            "folder": folder,
            "dsn": dsn,
            "agi_port": free_port(),
            "http_port": free_port(),
            "telegram_url": telegram.url,
            "ami_port": pbx.manager.port,
            "crm_url": crm.url,
            "chat": CHAT,
            "cel": cel,
        }
        site = Site(folder, folder / "config.toml", pbx, crm, telegram, store, values)
        site.write(CONFIGURATION.format(**values), ami_secret=AMI_SECRET, retailcrm_key=API_KEY, telegram_token=TOKEN)
        yield site


def assert_no_secret(answer: Answer) -> None:
    """Nothing that a command printed holds a secret of the company."""
    for secret in (AMI_SECRET, API_KEY, TOKEN):
        assert secret not in answer.out + answer.err
