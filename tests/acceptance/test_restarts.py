"""Asterisk dies with calls going on, and the daemon is away while others are made; each is in the books once.

VOCHI_AWAY_S: seconds for which the daemon is away, with traffic. VOCHI_SEED: the seed of an earlier run, which every
run prints.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tests.support.asterisk import Asterisk
from tests.support.books import SETTLE_S, assert_books_are_right, keep_evidence, settled
from tests.support.postgres import PostgresServer
from tests.support.sipp import Sipp
from tests.support.traffic import CALLERS, Traffic
from tests.support.world import World, world_around

AWAY_S = float(os.getenv("VOCHI_AWAY_S", "10"))
ROUNDS = 2
WATCHED_S = 6.0
DEAD_S = (0.0, 4.0)
# Of the calls that a dying Asterisk cuts: when everything rings or talks that was placed together.
UNDER_WAY_S = 2.0
ENDLESS_S = 20.0
ANSWERED, RINGS = "0000101", "0000103"
CUT = (ANSWERED, ANSWERED, RINGS)

pytestmark = [pytest.mark.long(80), pytest.mark.asterisk, pytest.mark.timeout(ROUNDS * (AWAY_S + 120) + SETTLE_S)]


@pytest.fixture
async def world(asterisk: Asterisk, sipp: Sipp, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    async with world_around(asterisk, sipp, postgres, tmp_path) as world:
        yield world


class Story:
    """What is done to the company, with the time: epoch seconds as in a linkedid."""

    def __init__(self, world: World, traffic: Traffic, dice: Random) -> None:
        self.world, self.traffic, self.dice = world, traffic, dice
        self.happened: list[str] = []

    def say(self, what: str) -> None:
        """Note it."""
        self.happened.append(f"{time.time():.3f} {what}")

    async def asterisk_dies(self) -> None:
        """With two conversations and a ringing telephone; it is back a moment later.

        An orderly end hangs up every channel; after a kill nobody knows how the ringing would have ended.
        """
        asterisk, callers = self.world.asterisk, self.dice.sample(CALLERS, len(CUT))
        end, unanswered = self.dice.choice(((asterisk.kill, "unknown"), (asterisk.stop, "missed")))
        for caller, number in zip(callers, CUT, strict=True):
            self.traffic.expected["in", f"+{caller}", "answered" if number == ANSWERED else unanswered] += 1
        calls = [
            asyncio.create_task(self.world.sipp.call(number, caller, ENDLESS_S, ENDLESS_S), name="a call that is cut")
            for caller, number in zip(callers, CUT, strict=True)
        ]
        await asyncio.sleep(UNDER_WAY_S)
        self.say(f"asterisk: {end.__name__}")
        await end()
        await asyncio.sleep(self.dice.uniform(*DEAD_S))
        await asterisk.start()
        self.say("asterisk: started")
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def daemon_is_away(self) -> None:
        """Killed; calls are made, Asterisk dies in their midst, more calls are made; it comes back."""
        await self.world.daemon.kill()
        self.say("daemon: killed")
        await self.traffic.run(AWAY_S / 2)
        await self.asterisk_dies()
        await self.traffic.run(AWAY_S / 2)
        await self.world.daemon.start()
        self.say("daemon: started")


async def test_restarts_of_asterisk_and_a_long_absence_lose_nothing(world: World, tmp_path: Path) -> None:
    seed = os.getenv("VOCHI_SEED") or str(random.randrange(1 << 32))
    print(f"VOCHI_SEED={seed} VOCHI_AWAY_S={AWAY_S:g}, evidence: {tmp_path}")  # noqa: T201 - a failure shows it
    traffic = Traffic(world.sipp, Random(f"{seed} traffic"))
    story = Story(world, traffic, Random(f"{seed} story"))
    for _ in range(ROUNDS):
        await traffic.run(WATCHED_S)
        await story.asterisk_dies()
        await world.until_alive()
        await traffic.run(WATCHED_S)
        await story.daemon_is_away()
        await world.until_alive()
    await world.asterisk.until_idle()
    stored = await settled(world, traffic)
    keep_evidence(world, stored, story.happened, tmp_path)

    assert not traffic.broken
    await assert_books_are_right(world, traffic, stored)
