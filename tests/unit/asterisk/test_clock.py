"""Clocks of boxes: zones that nobody told, and 1970."""

from datetime import UTC, datetime, timedelta, timezone

from vochi_agent.asterisk.clock import ClockMender, PrintedTimes


def mended(*times: float) -> list[float]:
    mender: ClockMender[float] = ClockMender(lambda at: at, lambda _, at: at)
    given = [at for time in times for at in mender.receive(time)]
    return given + list(mender.flush())


def test_a_clock_that_was_right_stays():
    assert mended(1.7e9, 1.7e9 + 5, 1.7e9 + 4) == [1.7e9, 1.7e9 + 5, 1.7e9 + 4]


def test_what_was_written_in_1970_happened_just_before_the_clock_was_set():
    """The distances stay: the call that lasted 20 s still does."""
    assert mended(1.7e9, 5, 25, 1.7e9 + 100) == [1.7e9, 1.7e9 + 80, 1.7e9 + 100, 1.7e9 + 100]


def test_mended_times_never_fall_before_what_was_written_earlier():
    assert mended(1.7e9, 5, 500, 1.7e9 + 100) == [1.7e9, 1.7e9, 1.7e9 + 100, 1.7e9 + 100]


def test_a_box_that_never_had_another_clock_keeps_its_times():
    assert mended(5, 25, 7) == [5, 25, 7]


def test_a_channels_uniqueid_shows_in_which_zone_times_are_printed():
    times = PrintedTimes(UTC)
    made = datetime(2026, 11, 20, 12, 0, 3, tzinfo=UTC)
    times.learn("2026-11-20 15:00:03.6", f"{int(made.timestamp())}.17")

    assert times.epoch("2026-11-20 15:01:03") == made.timestamp() + 60
    assert times.epoch("2026-11-20T15:01:03+00:00") == made.timestamp() + 60 + 3 * 3600


def test_a_record_in_the_middle_of_a_channels_life_teaches_nothing():
    minsk = timezone(timedelta(hours=3))
    times = PrintedTimes(minsk)
    times.learn("2026-11-20 15:07:10", "1795176000.17")
    times.learn("yesterday", "1795176000.17")
    times.learn("2026-11-20 15:07:10", "17.3")

    assert times.zone == minsk
    assert times.epoch("nonsense") is None
