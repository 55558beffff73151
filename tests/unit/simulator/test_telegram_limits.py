"""The sandbox counts as Telegram does."""

from vochi_agent.simulator.telegram_limits import Limits


def accepted(limits: Limits, chats: list[int], *, every_s: float) -> list[int]:
    """The positions of the messages that were taken."""
    return [index for index, chat in enumerate(chats) if not limits.wait(chat, index * every_s)]


def test_a_group_takes_twenty_messages_a_minute() -> None:
    assert accepted(Limits(), [-1] * 60, every_s=1.0) == list(range(20))


def test_a_private_chat_takes_one_a_second_with_short_bursts() -> None:
    assert accepted(Limits(), [1] * 60, every_s=1.0) == list(range(60))
    assert accepted(Limits(), [1] * 10, every_s=0.1) == list(range(5))


def test_a_bot_sends_thirty_a_second_to_all_chats_together() -> None:
    assert accepted(Limits(), list(range(1, 61)), every_s=0.01) == list(range(30))


def test_the_wait_it_names_is_long_enough() -> None:
    limits = Limits()
    for second in range(20):
        assert limits.wait(-1, float(second)) == 0
    wait = limits.wait(-1, 20.5)

    assert wait == 40
    assert limits.wait(-1, 20.5 + wait) == 0


def test_a_refused_message_is_not_counted() -> None:
    limits = Limits()
    for _ in range(5):
        limits.wait(1, 0.0)
    for _ in range(50):
        assert limits.wait(1, 1.0) > 0

    assert limits.wait(1, 5.0) == 0
