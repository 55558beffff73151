"""The call machine under streams that no PBX should send and all PBXs do: cut, repeated, reordered, interleaved."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vochi_agent.asterisk.replay import replay_cel
from vochi_agent.asterisk.translate_ami import ONLY, WANTED, translate
from vochi_agent.calls import events as ev
from vochi_agent.calls.events import Origin
from vochi_agent.calls.evidence import MAX_LEGS
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.ledger import corrected
from vochi_agent.calls.model import CallFinished, CallMerged, CallProgress, Direction, Phase, Reason, Source, Status
from vochi_agent.calls.tracker import SILENT_CALL_S, Tracker
from vochi_agent.config import load
from vochi_agent.protocols.ami import AmiReader

SCENARIOS = Path(__file__).parents[2] / "scenarios"
NAMES = sorted(path.parent.name for path in SCENARIOS.glob("*/ami.raw"))
LAYOUT = Layout(load(SCENARIOS / "lab.toml").enterprises[0])
# Asterisk itself shows the events of different channels in any order within a few milliseconds.
JITTER_S = 0.005

relaxed = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def read(name, chunks=(1 << 20,)):
    reader = AmiReader(WANTED, only=ONLY)
    data = (SCENARIOS / name / "ami.raw").read_bytes()
    events, at, turn = [], 0, 0
    while at < len(data):
        size = chunks[turn % len(chunks)]
        events += [event for message in reader.receive_data(data[at : at + size]) if (event := translate(message, 0.0))]
        at, turn = at + size, turn + 1
    return events


EVENTS = {name: read(name) for name in NAMES}


def records(events, *, close=True):
    tracker = Tracker(LAYOUT)
    updates = [update for event in events for update in tracker.receive(event)]
    if close:
        updates += tracker.close(max((event.at for event in events), default=0.0))
    calls = {}
    for update in updates:
        if isinstance(update, CallFinished):
            calls[update.call.linkedid] = update.call
        elif isinstance(update, CallMerged):
            calls.pop(update.linkedid, None)
    return calls


WHOLE = {name: records(EVENTS[name], close=False) for name in NAMES}


@relaxed
@given(name=st.sampled_from(NAMES), chunks=st.lists(st.integers(1, 3000), min_size=1, max_size=20))
def test_any_chunking_of_the_stream_gives_the_same_events(name, chunks):
    """TCP may cut the stream anywhere."""
    assert read(name, chunks) == EVENTS[name]


@relaxed
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_lost_and_repeated_events_never_give_two_records_of_one_customer(data, name):
    """Whatever is lost or repeated: no exception, at most one record a linkedid and a customer, no call left open."""
    events = EVENTS[name]
    times = data.draw(st.lists(st.sampled_from((0, 1, 1, 1, 2)), min_size=len(events), max_size=len(events)))
    damaged = [event for event, count in zip(events, times, strict=True) for _ in range(count)]
    tracker = Tracker(LAYOUT)
    told = [update for event in damaged for update in tracker.receive(event)]
    told += tracker.close(max((event.at for event in damaged), default=0.0))

    finished = {update.call.linkedid: update.call for update in told if isinstance(update, CallFinished)}
    merged = {update.linkedid for update in told if isinstance(update, CallMerged)}
    entered = [event.uniqueid for event in events if isinstance(event, ev.ChannelStarted) and "trunk" in event.channel]
    inbound = [call for call in finished.values() if call.direction is Direction.IN and call.linkedid not in merged]

    assert tracker.open_channels == 0
    assert not list(tracker.live())
    assert len(inbound) <= len(entered)
    assert max(Counter(call.linkedid for call in inbound).values(), default=1) == 1


def test_live_calls_have_the_names_they_were_told_under():
    """In every recording, after every event."""
    for name in NAMES:
        tracker, told = Tracker(LAYOUT), set()
        for event in EVENTS[name]:
            told |= {update.linkedid for update in tracker.receive(event) if isinstance(update, CallProgress)}
            assert tracker.live_linkedids == [call.linkedid for call in tracker.live()], (name, event)
            assert told.issuperset(tracker.live_linkedids)


@relaxed
@given(data=st.data())
def test_independent_calls_do_not_disturb_each_other(data):
    """Any interleaving of several calls' events gives the records that each gives alone."""
    names = data.draw(
        st.lists(st.sampled_from([n for n in NAMES if "-on-16" not in n]), min_size=2, max_size=4, unique=True)
    )
    order = data.draw(st.permutations([name for name in names for _ in EVENTS[name]]))
    queues = {name: iter(EVENTS[name]) for name in names}
    mixed = [next(queues[name]) for name in order]

    assert records(mixed, close=False) == {key: call for name in names for key, call in WHOLE[name].items()}


@relaxed
@given(data=st.data(), name=st.sampled_from([name for name in NAMES if name != "concurrent"]))
def test_the_order_across_channels_does_not_matter(data, name):
    """Events of one channel keep their order, those of different channels swap freely within milliseconds."""
    events = list(EVENTS[name])
    for index in range(len(events) - 1):
        one, two = events[index], events[index + 1]
        close = two.at - one.at < JITTER_S
        if close and not channels(one) & channels(two) and data.draw(st.booleans()):
            events[index], events[index + 1] = two, one

    assert records(events, close=False) == WHOLE[name]


def channels(event):
    """Channels an event speaks of; those whose order Asterisk keeps."""
    if isinstance(event, ev.Joined):
        return set(event.uniqueids)
    source = {event.source} if isinstance(event, ev.DialStarted) else set()
    return {event.uniqueid} | source


class Books:
    """What others make of updates: whom they were told of and not told the end, and the records as they stand."""

    def __init__(self):
        self.open, self.rows = set(), {}

    def take(self, updates):
        """Note them."""
        for update in updates:
            if isinstance(update, CallProgress):
                self.open.add(update.linkedid)
            elif isinstance(update, CallMerged):
                self.open.discard(update.linkedid)
                self.rows.pop(update.linkedid, None)
            else:
                new = update.call
                self.open.discard(new.linkedid)
                self.rows[new.linkedid] = corrected(self.rows.get(new.linkedid, new), new)

    def facts(self):
        """What AMI and CEL agree on of each record."""
        return {
            key: (call.direction, call.status, call.phone, call.line, call.path, call.first_agent, call.last_agent)
            for key, call in self.rows.items()
        }


def listed(tracker, at):
    """The PBX's answer to what lives, as this tracker knows it."""
    alive = [leg for _, leg in tracker._groups.legs() if leg.ended is None]
    rows = (
        row(
            leg.uniqueid, leg.channel, linkedid=leg.linkedid, up=leg.up is not None, ringing=leg.ringing,
            bridge=leg.bridge, age=float(int(at - leg.started)), number=leg.number,
        )
        for leg in alive
    )  # fmt: skip
    return ev.Snapshot(at, tuple(rows))


@relaxed
@given(data=st.data(), name=st.sampled_from(NAMES), restarted=st.booleans())
def test_a_silence_anywhere_in_a_call_leaves_nobody_told_and_is_made_good_by_cel(data, name, restarted):
    """A reconnect keeps what was believed, a restart of the daemon does not; in the end the books are the same."""
    events = EVENTS[name]
    since, until = sorted(data.draw(st.tuples(*[st.integers(0, len(events) - 1)] * 2)))
    tracker, true, books = Tracker(LAYOUT), Tracker(LAYOUT), Books()
    books.take(feed(tracker, events[:since]))
    feed(true, events[:until])

    if restarted:
        tracker = Tracker(LAYOUT)
    tracker.interrupted(events[since].at)
    books.take(tracker.receive(listed(true, events[until].at - 0.001)))
    books.take(feed(tracker, events[until:]))
    books.take(tracker.expire(events[-1].at + 60.0))
    assert restarted or not books.open

    books.take(replay_cel(SCENARIOS / name / "cel.csv", LAYOUT))
    assert not books.open
    whole = Books()
    whole.take(CallFinished(call) for call in WHOLE[name].values())
    assert books.facts() == whole.facts()


# ---------------------------------------------------------------- single facts


def start(uniqueid, channel, *, at=0.0, linkedid=None, origin=Origin.ENTERED, exten="375172000001", number=""):
    return ev.ChannelStarted(at, uniqueid, linkedid or uniqueid, channel, origin, exten, number)


def end(uniqueid, channel, at, cause=16, linkedid="1.0"):
    return ev.ChannelEnded(at, uniqueid, linkedid, channel, cause)


CUSTOMER = ("1.0", "PJSIP/trunk-0001")
PHONE = ("1.1", "PJSIP/101-0002")


def answered_call():
    """A customer talks with 101 from 2 to 12, seconds; nothing has ended yet."""
    return [
        start(*CUSTOMER, number="375290000001"),
        start(*PHONE, at=0.1, linkedid="1.0", origin=Origin.CREATED, exten="s", number="101"),
        ev.DialStarted(0.1, "1.1", "1.0", PHONE[1], "1.0", "101"),
        ev.ChannelRinging(0.2, "1.1", "1.0", PHONE[1]),
        ev.ChannelUp(2.0, "1.1", "1.0", PHONE[1]),
        ev.BridgeEntered(2.0, "1.1", "1.0", PHONE[1], "b", holding=False),
        ev.BridgeEntered(2.0, "1.0", "1.0", CUSTOMER[1], "b", holding=False),
    ]


def row(uniqueid, channel, *, linkedid="1.0", up=True, ringing=False, bridge="b", age=30.0, number="", made=None):
    return ev.SnapshotChannel(
        uniqueid, linkedid, channel, "375172000001", number, up, ringing, age, bridge, holding=False, bridge_made=made
    )


def feed(tracker, events):
    return [update for event in events for update in tracker.receive(event)]


def test_phases_are_told_once_and_in_order():
    """start, dial, bridge, hangup, whatever is repeated."""
    tracker = Tracker(LAYOUT)
    doubled = [event for event in answered_call() for _ in range(2)]

    told = feed(tracker, [*doubled, end("1.1", PHONE[1], 12.0), end("1.0", CUSTOMER[1], 12.0)])

    assert [update.phase for update in told if isinstance(update, CallProgress)] == [
        Phase.START,
        Phase.DIAL,
        Phase.BRIDGE,
    ]
    assert [type(update) for update in told[3:]] == [CallFinished]
    assert told[1].agents == ("101",)
    assert told[0].phone == "+375290000001"


def test_a_phone_that_declines_while_others_ring_rings_no_more():
    """Its card and its popup go; who gives up, or is given up because another answered, is not told one by one."""
    group = [("1.1", "PJSIP/101-01", "101"), ("1.2", "PJSIP/102-02", "102"), ("1.3", "PJSIP/103-03", "103")]
    told = feed(
        Tracker(LAYOUT),
        [
            start(*CUSTOMER, number="375290000001"),
            *[event for *phone, number in group for event in dialled(phone, "1.0", 0.1, number, linkedid="1.0")[:3]],
            ev.DialEnded(3.0, "1.2", "1.0", "PJSIP/102-02", "NOANSWER"),
            end("1.2", "PJSIP/102-02", 3.0, cause=21),
            ev.DialEnded(5.0, "1.1", "1.0", "PJSIP/101-01", "CANCEL"),
            end("1.1", "PJSIP/101-01", 5.0, cause=21),
        ],
    )

    assert [update.agents for update in told if update.phase is Phase.DIAL] == [
        ("101",),
        ("101", "102"),
        ("101", "102", "103"),
        ("101", "103"),
    ]


def test_a_call_that_never_ends_is_closed_after_a_day_of_silence():
    """A lost Hangup must not keep a call for ever."""
    tracker = Tracker(LAYOUT)
    feed(tracker, answered_call())

    assert tracker.expire(2.0 + SILENT_CALL_S - 1) == []
    (update,) = tracker.expire(2.0 + SILENT_CALL_S)

    assert update.call.reason is Reason.UNKNOWN_END
    assert update.call.status is Status.ANSWERED
    assert update.call.partial


def test_a_conversation_that_was_cut_as_it_began_was_one():
    """The PBX died and its last word was that the second of two, a moment after the first, had joined the bridge."""
    events = answered_call()
    events[-2] = ev.BridgeEntered(1.9, "1.1", "1.0", PHONE[1], "b", holding=False)
    tracker = Tracker(LAYOUT)
    feed(tracker, events)

    (update,) = tracker.end_absent(frozenset())

    assert (update.call.status, update.call.reason, update.call.path) == (
        Status.ANSWERED,
        Reason.UNKNOWN_END,
        ("101",),
    )
    assert update.call.talk_seconds == 0.0


def test_an_open_call_at_the_end_of_the_stream_is_partial():
    """Nobody talked and the end was not seen: the status is unknown."""
    tracker = Tracker(LAYOUT)
    feed(tracker, answered_call()[:4])

    (update,) = tracker.close(5.0)

    assert (update.call.status, update.call.reason, update.call.partial) == (Status.UNKNOWN, Reason.UNKNOWN_END, True)


def test_finished_calls_are_forgotten():
    """After its stragglers' time a call leaves nothing behind."""
    tracker = Tracker(LAYOUT)
    for number in range(100):
        uniqueid = f"{number}.0"
        feed(
            tracker,
            [start(uniqueid, f"PJSIP/trunk-{number}", at=number), end(uniqueid, "", number + 0.5, linkedid=uniqueid)],
        )

    tracker.expire(1000.0)

    assert not list(tracker._groups)
    assert not list(tracker._groups.legs())
    assert tracker.deadline is None


def test_a_straggler_corrects_the_record():
    """A channel of the same linkedid right after the last hangup: the call is judged again, with it."""
    tracker = Tracker(LAYOUT)
    feed(tracker, [*answered_call(), end("1.1", PHONE[1], 12.0), end("1.0", CUSTOMER[1], 12.0)])
    late = start("1.2", "PJSIP/102-0003", at=12.5, linkedid="1.0", origin=Origin.CREATED)

    told = feed(
        tracker, [late, ev.ChannelRinging(12.6, "1.2", "1.0", "PJSIP/102-0003"), end("1.2", "PJSIP/102-0003", 13.0)]
    )

    assert [update.call.rung for update in told if isinstance(update, CallFinished)] == [("101", "102")]


# ---------------------------------------------------------------- meeting in a bridge

COLLEAGUE = ("2.0", "PJSIP/101-0009")
"""A phone that came by itself, with a linkedid of its own."""


def met(bridge, at, *channels):
    return [ev.BridgeEntered(at, uniqueid, "", channel, bridge, holding=False) for uniqueid, channel in channels]


def test_who_meet_in_a_bridge_are_in_one_call():
    """A conference room: Asterisk leaves each its linkedid, the customer has talked, and the agent made no call."""
    tracker = Tracker(LAYOUT)
    told = feed(
        tracker,
        [
            start(*COLLEAGUE, exten="8000"),
            *met("room", 1.0, COLLEAGUE),
            start(*CUSTOMER, at=5.0, number="375290000001"),
            *met("room", 6.0, CUSTOMER),
            end(*CUSTOMER, 10.0),
            end(*COLLEAGUE, 20.0, linkedid="2.0"),
        ],
    )

    (call,) = (update.call for update in told if isinstance(update, CallFinished))
    assert (call.linkedid, call.direction, call.reason) == ("1.0", Direction.IN, Reason.TALKED)
    assert (call.path, call.rung, call.talk_seconds) == (("101",), (), 4.0)
    assert [(update.phase, update.agents) for update in told if isinstance(update, CallProgress)] == [
        (Phase.START, ()),
        (Phase.BRIDGE, ("101",)),
    ]


def test_two_customers_in_a_room_are_told_of_each_under_his_own_linkedid():
    """What goes on with the one is no news of the other; both are alive until the room is empty."""
    tracker = Tracker(LAYOUT)
    second = ("3.0", "PJSIP/trunk-0003")
    told = feed(
        tracker,
        [
            start(*COLLEAGUE, exten="8000"),
            *met("room", 1.0, COLLEAGUE),
            start(*CUSTOMER, at=5.0, number="375290000001"),
            *met("room", 6.0, CUSTOMER),
            start(*second, at=7.0, number="375290000002"),
            *met("room", 8.0, second),
        ],
    )

    assert [(update.linkedid, update.phone, update.phase, update.agents) for update in told] == [
        ("1.0", "+375290000001", Phase.START, ()),
        ("1.0", "+375290000001", Phase.BRIDGE, ("101",)),
        ("3.0", "+375290000002", Phase.START, ()),
        ("3.0", "+375290000002", Phase.BRIDGE, ("101",)),
    ]
    assert tracker.live_linkedids == [call.linkedid for call in tracker.live()] == ["1.0", "3.0"]

    told = feed(tracker, [end(*CUSTOMER, 10.0), end(*COLLEAGUE, 20.0, linkedid="2.0"), end(*second, 21.0)])
    assert [(update.call.linkedid, update.call.talk_seconds) for update in told] == [("1.0", 4.0), ("3.0", 12.0)]
    assert not tracker.live_linkedids


def test_a_talk_of_colleagues_becomes_part_of_the_customers_call():
    """101 talks with 102, takes a customer's call meanwhile and joins the two: what began first was not the call."""
    tracker = Tracker(LAYOUT)
    asked, customer, second = ("2.1", "PJSIP/102-000a"), ("3.0", "PJSIP/trunk-0003"), ("3.1", "PJSIP/101-000b")
    told = feed(
        tracker,
        [
            start(*COLLEAGUE, exten="102"),
            start(*asked, at=0.1, linkedid="2.0", origin=Origin.CREATED, exten="s", number="102"),
            ev.DialStarted(0.1, "2.1", "2.0", asked[1], "2.0", "102"),
            ev.ChannelUp(1.0, "2.1", "2.0", asked[1]),
            *met("b", 1.0, asked, COLLEAGUE),
            start(*customer, at=5.0, number="375290000001"),
            start(*second, at=5.1, linkedid="3.0", origin=Origin.CREATED, exten="s", number="101"),
            ev.DialStarted(5.1, "3.1", "3.0", second[1], "3.0", "101"),
            ev.ChannelUp(6.0, "3.1", "3.0", second[1]),
            *met("c", 6.0, second, customer),
        ],
    )
    assert tracker.live_linkedids == ["2.0", "3.0"]

    told = feed(
        tracker,
        [
            ev.Joined(8.0, ("2.0", "3.1"), ()),
            ev.BridgeLeft(8.0, customer[0], "3.0", customer[1], "c"),
            *met("b", 8.0, customer),
        ],
    )
    assert told[0] == CallMerged(enterprise_number=LAYOUT.enterprise_number, linkedid="2.0", into="3.0")
    assert [(update.linkedid, update.phase, update.agents) for update in told[1:]] == [
        ("3.0", Phase.BRIDGE, ("101", "102"))
    ]
    assert tracker.live_linkedids == ["3.0"]


# ---------------------------------------------------------------- calls of ours that are handed on

OUR = ("1.0", "PJSIP/101-0001")
CALLED = ("1.1", "PJSIP/trunk-0002")
OTHER = ("3.1", "PJSIP/trunk-0003")


def dialled(channel, source, at, number, *, linkedid="1.0"):
    """A leg is dialled and answered a second later."""
    return [
        start(*channel, at=at, linkedid=linkedid, origin=Origin.CREATED, exten="s", number=number),
        ev.DialStarted(at, channel[0], linkedid, channel[1], source, f"{number}@trunk" if len(number) > 5 else number),
        ev.ChannelRinging(at, channel[0], linkedid, channel[1]),
        ev.ChannelUp(at + 1, channel[0], linkedid, channel[1]),
    ]


def called():
    """101 talks from 1 s on with a customer whom he has called."""
    return [
        start(*OUR, exten="80290000010", number="101"),
        *dialled(CALLED, "1.0", 0.0, "80290000010"),
        *met("b", 1.0, CALLED, OUR),
    ]


def ended(at, *channels):
    return [end(uniqueid, channel, at, linkedid="") for uniqueid, channel in channels]


def finished(updates):
    return [update.call for update in updates if isinstance(update, CallFinished)]


def test_whom_we_called_stays_the_customer_when_he_is_handed_on_outside():
    """A blind transfer: his channel dials on, and who answers there is no customer of this call."""
    there = ("1.2", "PJSIP/trunk-0003")
    told = feed(
        Tracker(LAYOUT),
        [
            *called(),
            *ended(5.0, OUR),
            ev.BridgeLeft(5.0, *CALLED[:1], "1.0", CALLED[1], "b"),
            *dialled(there, "1.1", 5.0, "80290000020"),
            *met("c", 6.0, there, CALLED),
            *ended(10.0, there, CALLED),
        ],
    )

    (call,) = finished(told)
    assert (call.direction, call.phone, call.path) == (Direction.OUT, "+375290000010", ("101", "+375290000020"))
    assert (call.first_agent, call.last_agent, call.talk_seconds) == ("101", "+375290000020", 8.0)
    assert {update.phone for update in told if isinstance(update, CallProgress)} == {"+375290000010"}


def test_a_line_that_answered_and_dropped_the_call_is_followed_by_an_attempt_and_no_stranger():
    """A gateway answers for the network; its Hangup may come when the next line is dialled already."""
    second = ("1.2", "PJSIP/trunk-0003")
    told = feed(
        Tracker(LAYOUT),
        [
            *called(),
            ev.BridgeLeft(1.5, CALLED[0], "1.0", CALLED[1], "b"),
            *dialled(second, "1.0", 1.5, "80290000010"),
            *ended(1.51, CALLED),
            *met("c", 3.0, second, OUR),
            *ended(10.0, second, OUR),
        ],
    )

    (call,) = finished(told)
    assert (call.phone, call.path, call.last_agent) == ("+375290000010", ("101",), "101")


def test_whom_we_called_first_is_the_customer_of_two_who_are_joined():
    """The second one was asked on his behalf, as he would be on behalf of one who came in."""
    second = ("3.0", "PJSIP/101-0009")
    tracker = Tracker(LAYOUT)
    told = feed(
        tracker,
        [
            *called(),
            start(*second, at=5.0, exten="80290000020", number="101"),
            *dialled(OTHER, "3.0", 5.0, "80290000020", linkedid="3.0"),
            *met("c", 6.0, OTHER, second),
        ],
    )
    assert [(update.linkedid, update.phone) for update in told if update.phase is Phase.BRIDGE] == [
        ("1.0", "+375290000010"),
        ("3.0", "+375290000020"),
    ]

    told = feed(
        tracker,
        [ev.Joined(8.0, ("1.0", "3.0"), ("3.0", "3.1")), *ended(8.0, OUR, second), *met("b", 8.0, OTHER)],
    )
    assert told == [CallMerged(enterprise_number="0901", linkedid="3.0", into="1.0")]

    (call,) = finished(feed(tracker, ended(10.0, OTHER, CALLED)))
    assert (call.linkedid, call.phone, call.path) == ("1.0", "+375290000010", ("101", "+375290000020"))


def test_a_call_that_a_colleague_asked_for_begins_with_the_customer():
    """102 asks 101 to connect him: the record is that of the call that 101 placed, not of their talk before it."""
    boss, asked, second = ("1.0", "PJSIP/102-0001"), ("1.1", "PJSIP/101-0002"), ("3.0", "PJSIP/101-0009")
    tracker = Tracker(LAYOUT)
    told = feed(
        tracker,
        [
            start(*boss, exten="101", number="102"),
            *dialled(asked, "1.0", 0.0, "101"),
            *met("b", 1.0, asked, boss),
            start(*second, at=5.0, exten="80290000020", number="101"),
            *dialled(OTHER, "3.0", 5.0, "80290000020", linkedid="3.0"),
            *met("c", 6.0, OTHER, second),
            ev.Joined(8.0, ("1.1", "3.0"), ("3.0", "3.1")),
            *ended(8.0, asked, second),
            *met("b", 8.0, OTHER),
        ],
    )

    assert told[-2] == CallMerged(enterprise_number="0901", linkedid="1.0", into="3.0")
    assert (told[-1].linkedid, told[-1].phase, told[-1].agents) == ("3.0", Phase.BRIDGE, ("101", "102"))
    assert tracker.live_linkedids == ["3.0"]
    (call,) = finished(feed(tracker, ended(10.0, OTHER, boss)))
    assert (call.linkedid, call.phone, call.path) == ("3.0", "+375290000020", ("101", "102"))
    assert (call.first_agent, call.wait_seconds, call.talk_seconds) == ("101", 1.0, 4.0)


def test_one_who_was_called_and_one_who_came_in_have_a_record_each():
    """101 joins the customer whom he has called with one who calls him meanwhile."""
    caller, second = ("3.0", "PJSIP/trunk-0003"), ("3.1", "PJSIP/101-0009")
    tracker = Tracker(LAYOUT)
    told = feed(
        tracker,
        [
            *called(),
            start(*caller, at=3.0, number="375290000002"),
            *dialled(second, "3.0", 3.0, "101", linkedid="3.0"),
            *met("c", 4.0, second, caller),
            ev.Joined(8.0, ("1.0", "3.1"), ("3.1", "3.0")),
            *ended(8.0, OUR, second),
            *met("b", 8.0, caller),
        ],
    )
    assert not [update for update in told if isinstance(update, CallMerged)]
    assert sorted(tracker.live_linkedids) == ["1.0", "3.0"]

    out, into = finished(feed(tracker, ended(10.0, caller, CALLED)))
    assert (out.linkedid, out.direction, out.phone, out.path) == ("1.0", Direction.OUT, "+375290000010", ("101",))
    assert (into.linkedid, into.direction, into.phone, into.path) == ("3.0", Direction.IN, "+375290000002", ("101",))
    assert (out.talk_seconds, into.talk_seconds) == (7.0, 4.0)


def test_a_dialler_s_call_is_of_the_agent_who_took_it():
    """The customer is called first and then rings phones: the one that rang first has placed nothing."""
    customer, first, other = ("1.0", "PJSIP/trunk-0001"), ("1.1", "PJSIP/101-0002"), ("1.2", "PJSIP/102-0003")
    rings = [event for event in dialled(first, "1.0", 2.0, "101") if not isinstance(event, ev.ChannelUp)]
    told = feed(
        Tracker(LAYOUT),
        [
            *dialled(customer, "", 0.0, "80290000010"),
            *rings,
            *ended(8.0, first),
            *dialled(other, "1.0", 8.0, "102"),
            *met("b", 9.0, other, customer),
            *ended(12.0, other, customer),
        ],
    )

    (call,) = finished(told)
    assert (call.direction, call.first_agent, call.path) == (Direction.OUT, "102", ("102",))


def test_what_rang_for_one_customer_did_not_ring_for_another():
    """The second one's call had rung 103 before it came to 101, who joined the two."""
    caller, missed, second = ("3.0", "PJSIP/trunk-0003"), ("3.1", "PJSIP/103-0008"), ("3.2", "PJSIP/101-0009")
    rings = [
        event for event in dialled(missed, "3.0", 3.0, "103", linkedid="3.0") if not isinstance(event, ev.ChannelUp)
    ]
    told = feed(
        Tracker(LAYOUT),
        [
            *answered_call(),
            start(*caller, at=3.0, number="375290000002"),
            *rings,
            *ended(4.0, missed),
            *dialled(second, "3.0", 4.0, "101", linkedid="3.0"),
            *met("c", 5.0, second, caller),
            ev.Joined(8.0, ("1.1", "3.2"), ("3.2", "3.0")),
            *ended(8.0, PHONE, second),
            *met("b", 8.0, caller),
            *ended(10.0, caller, CUSTOMER),
        ],
    )

    assert [(call.linkedid, call.rung) for call in finished(told)] == [("1.0", ("101",)), ("3.0", ("103", "101"))]


def test_a_customer_alone_in_a_room_has_talked_with_nobody():
    """The next one to use the room comes after he has left."""
    tracker = Tracker(LAYOUT)
    told = feed(
        tracker,
        [
            start(*CUSTOMER, number="375290000001"),
            *met("room", 1.0, CUSTOMER),
            ev.HangupRequested(5.0, "1.0", "1.0", CUSTOMER[1]),
            end(*CUSTOMER, 5.0),
            start(*COLLEAGUE, at=5.5, exten="8000"),
            *met("room", 6.0, COLLEAGUE),
            end(*COLLEAGUE, 7.0, linkedid="2.0"),
        ],
    )

    (call,) = (update.call for update in told if isinstance(update, CallFinished))
    assert (call.status, call.reason) == (Status.MISSED, Reason.ABANDONED_GREETING)


def test_who_meet_in_a_room_before_we_came_are_in_one_call():
    """Picked up from a snapshot, with a linkedid each."""
    tracker = Tracker(LAYOUT)
    told = tracker.receive(
        ev.Snapshot(
            100.0,
            (row(*COLLEAGUE, linkedid="2.0", bridge="room"), row(*CUSTOMER, bridge="room", number="375290000001")),
        )
    )
    told += feed(tracker, [end(*COLLEAGUE, 105.0, linkedid="2.0"), end(*CUSTOMER, 110.0)])

    (call,) = (update.call for update in told if isinstance(update, CallFinished))
    assert (call.linkedid, call.path, call.talk_seconds) == ("1.0", ("101",), 5.0)


def test_a_room_is_forgotten_with_its_calls():
    """While another call goes on."""
    tracker = Tracker(LAYOUT)
    feed(tracker, [*answered_call(), start(*COLLEAGUE, exten="8000"), *met("room", 1.0, COLLEAGUE)])
    feed(tracker, [end(*COLLEAGUE, 3.0, linkedid="2.0")])

    tracker.expire(1000.0)

    assert set(tracker._groups._met) == {"b"}


# ---------------------------------------------------------------- snapshots


def test_calls_that_were_going_on_are_picked_up_from_a_snapshot():
    """The agent starts in the middle of a call: it is told from its bridge on, and its record is partial."""
    tracker = Tracker(LAYOUT)
    told = tracker.receive(
        ev.Snapshot(100.0, (row(*CUSTOMER, number="375290000001"), row(*PHONE, age=29.0, number="101")))
    )

    assert [(update.phase, update.agents) for update in told] == [(Phase.START, ()), (Phase.BRIDGE, ("101",))]
    (finished,) = feed(tracker, [end("1.1", PHONE[1], 130.0), end("1.0", CUSTOMER[1], 130.0)])
    assert finished.call.status is Status.ANSWERED
    assert finished.call.phone == "+375290000001"
    assert finished.call.talk_seconds == pytest.approx(30.0)
    assert finished.call.partial


def test_a_conversation_met_in_its_midst_is_as_old_as_its_bridge():
    """As far as somebody says when that was made; but nobody talked before he was there (an old conference)."""
    for made, talked in ((80.0, 50.0), (None, 30.0), (5.0, 60.0), (500.0, 30.0)):
        tracker = Tracker(LAYOUT)
        rows = row(*CUSTOMER, number="375290000001", made=made), row(*PHONE, age=29.0, number="101", made=made)
        tracker.receive(ev.Snapshot(100.0, rows))

        (finished,) = feed(tracker, [end("1.1", PHONE[1], 130.0), end("1.0", CUSTOMER[1], 130.0)])
        assert finished.call.talk_seconds == pytest.approx(talked), made


def test_a_conversation_that_began_unheard_is_no_older_than_the_silence():
    """The phones rang when the connection broke: whatever the bridge's age, they did not talk before that."""
    for made, talked in ((20.0, 110.0), (1.0, 125.0), (None, 30.0)):
        tracker = Tracker(LAYOUT)
        feed(tracker, [*answered_call()[:3], ev.ChannelRinging(5.0, "1.1", "1.0", PHONE[1])])
        tracker.interrupted(5.0)
        tracker.receive(ev.Snapshot(100.0, (row(*CUSTOMER, age=100.0, made=made), row(*PHONE, age=98.0, made=made))))

        (finished,) = feed(tracker, [end("1.1", PHONE[1], 130.0), end("1.0", CUSTOMER[1], 130.0)])
        assert finished.call.talk_seconds == pytest.approx(talked), made


def test_a_snapshot_changes_nothing_of_a_call_that_was_followed():
    """A reconnect within a call neither tells its phases again nor ends it."""
    tracker = Tracker(LAYOUT)
    feed(tracker, answered_call())

    assert tracker.receive(ev.Snapshot(5.0, (row(*CUSTOMER), row(*PHONE)))) == []
    assert tracker.expire(60.0) == []


def test_a_phone_that_began_to_ring_unheard_rings():
    """It was dialled before the connection broke, and rings when it is back."""
    tracker = Tracker(LAYOUT)
    feed(tracker, answered_call()[:3])
    tracker.interrupted(5.0)

    told = tracker.receive(
        ev.Snapshot(5.0, (row(*CUSTOMER, up=False, bridge=""), row(*PHONE, up=False, ringing=True, bridge="")))
    )

    assert [(update.phase, update.agents) for update in told] == [(Phase.DIAL, ("101",))]
    (update,) = feed(tracker, [end("1.1", PHONE[1], 9.0), end("1.0", CUSTOMER[1], 9.0)])
    assert (update.call.reason, update.call.rung) == (Reason.NO_ANSWER, ("101",))


def test_a_channel_that_a_snapshot_lacks_ended_unseen():
    """It gets a moment for a Hangup that is still on its way, then its call ends."""
    tracker = Tracker(LAYOUT)
    feed(tracker, answered_call())
    tracker.interrupted(5.0)
    tracker.receive(ev.Snapshot(50.0, ()))

    assert tracker.expire(50.5) == []
    (update,) = tracker.expire(53.0)

    assert update.call.reason is Reason.UNKNOWN_END
    assert update.call.partial


def test_nobody_talks_through_a_silence_that_he_did_not_outlive():
    """Asterisk was killed at 5 and is back at 3605, after several attempts: nobody has talked for an hour."""
    tracker = Tracker(LAYOUT)
    feed(tracker, answered_call())
    tracker.interrupted(5.0)
    tracker.interrupted(1800.0)
    tracker.receive(ev.Snapshot(3605.0, ()))

    (update,) = tracker.expire(3608.0)

    assert (update.call.status, update.call.reason) == (Status.ANSWERED, Reason.UNKNOWN_END)
    assert (update.call.talk_seconds, update.call.ended_at.timestamp()) == (3.0, 5.0)


def test_who_is_met_between_the_login_and_the_list_is_known_by_the_list():
    """The phones answer while the lists are under way: the first to tell of the customer is an event without him."""
    tracker = Tracker(LAYOUT)
    told = feed(tracker, [event._replace(at=100.0) for event in answered_call()[-2:]])
    told += tracker.receive(
        ev.Snapshot(100.2, (row(*CUSTOMER, age=30.0, number="375290000001"), row(*PHONE, age=29.0, number="101")))
    )

    assert [(update.phase, update.phone) for update in told] == [
        (Phase.BRIDGE, None),
        (Phase.BRIDGE, "+375290000001"),
    ]
    (finished,) = feed(tracker, [end("1.1", PHONE[1], 130.0), end("1.0", CUSTOMER[1], 130.0)])
    assert (finished.call.phone, finished.call.line) == ("+375290000001", "375172000000")
    assert finished.call.started_at.timestamp() == pytest.approx(70.2)
    assert finished.call.talk_seconds == pytest.approx(30.0)


def test_who_is_met_between_the_login_and_the_list_has_talked_as_long_as_his_bridge_lives():
    """What was heard of him has nothing to do with it."""
    tracker = Tracker(LAYOUT)
    tracker.receive(ev.VariableSet(100.0, "1.0", "1.0", CUSTOMER[1], "QUEUESTATUS", ""))
    tracker.receive(ev.Snapshot(100.2, (row(*CUSTOMER, number="375290000001", made=80.0), row(*PHONE, made=80.0))))

    (finished,) = feed(tracker, [end("1.1", PHONE[1], 130.0), end("1.0", CUSTOMER[1], 130.0)])
    assert finished.call.talk_seconds == pytest.approx(50.0)


def test_a_customer_met_under_the_linkedid_of_an_older_talk_is_made_good_by_the_records():
    """101 had talked with 102 before he came in, and has joined the two: he looks dialled to a daemon that restarts."""
    customer, asked, taken = ("2.0", "PJSIP/trunk-0003"), ("1.1", "PJSIP/101-0002"), ("2.1", "PJSIP/101-0004")
    asking = ("1.0", "PJSIP/102-0001")
    before = [
        start(*asking, exten="101", number="102"),
        *dialled(asked, "1.0", 0.0, "101"),
        *met("a", 1.0, asked, asking),
        start(*customer, at=10.0, number="375290000001"),
        *dialled(taken, "2.0", 10.0, "101", linkedid="2.0"),
        *met("b", 11.0, taken, customer),
        ev.Joined(20.0, ("1.1", "2.1", "2.0", "1.0"), ("2.1", "1.0")),
        ev.BridgeEntered(20.0, "2.0", "1.0", customer[1], "a", holding=False),
        *ended(20.0, asked, taken),
    ]
    after, books = ended(40.0, asking, customer), Books()
    books.take(feed(Tracker(LAYOUT), before))
    restarted = Tracker(LAYOUT)
    books.take(
        restarted.receive(
            ev.Snapshot(
                30.0, (row(*asking, bridge="a", number="102"), row(*customer, bridge="a", number="375290000001"))
            )
        )
    )
    books.take(feed(restarted, after))

    books.take(feed(Tracker(LAYOUT, source=Source.RECOVERY), [*before, *after]))

    assert not books.open
    (call,) = books.rows.values()
    assert (call.linkedid, call.direction, call.path) == ("2.0", Direction.IN, ("101", "102"))


def test_a_hangup_that_was_on_its_way_beats_the_snapshot():
    """The list was older than the event."""
    tracker = Tracker(LAYOUT)
    feed(tracker, answered_call())
    tracker.receive(ev.Snapshot(50.0, ()))

    told = feed(tracker, [end("1.1", PHONE[1], 49.9), end("1.0", CUSTOMER[1], 49.9)])

    assert told[0].call.reason is Reason.TALKED
    assert tracker.expire(60.0) == []


def test_a_channel_that_hung_up_while_the_list_was_under_way_stays_ended():
    """The row of the list is older than its Hangup."""
    tracker = Tracker(LAYOUT)
    feed(tracker, [*answered_call(), end("1.1", PHONE[1], 12.0), end("1.0", CUSTOMER[1], 12.0)])

    assert tracker.receive(ev.Snapshot(12.1, (row(*CUSTOMER), row(*PHONE)))) == []
    assert tracker.open_channels == 0


def test_a_stranger_that_hung_up_while_the_list_was_under_way_is_not_adopted():
    """The call began before we listened and ended before the list was read."""
    tracker = Tracker(LAYOUT)
    feed(tracker, [end("1.0", CUSTOMER[1], 99.9), end("1.1", PHONE[1], 99.9)])

    assert tracker.receive(ev.Snapshot(99.8, (row(*CUSTOMER), row(*PHONE)))) == []
    assert tracker.open_channels == 0


def test_a_channel_that_began_while_the_list_was_under_way_is_not_missing():
    """The list is older than the channel."""
    tracker = Tracker(LAYOUT)
    tracker.receive(start(*CUSTOMER, at=50.1))
    tracker.receive(ev.Snapshot(50.0, ()))

    assert tracker.expire(60.0) == []
    assert tracker.open_channels == 1


def test_a_line_that_refused_does_not_speak_for_the_next_one():
    """Asterisk hands cause 34 of the first line on to the second, which rings when the agent gives up within 2 s."""
    phone, first, second = ("1.0", "PJSIP/101-01"), ("1.1", "PJSIP/trunk-02"), ("1.2", "PJSIP/trunk-03")
    events = [
        start(*phone, exten="80290000010", number="101"),
        start(*first, at=0.1, linkedid="1.0", origin=Origin.CREATED, exten="s"),
        ev.DialStarted(0.1, "1.1", "1.0", first[1], "1.0", "80290000010@trunk"),
        ev.DialEnded(0.2, "1.1", "1.0", first[1], "CONGESTION"),
        end(*first, 0.2, cause=34),
        start(*second, at=0.2, linkedid="1.0", origin=Origin.CREATED, exten="s"),
        ev.DialStarted(0.2, "1.2", "1.0", second[1], "1.0", "80290000010@trunk"),
        ev.ChannelRinging(0.3, "1.2", "1.0", second[1]),
        ev.HangupRequested(1.0, "1.0", "1.0", phone[1]),
        ev.DialEnded(1.0, "1.2", "1.0", second[1], "CANCEL"),
        end(*second, 1.0, cause=34),
        end(*phone, 1.0, cause=34),
    ]

    (call,) = records(events, close=False).values()

    assert (call.direction, call.reason) == (Direction.OUT, Reason.CANCELLED)


def test_the_evidence_of_an_endless_queue_is_bounded():
    """A queue makes new channels for every round; the customer's own is always among the evidence."""
    rounds = [
        event
        for number in range(1, 500)
        for event in (
            start(
                f"1.{number}", f"PJSIP/101-{number:04x}", at=number, linkedid="1.0", origin=Origin.CREATED, exten="s"
            ),
            end(f"1.{number}", f"PJSIP/101-{number:04x}", number + 0.5, cause=0),
        )
    ]

    (call,) = records([start(*CUSTOMER), *rounds, end(*CUSTOMER, 600.0)], close=False).values()

    assert len(call.evidence) == MAX_LEGS
    assert call.evidence[0].endpoint == "PJSIP/trunk"


def unanswered(name):
    """Which extensions were dialled and had not picked up, each time that changed."""
    tracker, seen = Tracker(LAYOUT), []
    asked = next(event.uniqueid for event in EVENTS[name] if isinstance(event, ev.ChannelStarted))
    for event in EVENTS[name]:
        tracker.receive(event)
        found = sorted(extension for _, extension in tracker.unanswered(asked))
        if not seen or found != seen[-1]:
            seen.append(found)
    return seen


def test_the_telephones_that_a_late_name_is_for_are_those_that_ring():
    """A group from the first telephone that is dialled to the one that picks up; a mobile is no telephone of ours."""
    assert unanswered("inbound-ringgroup-one-answers")[0] == []
    assert max(unanswered("inbound-ringgroup-one-answers"), key=len) == ["101", "103", "104"]
    assert unanswered("inbound-ringgroup-one-answers")[-1] == []
    assert max(unanswered("followme-local"), key=len) == []
    assert Tracker(LAYOUT).unanswered("1.1") == []
