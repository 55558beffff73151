"""The doors that bytes of strangers come in by; each takes any bytes and raises nothing.

What is refused with a class of the error tree is refused well; whatever else comes out of a door is a finding.
"""

import atexit
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from aiogram.types import Update
from pydantic import ValidationError

from vochi_agent.asterisk.cdr import read_cdr
from vochi_agent.asterisk.cdr_calls import calls_of
from vochi_agent.asterisk.cel import mended, read_text
from vochi_agent.asterisk.clock import PrintedTimes
from vochi_agent.asterisk.masking import Mask
from vochi_agent.asterisk.translate_ami import ONLY, WANTED, snapshot, translate
from vochi_agent.asterisk.translate_cel import CelTranslator
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.missed import MissedCalls
from vochi_agent.calls.model import Call, CallFinished, CallProgress, CallUpdate, Source
from vochi_agent.calls.tracker import Tracker
from vochi_agent.config import load
from vochi_agent.crm import clicks_of, webhook_of
from vochi_agent.errors import ConfigError, ForeignTenant, LocalProtocolError, NotUnderstood, RemoteProtocolError
from vochi_agent.protocols.agi import AgiReader, AgiRequest, set_variable
from vochi_agent.protocols.agi_pbx import AgiCommandReader
from vochi_agent.protocols.ami import AmiReader, encode_message
from vochi_agent.simulator.scenario import load_scenario
from vochi_agent.telegram.bot import TelegramBot
from vochi_agent.telegram.naming import named_in
from vochi_agent.telegram.text import MAX_UNITS, Labels, final_card, live_card, units

__all__ = ["MOST_BYTES", "TARGETS", "Target"]

ROOT: Final = Path(__file__).parents[2]
SCENARIOS: Final = ROOT / "tests/scenarios"
MOST_BYTES: Final = 2048
FOLDER: Final = Path(tempfile.mkdtemp(prefix="vochi-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

CONFIG: Final = load(ROOT / "config.simulate.toml")
ENTERPRISE: Final = CONFIG.enterprises[0]
LABELS: Final = Labels(agents={"150": "<Первый> & Агент"}, lines={}, timezone=UTC, hashtags=True)
WIDE: Final = datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(4e9, UTC)
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True, slots=True)
class Target:
    """One door.

    Attributes:
        run: Takes any bytes.
        seeds: What comes in by it in life.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]


def ami(data: bytes) -> None:
    """From the socket to the cards, the pieces cut where the first byte says."""
    tracker, reader, mask = Tracker(Layout(ENTERPRISE)), AmiReader(WANTED, only=ONLY), Mask(ENTERPRISE)
    at, seen = 1.7e9, []
    for piece in _cut(data):
        try:
            messages = reader.receive_data(piece)
        except RemoteProtocolError:
            break
        for message in messages:
            seen.append(message)
            with suppress(LocalProtocolError):
                encode_message(mask.event(message.headers))
            if (event := translate(message, at)) is not None:
                _shown(tracker.receive(event))
    reader.receive_eof()
    _shown(tracker.receive(snapshot(at, seen, seen, {})))
    _shown(tracker.expire(at + 5))
    _shown(tracker.close(at + 10))
    assert tracker.open_channels == 0


def agi(data: bytes) -> None:
    """A session as the daemon reads it, and one as the simulated dialplan does."""
    reader, commands, layout = AgiReader(), AgiCommandReader(), Layout(ENTERPRISE)
    with suppress(RemoteProtocolError):
        for piece in _cut(data):
            for event in reader.feed(piece):
                if isinstance(event, AgiRequest):
                    layout.caller(event.caller_number, layout.inbound_line(event.channel, event.dnid))
                    layout.endpoint(event.channel)
                    with suppress(LocalProtocolError):
                        assert set_variable("CALLERID(name)", event.caller_name).count(b"\n") == 1
    with suppress(RemoteProtocolError):
        for piece in _cut(data):
            commands.feed(piece)


def webhooks(data: bytes) -> None:
    """Every CRM's reader, as form and as JSON, changes and clicks alike."""
    body, query = data[2:], data[2:200].decode("latin-1") if data[:1] > b"\x80" else ""
    content_type = FORM if data[1:2] > b"\x80" else JSON
    for read in READERS:
        with suppress(NotUnderstood, ForeignTenant):
            found = read(content_type, query, body)
            json.dumps(str(found))


def telegram(data: bytes) -> None:
    """An update, as aiogram takes it, and the names that an answer to a card gives."""
    named_in(data.decode(errors="replace"))
    with suppress(ValidationError):
        BOT._incoming(Update.model_validate_json(data).message)


def cel(data: bytes) -> None:
    """Lines of CEL, to the cards."""
    tracker, translator, problems = Tracker(Layout(ENTERPRISE), source=Source.RECOVERY), CelTranslator(), Counter[str]()
    lines = data.decode(errors="replace").splitlines(keepends=True)
    at = 0.0
    for row in mended(read_text(lines, UTC, problems)):
        for event in translator.translate(row):
            at = max(at, event.at)
            _shown(tracker.receive(event))
        _shown(tracker.expire(at))
    _shown(tracker.close(at))


def cdr(data: bytes) -> None:
    """Lines of CDR, to the cards and the report."""
    lines = data.decode(errors="replace").splitlines(keepends=True)
    report = MissedCalls(UTC, *WIDE)
    for layout in (Layout(ENTERPRISE), Layout(ENTERPRISE, guess_lines=True)):
        for call in calls_of(read_cdr(lines, PrintedTimes(UTC), Counter()), layout):
            _told(call)
            report.receive(call)
    list(report.owed())


def config(data: bytes) -> None:
    """A configuration file, and the same bytes as a scenario."""
    path = FOLDER / "config.toml"
    path.write_bytes(data)
    with suppress(ConfigError):
        load(path)
    with suppress(ConfigError):
        load_scenario(str(path))


def _cut(data: bytes) -> Iterator[bytes]:
    size = data[0] % 64 * 16 + 1 if data else 1
    for start in range(1, len(data), size):
        yield data[start : start + size]


def _shown(updates: list[CallUpdate]) -> None:
    for update in updates:
        if isinstance(update, CallFinished):
            _told(update.call)
        elif isinstance(update, CallProgress):
            json.dumps(update.as_json())
            live_card(update, customer=None, before=None, labels=LABELS)


def _told(call: Call) -> None:
    json.dumps(call.as_json())
    assert call.wait_seconds >= 0
    assert call.talk_seconds >= 0
    assert units(final_card(call, customer=None, before=None, labels=LABELS)) <= MAX_UNITS


def _recorded(name: str, parted_by: bytes, together: int) -> Callable[[], Iterator[bytes]]:
    """Pieces of every recording."""

    def seeds() -> Iterator[bytes]:
        for file in sorted(SCENARIOS.glob(f"*/{name}")):
            pieces = file.read_bytes().split(parted_by)
            for start in range(0, min(len(pieces), 4 * together), together):
                yield b"\x3f" + parted_by.join(pieces[start : start + together])[: MOST_BYTES - 1]

    return seeds


def _recorded_rows(name: str) -> Callable[[], Iterator[bytes]]:
    def seeds() -> Iterator[bytes]:
        for file in sorted(SCENARIOS.glob(f"*/{name}")):
            yield file.read_bytes()[:MOST_BYTES]

    return seeds


def _agi_seeds() -> Iterator[bytes]:
    fields = {"network_script": "callerid", "channel": "PJSIP/gsm1-1", "callerid": "375290000022", "dnid": "0001701"}
    text = "".join(f"agi_{name}: {value}\n" for name, value in fields.items())
    yield f"?{text}agi_arg_1: 0901\n\n200 result=1\n200 result=1 (yes)\nHANGUP\n".encode()
    yield b'?SET VARIABLE VOCHI_STATUS "ok"\n'
    yield f"?{text}\n520-Invalid command syntax.\n Usage\n520 End of proper usage.\n".encode()


def _webhook_seeds() -> Iterator[bytes]:
    forms = (
        {"uon_id": "1", "uon_subdomain": "demo", "datetime": "2026-11-20", "type_id": "5", "client_id": "7"},
        {"event": "ONCRMCONTACTUPDATE", "data[FIELDS][ID]": "77", "auth[member_id]": "abc", "ts": "1"},
        {"contacts[update][0][id]": "7", "account[id]": "1", "account[subdomain]": "demo"},
        {"clientId": "x", "data": '{"phone":"+375290000022","code":"151"}'},
    )
    for form in forms:
        yield b"\x00\xff" + urlencode(form).encode()
    person = "https://api.moysklad.ru/api/remap/1.2/entity/counterparty/11111111-aaaa-11ee-0a80-000000000001"
    event = {"meta": {"type": "counterparty", "href": person}, "action": "UPDATE", "accountId": "", "updatedFields": []}
    for message in ({"events": [event]}, {"srcNumber": "151", "destNumber": "+375290000022"}, forms[0]):
        yield b"\x00\x00" + json.dumps(message).encode()


def _telegram_seeds() -> Iterator[bytes]:
    chat, person = (
        {"id": -1001000000001, "type": "supergroup", "title": "x"},
        {"id": 7, "is_bot": False, "first_name": "A"},
    )
    card = {
        "message_id": 5,
        "date": 1,
        "chat": chat,
        "from": {"id": 42, "is_bot": True, "first_name": "v"},
        "text": "c",
    }
    message = {"message_id": 6, "date": 2, "chat": chat, "from": person, "text": "ООО Ромашка, Анна"}
    yield json.dumps({"update_id": 1, "message": {**message, "reply_to_message": card}}).encode()
    yield "ИП Тестов, Анна Петровна".encode()


def _config_seeds() -> Iterator[bytes]:
    for file in ("config.simulate.toml", "config.minimal.toml", "config.example.toml"):
        yield (ROOT / file).read_bytes()[:MOST_BYTES]
    for scenario in (ROOT / "vochi_agent/simulator/scenarios").glob("*.toml"):
        yield scenario.read_bytes()[:MOST_BYTES]


def _readers() -> list[Callable[[str, str, bytes], object]]:
    text = (
        "[retailcrm]\nurl='https://d.example'\napi_key='k'\n[uon]\napi_key='k'\n[moysklad]\napi_key='k'\n"
        "[bitrix24]\nurl='https://d.example'\nuser_id='1'\napi_key='k'\napplication_token='t'\n[amocrm]\nurl='https://d.amocrm.example'\napi_key='k'\n"
    )
    path = FOLDER / "crms.toml"
    nested = text.replace("[", "[enterprises.crm.")
    path.write_text(
        f'[[enterprises]]\nnumber="1"\ncountry="BY"\nprimary_source="uon"\n[enterprises.asterisk]\nami="127.0.0.1:5038"\n'
        f'ami_username="v"\nami_secret="s"\n{nested}'
    )
    readers: list[Callable[[str, str, bytes], object]] = []
    for table in load(path).enterprises[0].crm.values():
        readers += [each for each in (webhook_of(table, country="BY"), clicks_of(table)) if each]
    return readers


READERS: Final = _readers()
BOT: Final = TelegramBot("42:FUZZ", api_url="http://127.0.0.1:1", request_s=1.0)

TARGETS: Final[Mapping[str, Target]] = {
    "ami": Target(ami, _recorded("ami.raw", b"\r\n\r\n", 8)),
    "agi": Target(agi, _agi_seeds),
    "webhooks": Target(webhooks, _webhook_seeds),
    "telegram": Target(telegram, _telegram_seeds),
    "cel": Target(cel, _recorded_rows("cel.csv")),
    "cdr": Target(cdr, _recorded_rows("cdr.csv")),
    "config": Target(config, _config_seeds),
}
