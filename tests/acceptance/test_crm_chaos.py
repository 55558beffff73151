"""Every CRM fails in turn while calls go on, and the daemon is killed: in the end each call is in each CRM once.

And every stranger who called is a contact once. VOCHI_CHAOS_S: seconds of traffic; below a minute doubts settle sooner
than in truth. VOCHI_SEED: the seed of an earlier run, which every run prints.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.support.crm import API_KEY
from tests.support.crm_accounts import (
    Account,
    AmoCrmAccount,
    Bitrix24Account,
    MoySkladAccount,
    RetailCrmAccount,
    UonAccount,
)
from tests.support.daemon import DaemonProcess, configuration
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from vochi_agent.calls.model import Direction
from vochi_agent.crm.factories import token_file
from vochi_agent.crm.oauth import Tokens, read_tokens
from vochi_agent.simulator.crm_server import Fault
from vochi_agent.simulator.pbx import Pbx, User
from vochi_agent.store.postgres import PostgresStore
from vochi_agent.store.reports import CallFilter

TRAFFIC_S = float(os.getenv("VOCHI_CHAOS_S", "16"))
HURRIED = TRAFFIC_S < 60
# A doubt that only time settles takes a minute (`call_facts.SETTLES_S`), a call in the hands of a daemon that was
# killed another one (`outbox.LEASE`); and what waits is sent at the CRMs' pace.
SETTLE_S = 90.0 if HURRIED else 240.0 + TRAFFIC_S
MOST_CALLS = 10_000
# How long a busy machine may take to store a call; what is lost with the process is for CEL, which is not here.
UNSTORED_S = 3.0
# Longer than we listen; then the stand-in does what it was asked.
SILENCE_S, SLOW_S = 6.0, 1.5

pytestmark = [pytest.mark.long(70), pytest.mark.timeout(TRAFFIC_S + SETTLE_S + 120)]

BITRIX24 = """client_id = "app-id"
client_secret = "app-secret"
refresh_token = "{first}"
oauth_url = "{url}"
rps = 20
default_user = "7"
"""
AMOCRM = """client_id = "client-id"
client_secret = "client-secret"
redirect_uri = "https://pbx.example/oauth"
refresh_token = "{first}"
unsorted = true
"""
# Each CRM of the company, with the requests that its account allows in a second and what its table needs.
COMPANY: Mapping[type[Account], tuple[int, str]] = {
    RetailCrmAccount: (10, 'api_key = "{key}"\nhistory_s = 0'),
    UonAccount: (10, 'api_key = "{key}"'),
    MoySkladAccount: (15, 'api_key = "{key}"\nphone_key = "phone-key"\nrps = 10'),
    # Of a portal of its own: what it allows is the owner's business.
    Bitrix24Account: (1000, BITRIX24),
    AmoCrmAccount: (7, AMOCRM),
}
# Their strangers become contacts; with amoCRM a call itself becomes a lead.
MAKE_CONTACTS = (RetailCrmAccount, UonAccount, MoySkladAccount, Bitrix24Account)
# Their tokens expire.
APPLICATIONS = (Bitrix24Account, AmoCrmAccount)
# What knows no id of ours: after a lost answer a call may be left to a person, but never be written twice.
MAY_PARK = {UonAccount.name}


@dataclass
class Stage:
    """The company, and what was done to it.

    Attributes:
        placed: The phone of every call that began and ended while the daemon lived.
        downs: When the daemon was dead, from and to, monotonic seconds.
        happened: For whoever reads a failure.
        given: By application: the refresh token that a person was given when he allowed it.
        allowed: How often he had to do so again.
    """

    pbx: Pbx
    accounts: Sequence[Account]
    daemon: DaemonProcess
    store: PostgresStore
    placed: list[tuple[str, float, float]] = field(default_factory=list)
    downs: list[tuple[float, float]] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    allowed: int = 0

    def say(self, what: str) -> None:
        """Note it with the time."""
        self.happened.append(f"{time.monotonic():.3f} {what}")

    def seen(self) -> set[str]:
        """The phones of calls that the daemon must have stored: it lived from before their beginning to their end."""
        return {
            phone
            for phone, began, ended in self.placed
            if not any(began < up and down < ended for down, up in self.downs)
        }

    async def stored(self) -> dict[str, Direction]:
        """The phones of the ledger."""
        calls = await self.store.reports.calls(CallFilter(limit=MOST_CALLS))
        return {call.phone: call.direction for call in calls if call.phone}

    @property
    def applications(self) -> Sequence[Account]:
        """Accounts whose tokens expire."""
        return [each for each in self.accounts if each.name in self.given]

    def access(self, account: Account) -> str:
        """The access token on the disk, "" when there is none."""
        kept = self.kept(account)
        return kept.access if kept else ""

    def lost_pair(self, account: Account) -> bool:
        """The CRM has sold tokens whose answer never came, or died with the daemon: nobody has the next one."""
        kept = self.kept(account)
        return account.sandbox.refresh_token not in (kept and kept.refresh, self.given[account.name])

    def kept(self, account: Account) -> Tokens | None:
        """The tokens on the disk."""
        return read_tokens(token_file(self.daemon.config.parent / "state", "0901", account.name))

    def allow_again(self) -> None:
        """What only a person can do, as the error says; the daemon does not run."""
        for account in filter(self.lost_pair, self.applications):
            self.allowed += 1
            self.say(f"{account.name}: allowed again")
            spent, fresh = self.given[account.name], f"{account.name}-token-{self.allowed}"
            self.given[account.name] = account.sandbox.refresh_token = fresh
            self.daemon.config.write_text(self.daemon.config.read_text().replace(spent, fresh))


def table_of(account: Account) -> str:
    """The account's table in the configuration."""
    _, more = COMPANY[type(account)]
    first, second = list(account.agents)
    rule = 'unknown_in = "contact"\n' if isinstance(account, MAKE_CONTACTS) else ""
    keys = more.format(key=API_KEY, url=account.sandbox.url, first=f"{account.name}-token-0")
    return (
        f'\n[enterprises.crm.{account.name}]\nurl = "{account.sandbox.url}"\n{keys}\n{rule}'
        f'agents = {{ "{first}" = "101", "{second}" = "102" }}\n'
    )


@pytest.fixture
async def stage(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        accounts = [kind(requests_per_s=requests_per_s) for kind, (requests_per_s, _) in COMPANY.items()]
        for account in accounts:
            account.sandbox.silence_s = SILENCE_S
            account.telephony()
            await enter(account.sandbox)
        pbx = await enter(
            Pbx(phones={"101": "Первый", "102": "Второй"}, trunks=["PJSIP/gsm1", "PJSIP/sip2"],
                users={"vochi": User(secret="s")}, speed=10)
        )  # fmt: skip
        dsn = await enter(postgres.database())
        store = await enter(PostgresStore(dsn, pool_size=1))
        agi_port, http_port = free_port(), free_port()
        text = configuration(
            state_dir=tmp_path / "state", ami_port=pbx.manager.port, secret="s", agi_port=agi_port,
            http_port=http_port, database=dsn,
        )  # fmt: skip
        path = tmp_path / "config.toml"
        path.write_text(text + "".join(map(table_of, accounts)))
        daemon = DaemonProcess(path, agi_port=agi_port, http_port=http_port)
        daemon.module = "tests.support.hurried" if HURRIED else daemon.module
        stage = Stage(pbx, accounts, daemon, store)
        for account in (each for each in accounts if isinstance(each, APPLICATIONS)):
            stage.given[account.name] = account.sandbox.refresh_token = f"{account.name}-token-0"
        await enter(daemon)
        await daemon.until_ready()
        yield stage


# ---------------------------------------------------------------- what happens

Ill = Callable[[Account, float], Awaitable[None]]


def falling_ill(fault: Fault) -> Ill:
    """The sandbox fails so for a time."""

    async def ill(account: Account, seconds: float) -> None:
        account.sandbox.fault = fault
        await asyncio.sleep(seconds)
        account.sandbox.fault = None

    return ill


async def slow(account: Account, seconds: float) -> None:
    """It answers, late."""
    account.sandbox.silence_s = SLOW_S
    await falling_ill(Fault.SILENCE)(account, seconds)
    account.sandbox.silence_s = SILENCE_S


async def restart(account: Account, seconds: float) -> None:
    """Nobody listens for a time, and what was open is cut."""
    server = getattr(account.sandbox, "server", account.sandbox)
    await server.stop()
    await asyncio.sleep(seconds)
    await server.start()


ILLNESSES: dict[str, Ill] = {
    **{
        fault.value: falling_ill(fault)
        for fault in (Fault.SILENCE, Fault.ERROR, Fault.CUT, Fault.LOST, Fault.LIMIT, Fault.REFUSE, Fault.HTML)
    },
    "slow": slow,
    "restart": restart,
}


async def illnesses(stage: Stage, account: Account, dice: Random, end: float) -> None:
    """All of them in a new order each time; what was begun is healed."""
    while True:
        for name in dice.sample(list(ILLNESSES), len(ILLNESSES)):
            await asyncio.sleep(dice.uniform(0.2, 1.5))
            if time.monotonic() > end:
                return
            stage.say(f"{account.name}: {name}")
            await ILLNESSES[name](account, dice.uniform(0.3, 2.0))
            stage.say(f"{account.name}: healed")


async def kills(stage: Stage, dice: Random, end: float) -> None:
    """The daemon is killed and started again; soon afterwards the tokens of its applications expire."""
    while True:
        await asyncio.sleep(dice.uniform(3.0, 6.0))
        if time.monotonic() > end:
            return
        await kill(stage, dice.uniform(0.0, 2.0))
        sold = {account.name: account.sandbox.pairs for account in stage.applications}
        await asyncio.sleep(dice.uniform(0.0, 2.0))
        for account in stage.applications:
            # A token that is refused within a minute of its purchase is taken for one that lacks rights.
            if account.sandbox.pairs == sold[account.name] and account.sandbox.token == stage.access(account):
                stage.say(f"{account.name}: the access token expires")
                account.sandbox.token = "another"


async def kill(stage: Stage, pause: float) -> None:
    """Kill -9, mend what only a person can, start again."""
    down = time.monotonic()
    stage.say("kill -9")
    await stage.daemon.kill()
    await asyncio.sleep(pause)
    stage.allow_again()
    await stage.daemon.start()
    await stage.daemon.until_ready()
    # A call that has just ended may not be stored yet, and a daemon's first look at the PBX takes a moment.
    stage.downs.append((down - UNSTORED_S, time.monotonic() + 0.5))
    stage.say("started")


async def traffic(stage: Stage, dice: Random, end: float) -> None:
    """Calls of everybody's own number, answered and missed, in and out."""
    async with asyncio.TaskGroup() as calls:
        for number in range(1_000_000, 1_000_000 + MOST_CALLS):
            if time.monotonic() > end:
                return
            calls.create_task(one_call(stage, f"37529{number}", dice), name="a call")
            await asyncio.sleep(dice.uniform(0.1, 0.9))


async def one_call(stage: Stage, phone: str, dice: Random) -> None:
    began = time.monotonic()
    if dice.random() < 0.3:
        for account in stage.accounts:
            # Whom one calls one knows; ids that fall stay apart from those that the stand-ins count up.
            account.person(str(2_000_000_000 - int(phone[-6:])), "Знакомый", "", [f"+{phone}"])
        await stage.pbx.outbound(extension="102", number=phone, trunk="PJSIP/sip2", after_s=2, talk_s=3)
    else:
        answer = dice.choice(("101", "102", ""))
        await stage.pbx.inbound(
            trunk="PJSIP/gsm1", did="0001701", caller=phone, ring=["101", "102"], answer=answer, after_s=2, timeout_s=8
        )
    stage.placed.append((f"+{phone}", began, time.monotonic()))


# ---------------------------------------------------------------- what has to be true


async def test_each_call_is_in_each_crm_once_whatever_broke(stage: Stage, tmp_path: Path) -> None:
    seed = os.getenv("VOCHI_SEED") or str(random.randrange(1 << 32))
    print(f"VOCHI_SEED={seed} VOCHI_CHAOS_S={TRAFFIC_S:g}, evidence: {tmp_path}")  # noqa: T201 - a failure shows it
    end = time.monotonic() + TRAFFIC_S
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(traffic(stage, Random(f"{seed} traffic"), end), name="traffic")
        tasks.create_task(kills(stage, Random(f"{seed} kills"), end), name="kills")
        for account in stage.accounts:
            dice = Random(f"{seed} {account.name}")
            tasks.create_task(illnesses(stage, account, dice, end), name=f"illnesses of {account.name}")
    await asyncio.sleep(SILENCE_S)  # until the last silent stand-in has done what it was asked
    if any(map(stage.lost_pair, stage.applications)):
        await kill(stage, 0.0)

    async def settled() -> bool:
        return stage.seen() <= (await stage.stored()).keys() and not any(
            state.waiting for state in await stage.store.outbox.states()
        )

    try:
        await until(settled, within=SETTLE_S)
    finally:
        await keep_evidence(stage, tmp_path)
    await assert_lists_are_right(stage)
    assert "Traceback" not in stage.daemon.log.read_text()


async def keep_evidence(stage: Stage, folder: Path) -> None:
    """For whoever reads a failure."""
    stage.happened += [f"not stored: {stage.seen() - (await stage.stored()).keys()}"]
    states = [str(state) for state in await stage.store.outbox.states()]
    print(*states, sep="\n")  # noqa: T201 - a failure shows it
    stage.happened += states
    (folder / "happened.txt").write_text("\n".join(stage.happened))


async def assert_lists_are_right(stage: Stage) -> None:
    stored, parked = await stage.stored(), Counter(each.crm for each in await stage.store.outbox.list_parked())
    listed = {account.name: Counter(account.listed()) for account in stage.accounts}
    figures = ", ".join(f"{name} {of.total()} listed, {parked[name]} parked" for name, of in listed.items())
    sold = sum(account.sandbox.pairs for account in stage.applications)
    what = f"{len(stored)} calls, {len(stage.downs)} kills, {sold} pairs of tokens, {stage.allowed} lost"
    print(f"{what}: {figures}")  # noqa: T201 - the figures
    assert len(stored) > TRAFFIC_S / 4, "too little happened"
    for name, of in listed.items():
        assert not {phone: times for phone, times in of.items() if times > 1}, f"written twice in {name}"
        missing = stored.keys() - of.keys()
        assert len(missing) <= (parked[name] if name in MAY_PARK else 0), f"missing in {name}: {sorted(missing)}"
    assert parked.keys() <= MAY_PARK
    strangers = [phone for phone, direction in stored.items() if direction is Direction.IN]
    for account in stage.accounts:
        if isinstance(account, MAKE_CONTACTS):
            made = {phone: account.sandbox.holders(phone) for phone in strangers}
            assert set(made.values()) <= {1}, f"{account.name}: {made}"
