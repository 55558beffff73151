from tests.support.crm import HandClock
from vochi_agent.expiring import Expiring


def test_a_value_is_known_until_its_time_is_over() -> None:
    clock = HandClock()
    memory = Expiring[str, str](ttl_s=5.0, size=10, clock=clock)
    memory.put("a", "1")

    clock.now += 4.9
    assert memory.get("a") == "1"
    clock.now += 0.1
    assert memory.get("a") is None
    assert len(memory) == 0


def test_a_new_value_lives_its_own_time() -> None:
    clock = HandClock()
    memory = Expiring[str, str](ttl_s=5.0, size=10, clock=clock)
    memory.put("a", "1")
    clock.now += 4.0

    memory.put("a", "2")
    clock.now += 4.0

    assert memory.get("a") == "2"


def test_the_oldest_makes_room() -> None:
    memory = Expiring[int, int](ttl_s=5.0, size=2, clock=HandClock())
    for number in (1, 2, 1, 3):
        memory.put(number, number)

    assert [memory.get(1), memory.get(2), memory.get(3)] == [1, None, 3]
    assert len(memory) == 2


def test_what_is_dropped_is_forgotten_known_or_not() -> None:
    memory = Expiring[str, str](ttl_s=5.0, size=2, clock=HandClock())
    memory.put("a", "1")

    memory.drop("a")
    memory.drop("b")

    assert memory.get("a") is None
