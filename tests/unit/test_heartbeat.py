"""The door behind the heartbeats of many PBXs: knocked at seldom, and never believed for long."""

import asyncio

from vochi_agent.heartbeat import FRESH_S, Door


class Knocked:
    """A door that counts; `open` is what it answers, `now` what time it is."""

    def __init__(self):
        self.times = 0
        self.open = True
        self.now = 1000.0

    async def knock(self):
        """One look."""
        self.times += 1
        await asyncio.sleep(0)
        return self.open


async def test_a_hundred_who_ask_at_once_knock_once():
    knocked = Knocked()
    door = Door(knocked.knock, lambda: knocked.now)

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(door.answers()) for _ in range(100)]

    assert all(each.result() for each in asked)
    assert knocked.times == 1


async def test_a_door_that_has_fallen_mute_is_noticed_half_a_second_later():
    knocked = Knocked()
    door = Door(knocked.knock, lambda: knocked.now)
    assert await door.answers()

    knocked.open = False
    knocked.now += FRESH_S

    assert not await door.answers()
    knocked.open = True
    knocked.now += FRESH_S
    assert await door.answers()
