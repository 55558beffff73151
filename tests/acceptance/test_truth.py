"""Hundreds of mixed calls on a real Asterisk, many at once; each record is compared with what sipp was told to do.

The second witness is Asterisk's own CEL, read by the recovery path. VOCHI_TRUTH_CALLS: how many calls at least.
VOCHI_SEED: the seed of an earlier run, which every run prints.
"""

import asyncio
import csv
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random

import pytest

from tests.support.ari_app import BridgingApp
from tests.support.asterisk import Asterisk
from tests.support.daemon import configuration
from tests.support.polling import until
from tests.support.sip_phone import SecretaryPhone
from tests.support.sipp import Sipp
from tests.support.truth import KINDS, SECRETARY, Expected, Stage
from vochi_agent.asterisk.replay import replay_cel
from vochi_agent.asterisk.watch import PbxWatch
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call, CallFinished, CallMerged, CallUpdate
from vochi_agent.config import load
from vochi_agent.metrics import Metrics

CALLS = int(os.getenv("VOCHI_TRUTH_CALLS", "220"))
AT_ONCE = 20
PAUSE_S = 0.25
TOLERANCE_S = 0.5
SETTLE_S = 30.0

pytestmark = [pytest.mark.long(90), pytest.mark.asterisk, pytest.mark.timeout(180 + CALLS)]

# CEL columns of the shipped file.
EVENT, EXTEN, UNIQUEID, LINKEDID = 0, 7, 14, 15

MOBILES = """
  [[enterprises.agents]]
  extension = "105"
  name = "Дарья"
  mobile = "+375290000098"
"""


@pytest.fixture
def company(pbx: Asterisk, tmp_path: Path) -> Path:
    """The configuration: the company of the other acceptance tests, with one more mobile."""
    text = configuration(state_dir=tmp_path, ami_port=pbx.ports.ami, secret=pbx.secret, agi_port=1, http_port=2)
    path = tmp_path / "config.toml"
    path.write_text(text + MOBILES)
    return path


async def play(stage: Stage, calls: int) -> list[Expected]:
    """At least so many calls, every kind equally often, in random order and many at once."""
    kinds = [kind for _ in range(calls // len(KINDS) + 1) for kind in KINDS]
    stage.dice.shuffle(kinds)
    room, expected = asyncio.Semaphore(AT_ONCE), list[Expected]()

    async def one(kind) -> None:
        try:
            expected.extend(await kind(stage))
        finally:
            room.release()

    async with asyncio.TaskGroup() as tasks:
        for kind in kinds:
            await room.acquire()
            tasks.create_task(one(kind), name=kind.__name__)
            await asyncio.sleep(stage.dice.uniform(0.0, 2 * PAUSE_S))
    return expected


# ---------------------------------------------------------------- the judge


def linkedids(cel: Path, dialled: Iterable[str]) -> dict[str, str]:
    """Which call of the PBX each dialled number was, by Asterisk's own records."""
    with cel.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row[EVENT] == "CHAN_START"]
    found = {row[EXTEN]: row[UNIQUEID] for row in rows if row[UNIQUEID] == row[LINKEDID]}
    return {number: found.get(number, number) for number in dialled}


def records(updates: Iterable[CallUpdate]) -> dict[str, Call]:
    """The records as they stand in the end."""
    calls: dict[str, Call] = {}
    for update in updates:
        if isinstance(update, CallFinished):
            calls[update.call.linkedid] = update.call
        elif isinstance(update, CallMerged):
            calls.pop(update.linkedid, None)
    return calls


def differences(wanted: Mapping[str, Expected], found: Mapping[str, Call], *, cel: bool) -> list[str]:
    """Every difference, in words."""
    lines = [f"missing: {wanted[key]}" for key in wanted.keys() - found.keys()]
    lines += [f"too much: {found[key].as_json()}" for key in found.keys() - wanted.keys()]
    for key in sorted(wanted.keys() & found.keys()):
        call, plan = found[key], wanted[key]
        facts = {
            name: getattr(plan, name)
            for name in ("direction", "status", "reason", "phone", "line", "path", "rung", "first_agent")
        }
        facts["last_agent"] = plan.path[-1] if plan.path else None
        facts |= plan.cel if cel else {}
        for name, value in facts.items():
            told = getattr(call, name)
            if (frozenset(told) if isinstance(value, frozenset) else told) != value:
                lines.append(f"{key} {plan.dialled}: {name} is {told!r}, not {value!r}")
        if abs(call.talk_seconds - plan.talk_s) > TOLERANCE_S:
            lines.append(f"{key} {plan.dialled}: {call.talk_seconds} s of talk, not {plan.talk_s:.1f}")
        if call.partial:
            lines.append(f"{key} {plan.dialled}: partial")
    return lines


async def test_every_call_is_recorded_as_it_was(pbx: Asterisk, lines: Sipp, company: Path) -> None:
    """0 differences, 0 duplicates, 0 missing: what was seen live, and what is read from CEL afterwards."""
    seed = os.getenv("VOCHI_SEED") or str(random.randrange(1 << 32))
    print(f"VOCHI_SEED={seed} VOCHI_TRUTH_CALLS={CALLS}")  # noqa: T201 - a failure shows it
    enterprise = load(company).enterprises[0]
    layout, updates, watching = Layout(enterprise), list[CallUpdate](), asyncio.Event()
    watch = PbxWatch(
        layout,
        enterprise.asterisk,
        tell=updates.append,
        connected=lambda _: watching.set(),
        interrupted=watching.clear,
        metrics=Metrics(),
        clock=time.time,
    )
    async with (
        SecretaryPhone(SECRETARY, pbx.ports.secretary, pbx.ports.sip) as secretary,
        BridgingApp(pbx.ports.http, "lab", pbx.secret) as ari,
        pbx.manager(events="off") as manager,
        asyncio.TaskGroup() as tasks,
    ):
        watcher = tasks.create_task(watch.run(), name="watch")
        await watching.wait()
        stage = Stage(pbx, lines, secretary, ari, manager, Random(seed))
        expected = await play(stage, CALLS)
        await pbx.until_idle(within=SETTLE_S)

        async def all_ended() -> bool:
            return watch.tracker.open_channels == 0

        await until(all_ended, within=SETTLE_S)
        interrupted = not watching.is_set()
        watcher.cancel()

    shutil.copy(pbx.cel, company.with_name("cel.csv"))  # for whoever reads a failure
    assert not interrupted
    assert not stage.broken
    assert not secretary.problems
    assert not ari.problems
    keys = linkedids(pbx.cel, [plan.dialled for plan in expected])
    wanted = {keys[plan.dialled]: plan for plan in expected}
    assert len(wanted) == len(expected) >= CALLS
    assert "LOCAL_OPTIMIZE" in pbx.cel.read_text(), "no Local pair was optimised away"
    told = Counter(update.call.linkedid for update in updates if isinstance(update, CallFinished))
    live, recovered = records(updates), records(replay_cel(pbx.cel, layout))
    wrong = differences(wanted, live, cel=False)
    wrong += [f"CEL: {line}" for line in differences(wanted, recovered, cel=True)]
    wrong += [f"told {count} times: {key}" for key, count in told.items() if count > 1]
    assert not wrong, "\n".join(wrong)
    assert not watch.tracker.anomalies
