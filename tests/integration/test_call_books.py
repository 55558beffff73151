"""Finished calls on their way into a CRM's own list: once each, in order, whatever fails on the way."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.calls import answered, internal, missed
from tests.support.polling import until
from tests.support.renderers import no_cards
from vochi_agent.call_books import STUBBORN, CallBooks, Pace
from vochi_agent.calls.model import Call, Source
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable, CrmUncertain
from vochi_agent.metrics import Metrics
from vochi_agent.ports import Post
from vochi_agent.store.outbox import Outbox
from vochi_agent.store.postgres import PostgresStore

QUICK = Pace(
    look_again=0.05, first_wait=0.001, longest_wait=0.002, refused_key=0.001, let_pass=0.2, first_aside=3600.0,
    step_aside=3600.0,
)  # fmt: skip
NOW = datetime.now(UTC).replace(microsecond=0)


class Book:
    """A CRM that knows its calls by our id; `failures` come first, one a request, None lets one through.

    Attributes:
        stumbles_at: A call that it always fails with.
    """

    name = "retailcrm"

    def __init__(self, *failures: Exception | None) -> None:
        self.failures = list(failures)
        self.stumbles_at = ""
        self.asked: list[Post] = []
        self.listed: dict[str, Call] = {}

    async def log_call(self, post: Post, *, recording_url: str) -> str:
        """Take the call or fail as told."""
        self.asked.append(post)
        failure = self.failures.pop(0) if self.failures else None
        if post.call.linkedid == self.stumbles_at:
            raise CrmUnavailable("500")
        if isinstance(failure, CrmUncertain):
            self.listed[post.call.linkedid] = post.call  # it arrived; the answer did not
        if failure:
            raise failure
        self.listed[post.call.linkedid] = post.call
        return f"crm-{post.call.linkedid}"


@pytest.fixture
async def books_store(store: PostgresStore) -> PostgresStore:
    store.calls.crms = {"0901": ["retailcrm"]}
    return store


@asynccontextmanager
async def working(
    store: PostgresStore, *books: Book, ours: bool = True, metrics: Metrics | None = None, pace: Pace = QUICK
):
    """The workers of these CRMs of one enterprise."""
    call_books = CallBooks(
        [("0901", book) for book in books],
        store.outbox,
        ours=lambda _: ours,
        recording_url=lambda _: "",
        metrics=metrics or Metrics(),
        pace=pace,
    )
    task = asyncio.create_task(call_books.run())
    try:
        yield call_books
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def nothing_waits(store: PostgresStore) -> bool:
    return not any(state.waiting for state in await store.outbox.states())


def call(number: int, **facts: object) -> Call:
    return answered(linkedid=f"1.{number}", started_at=NOW + timedelta(seconds=number - 1000), **facts)


async def test_calls_reach_the_list_in_the_order_of_their_end_with_the_customer(books_store: PostgresStore) -> None:
    store, book = books_store, Book()
    for number in range(5):
        await store.calls.record(call(number), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)

    assert [post.call.linkedid for post in book.asked] == [f"1.{number}" for number in range(5)]
    assert book.asked[0].customer is not None
    assert book.asked[0].customer.history.calls_total_in == 5


async def test_a_crm_that_is_away_gets_everything_in_order_when_it_is_back(books_store: PostgresStore) -> None:
    store, book = books_store, Book(*[CrmUnavailable("away")] * 4)
    for number in range(3):
        await store.calls.record(call(number), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)

    assert [post.call.linkedid for post in book.asked] == ["1.0"] * 5 + ["1.1", "1.2"]


async def test_a_lost_answer_is_told_to_the_next_attempt(books_store: PostgresStore) -> None:
    store, book = books_store, Book(CrmUncertain("no answer"), CrmUnavailable("away"))
    await store.calls.record(call(0), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)

    assert [post.uncertain for post in book.asked] == [False, True, True]


async def test_a_doubt_that_only_time_settles_steps_aside_and_even_a_correction_waits_for_it(
    books_store: PostgresStore,
) -> None:
    store, book = books_store, Book(CrmUncertain("no answer", settles_s=3600))
    for number in range(2):
        await store.calls.record(call(number, partial=True), no_cards)
    async with working(store, book):

        async def passed() -> bool:
            return "1.1" in [post.call.linkedid for post in book.asked]

        await until(passed, within=5)
        await store.calls.record(call(0), no_cards)
        await asyncio.sleep(0.2)

    assert [post.call.linkedid for post in book.asked] == ["1.0", "1.1"]
    assert not await nothing_waits(store)


@pytest.mark.parametrize(("absent", "doubt"), [(False, True), (True, False)])
async def test_who_has_looked_into_the_crm_takes_the_doubt_from_parked_calls(
    books_store: PostgresStore, absent: bool, doubt: bool
) -> None:
    store, book = books_store, Book(CrmUncertain("no answer"), CrmRejected("look there"))
    await store.calls.record(call(0), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)
        await store.outbox.retry("0901", "retailcrm", absent=absent)
        await until(lambda: nothing_waits(store), within=5)

    assert [post.uncertain for post in book.asked] == [False, True, doubt]


async def test_parked_calls_that_the_crm_lists_all_the_same_are_settled(books_store: PostgresStore) -> None:
    store, book = books_store, Book(CrmRejected("look there"))
    await store.calls.record(call(0), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)
        assert await store.outbox.settle("0901") == 1
        await asyncio.sleep(0.2)

    assert len(book.asked) == 1
    assert await store.outbox.states() == []


async def test_a_daemon_killed_in_the_midst_of_a_request_leaves_a_doubt(books_store: PostgresStore) -> None:
    store = books_store
    await store.calls.record(call(0), no_cards)
    hasty = Outbox(store.database, lease=timedelta(0))
    first, second = await hasty.claim("0901", "retailcrm"), await hasty.claim("0901", "retailcrm")

    assert first is not None
    assert second is not None
    assert (first.uncertain, second.uncertain) == (False, True)
    assert await store.outbox.claim("0901", "retailcrm") is None


async def test_a_refused_call_is_parked_and_the_next_one_goes_on(books_store: PostgresStore) -> None:
    store, book = books_store, Book(CrmRejected("no such manager"))
    for number in range(2):
        await store.calls.record(call(number), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)
        parked = await store.outbox.list_parked()
        retried = await store.outbox.retry("0901", "retailcrm")
        await until(lambda: nothing_waits(store), within=5)

    assert [(each.linkedid, each.parked) for each in parked] == [("1.0", "no such manager")]
    assert retried == 1
    assert sorted(book.listed) == ["1.0", "1.1"]
    assert await store.outbox.list_parked() == []


async def test_a_bug_met_by_one_call_costs_that_call(books_store: PostgresStore) -> None:
    store, book = books_store, Book(KeyError("hostile"))
    for number in range(2):
        await store.calls.record(call(number), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)

    assert [each.parked for each in await store.outbox.list_parked()] == ["a bug of ours, see the log"]
    assert list(book.listed) == ["1.1"]


async def test_a_call_that_alone_fails_again_and_again_lets_the_others_pass(books_store: PostgresStore) -> None:
    store, book = books_store, Book()
    book.stumbles_at = "1.0"
    for number in range(3):
        await store.calls.record(call(number), no_cards)
    async with working(store, book):

        async def aside() -> bool:
            return len(book.listed) == 2 and len(book.asked) == STUBBORN + 3

        await until(aside, within=5)
        await asyncio.sleep(0.2)

    assert list(book.listed) == ["1.1", "1.2"]
    assert [post.call.linkedid for post in book.asked].count("1.0") == STUBBORN + 1, "others passed, then it failed"
    assert not await nothing_waits(store)


async def test_a_call_that_a_fickle_crm_makes_look_guilty_is_soon_tried_again(books_store: PostgresStore) -> None:
    store, book = books_store, Book()
    book.stumbles_at = "1.0"
    for number in range(3):
        await store.calls.record(call(number), no_cards)
    async with working(store, book, pace=replace(QUICK, first_aside=0.01)):

        async def passed() -> bool:
            return len(book.listed) == 2 and len(book.asked) >= STUBBORN + 4

        await until(passed, within=5)
        book.stumbles_at = ""
        await until(lambda: nothing_waits(store), within=5)

    assert list(book.listed) == ["1.1", "1.2", "1.0"]


@pytest.mark.parametrize("failure", [CrmUnavailable("away"), CrmUncertain("no answer")])
async def test_a_crm_that_was_away_for_long_gets_everything_soon_whoever_failed_how_often(
    books_store: PostgresStore, failure: CrmUnavailable
) -> None:
    store, book = books_store, Book(*[failure] * 5 * STUBBORN)
    for number in range(4):
        await store.calls.record(call(number), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)

    assert sorted(book.listed) == [f"1.{number}" for number in range(4)]


async def test_a_refused_key_is_waited_for_like_an_absence(books_store: PostgresStore) -> None:
    store, book = books_store, Book(CrmAuthFailed("key"))
    await store.calls.record(call(0), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)

    assert list(book.listed) == ["1.0"]


async def test_one_dead_crm_does_not_hold_up_the_other(books_store: PostgresStore) -> None:
    store, dead, living = books_store, Book(*[CrmUnavailable("away")] * 1000), Book()
    living.name = "uon"
    store.calls.crms = {"0901": ["retailcrm", "uon"]}
    for number in range(3):
        await store.calls.record(call(number), no_cards)
    async with working(store, dead, living):

        async def all_listed() -> bool:
            return len(living.listed) == 3

        await until(all_listed, within=5)

    assert not dead.listed


async def test_a_correction_is_sent_after_the_fact_under_the_crms_own_id(books_store: PostgresStore) -> None:
    store, book = books_store, Book()
    begun = NOW - timedelta(seconds=90)
    await store.calls.record(missed(linkedid="1.1", started_at=begun, partial=True), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)
        await store.calls.record(answered(linkedid="1.1", started_at=begun, source=Source.RECOVERY), no_cards)
        await until(lambda: nothing_waits(store), within=5)

    assert [(post.corrects, post.remote_id, post.call.status.value) for post in book.asked] == [
        (False, "", "missed"),
        (True, "crm-1.1", "answered"),
    ]


async def test_a_repetition_a_hidden_caller_colleagues_and_old_times_are_not_sent(books_store: PostgresStore) -> None:
    store, book = books_store, Book()
    for each in (
        call(0),
        call(0),
        call(1, phone=None),
        internal(linkedid="1.2", started_at=NOW),
        answered(linkedid="1.3", started_at=NOW - timedelta(days=30)),
    ):
        await store.calls.record(each, no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)

    assert [post.call.linkedid for post in book.asked] == ["1.0"]


async def test_a_conversation_waits_for_its_recording_and_a_missed_call_for_nothing(books_store: PostgresStore) -> None:
    store, book = books_store, Book()
    store.calls.recording_waits = {"0901": timedelta(hours=1)}
    await store.calls.record(call(0), no_cards)
    await store.calls.record(missed(linkedid="1.1", started_at=NOW - timedelta(seconds=90)), no_cards)
    async with working(store, book) as call_books:

        async def passed() -> bool:
            return [post.call.linkedid for post in book.asked] == ["1.1"]

        await until(passed, within=5)
        await store.calls.recorded("0901", "1.0", "2026/11/20/1.0.wav", no_cards)
        call_books.wake("0901")
        await until(lambda: nothing_waits(store), within=5)

    assert [(post.call.linkedid, post.call.recording) for post in book.asked] == [
        ("1.1", None),
        ("1.0", "2026/11/20/1.0.wav"),
    ]


async def test_a_stored_call_costs_the_crms_of_other_enterprises_nothing(books_store: PostgresStore) -> None:
    asked: list[str] = []

    class Counted(Outbox):
        async def claim(self, enterprise_number: str, crm: str) -> Post | None:
            asked.append(enterprise_number)
            return await super().claim(enterprise_number, crm)

    books = [(number, Book()) for number in ("0901", "0902", "0903")]
    call_books = CallBooks(
        books,
        Counted(books_store.database),
        ours=lambda _: True,
        recording_url=lambda _: "",
        metrics=Metrics(),
        pace=replace(QUICK, look_again=3600.0),
    )
    task = asyncio.create_task(call_books.run())

    async def looked(times: int) -> bool:
        return len(asked) >= times

    await until(lambda: looked(3), within=5)
    await books_store.calls.record(call(0), no_cards)
    call_books.wake("0901")
    await until(lambda: nothing_waits(books_store), within=5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert asked.count("0902") == asked.count("0903") == 1


async def test_a_recording_that_never_comes_is_not_waited_for_for_ever(books_store: PostgresStore) -> None:
    store, book = books_store, Book()
    store.calls.recording_waits = {"0901": timedelta(seconds=0.3)}
    await store.calls.record(call(0), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)

    assert [post.call.recording for post in book.asked] == [None]


async def test_a_call_that_is_part_of_another_one_is_not_sent(books_store: PostgresStore) -> None:
    store, book = books_store, Book()
    for number in range(2):
        await store.calls.record(call(number), no_cards)
    await store.calls.merge("0901", "1.0", "1.1")
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)

    assert list(book.listed) == ["1.1"]


async def test_an_id_noted_while_the_call_lived_is_there_at_its_end(books_store: PostgresStore) -> None:
    store, book = books_store, Book()
    await store.outbox.note_remote_id("0901", "retailcrm", "1.0", "live-7")
    assert await store.outbox.claim("0901", "retailcrm") is None
    await store.calls.record(call(0), no_cards)
    async with working(store, book):
        await until(lambda: nothing_waits(store), within=5)

    assert [(post.remote_id, post.corrects) for post in book.asked] == [("live-7", False)]


async def test_a_standby_daemon_sends_nothing(books_store: PostgresStore) -> None:
    store, book = books_store, Book()
    await store.calls.record(call(0), no_cards)
    async with working(store, book, ours=False):
        await asyncio.sleep(0.2)

    assert not book.asked


async def test_what_waits_and_what_is_parked_is_counted(books_store: PostgresStore) -> None:
    store, book, metrics = books_store, Book(CrmRejected("no"), *[CrmUnavailable("away")] * 1000), Metrics()
    for number in range(3):
        await store.calls.record(call(number), no_cards)
    labels = {"enterprise": "0901", "source": "retailcrm"}

    async def shown() -> bool:
        gauges = [metrics.registry.get_sample_value(f"vochi_crm_{name}", labels) for name in ("waiting", "parked")]
        return gauges == [2, 1]

    async with working(store, book, metrics=metrics):
        await until(shown, within=5)


async def test_the_age_of_what_waits_does_not_begin_anew_with_every_attempt(books_store: PostgresStore) -> None:
    store, book, metrics = books_store, Book(*[CrmUnavailable("away")] * 1000), Metrics()
    await store.calls.record(call(0), no_cards)
    labels = {"enterprise": "0901", "sink": "retailcrm"}
    ages: list[float] = []

    async def tried_three_times_and_grown() -> bool:
        ages.append(metrics.registry.get_sample_value("vochi_outbox_age_seconds", labels) or 0.0)
        return len(book.asked) >= 3 and ages[-1] > 0

    async with working(store, book, metrics=metrics):
        await until(tried_three_times_and_grown, within=5)
    (work,) = (await store.outbox.waiting()).values()

    assert work.waiting == 1
    assert ages == sorted(ages)
    assert work.age_s >= ages[-1]


async def test_two_workers_never_hold_the_same_call(books_store: PostgresStore) -> None:
    for number in range(20):
        await books_store.calls.record(call(number), no_cards)

    claimed = await asyncio.gather(*(books_store.outbox.claim("0901", "retailcrm") for _ in range(24)))
    ids = [post.id for post in claimed if post]
    assert len(ids) == len(set(ids)) == 20
