"""The AMI client on real sockets, against a scripted peer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.ami_peer import AmiPeer, ami_peer, frame
from vochi_agent.asterisk.ami import AmiClient, AmiConnection, AmiTimeouts, connect
from vochi_agent.asterisk.ami import AmiPeer as Address
from vochi_agent.asterisk.watch import PbxWatch
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import CallFinished, CallUpdate, Reason
from vochi_agent.config import AsteriskConfig, load
from vochi_agent.errors import (
    ActionFailed,
    ConnectionLost,
    LocalProtocolError,
    LoginRefused,
    NotReachable,
    RemoteProtocolError,
)
from vochi_agent.metrics import Metrics
from vochi_agent.protocols.ami import Message
from vochi_agent.supervisor import Backoff

DEADLINE_S = 5.0
QUICK = AmiTimeouts(connect=1, login=1, action=1, ping_every=0.05, pong=0.1)
CALM = AmiTimeouts(action=0.2)
LAB = Path(__file__).parents[1] / "scenarios" / "lab.toml"


@pytest.fixture
async def pbx() -> AsyncIterator[AmiPeer]:
    async with ami_peer() as peer:
        yield peer


def address(pbx: AmiPeer, secret: str = "secret") -> Address:
    return Address(host="127.0.0.1", port=pbx.port, username="vochi", secret=secret)


class Events:
    """Collects events and lets a test wait for them."""

    def __init__(self) -> None:
        self.seen: list[Message] = []
        self._changed = asyncio.Event()

    def __call__(self, message: Message) -> None:
        """Take an event."""
        self.seen.append(message)
        self._changed.set()

    def names(self) -> list[str]:
        """The events so far, by name."""
        return [message.event for message in self.seen]

    async def count(self, number: int) -> list[Message]:
        """Wait until so many have come."""
        await until(lambda: len(self.seen) >= number, self._changed)
        return self.seen


async def until(condition: Callable[[], bool], changed: asyncio.Event) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            changed.clear()
            await changed.wait()


@asynccontextmanager
async def lasting(peer: Address, timeouts: AmiTimeouts | None = None) -> AsyncIterator[AmiConnection]:
    """A connection that is used, after the block, until it breaks."""
    async with connect(peer, on_event=Events(), timeouts=timeouts) as connection:
        yield connection
        async with asyncio.timeout(DEADLINE_S):
            await connection.until_lost()


@asynccontextmanager
async def running(client: AmiClient) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(client.run(), name="client under test")
        yield
        task.cancel()


# -- one connection ---------------------------------------------------------------------------------------------------


async def test_the_password_does_not_cross_the_wire_when_the_pbx_offers_a_challenge(pbx: AmiPeer) -> None:
    async with connect(address(pbx)) as connection:
        assert connection.banner == "Asterisk Call Manager/11.0.0"

    assert pbx.names()[:2] == ["Challenge", "Login"]
    assert all("secret" not in action.values() for action in pbx.actions)


async def test_login_is_plain_where_no_challenge_is_offered(pbx: AmiPeer) -> None:
    pbx.takes_md5 = False

    async with connect(address(pbx)):
        pass

    assert (await pbx.seen("Login"))["Secret"] == "secret"


async def test_events_are_asked_for_only_when_somebody_takes_them(pbx: AmiPeer) -> None:
    async with connect(address(pbx)):
        pass
    async with connect(address(pbx), on_event=Events()):
        pass

    assert [action["Events"] for action in pbx.actions if action["Action"] == "Login"] == ["off", "on"]


@pytest.mark.parametrize("takes_md5", [True, False])
async def test_a_wrong_password_is_a_refused_login_and_is_not_tried_twice(pbx: AmiPeer, *, takes_md5: bool) -> None:
    pbx.takes_md5 = takes_md5

    with pytest.raises(LoginRefused) as caught:
        async with connect(address(pbx, "wrong")):
            pytest.fail("was let in")

    assert pbx.names().count("Login") == 1
    assert "wrong" not in str(caught.value)


def test_a_secret_is_not_in_the_repr() -> None:
    assert "hunter2" not in repr(Address(host="h", port=1, username="u", secret="hunter2"))


async def test_nobody_listening_is_not_reachable(unused_tcp_port: int) -> None:
    with pytest.raises(NotReachable, match=f"127.0.0.1:{unused_tcp_port}"):
        async with connect(Address(host="127.0.0.1", port=unused_tcp_port, username="u", secret="s")):
            pytest.fail("connected to nobody")


async def test_another_protocol_is_named_and_nothing_is_sent_to_it(pbx: AmiPeer) -> None:
    pbx.banner = b"SSH-2.0-OpenSSH_9.2\r\n"

    with pytest.raises(RemoteProtocolError, match=r"SSH-2\.0"):
        async with connect(address(pbx)):
            pytest.fail("took SSH for AMI")

    assert pbx.actions == []


async def test_a_listener_that_says_nothing_is_given_up(pbx: AmiPeer) -> None:
    pbx.banner = b""

    with pytest.raises(NotReachable):
        async with connect(address(pbx), timeouts=AmiTimeouts(login=0.05)):
            pytest.fail("connected to a mute listener")


async def test_events_come_in_order_and_whole_however_tcp_cuts_them(pbx: AmiPeer) -> None:
    events = Events()
    async with connect(address(pbx), on_event=events):
        await pbx.seen("Ping")  # its Pong must not fall between two pieces
        wire = b"".join(
            frame("Event: NewCallerid", f"Uniqueid: {number}", "CallerIDName: Ёлка") for number in range(100)
        )
        for start in range(0, len(wire), 7):
            pbx.send(wire[start : start + 7])
            await asyncio.sleep(0)

        seen = await events.count(100)

    assert [str(number) for number in range(100)] == [message["Uniqueid"] for message in seen]
    assert {message["CallerIDName"] for message in seen} == {"Ёлка"}


async def test_an_exception_in_the_callback_costs_one_event_and_leaves_a_traceback(
    pbx: AmiPeer, caplog: pytest.LogCaptureFixture
) -> None:
    events = Events()

    def fragile(message: Message) -> None:
        if message.event == "Bad":
            raise KeyError("boom")
        events(message)

    async with connect(address(pbx), on_event=fragile) as connection:
        pbx.send(frame("Event: One"), frame("Event: Bad", "CallerIDNum: 375290000001"), frame("Event: Two"))
        await events.count(2)
        await connection.action("Ping")

    (record,) = caplog.records
    assert events.names() == ["One", "Two"]
    assert record.exc_info
    assert "375290000001" not in caplog.text


async def test_unwanted_events_and_other_peoples_answers_stay_out(pbx: AmiPeer) -> None:
    events = Events()
    only = {"VarSet": ("Variable", {"DIALSTATUS"})}
    async with connect(address(pbx), on_event=events, wanted={"Hangup", "VarSet"}, only=only):
        pbx.send(
            frame("Event: Newexten", "Uniqueid: 1"),
            frame("Event: UserEvent", "ActionID: vochi-1", "UserEvent: X"),
            frame("Event: VarSet", "Variable: SIPDOMAIN", "Value: x"),
            frame("Response: Success", "ActionID: vochi-1"),
            frame("Event: VarSet", "Variable: DIALSTATUS", "Value: BUSY"),
            frame("Event: Hangup", "Uniqueid: 1"),
        )
        await events.count(2)

    assert events.names() == ["VarSet", "Hangup"]


async def test_an_action_returns_its_own_response(pbx: AmiPeer) -> None:
    pbx.answers["Getvar"] = lambda action_id: [
        frame("Response: Success", "ActionID: somebody-else", "Value: no"),
        frame("Response: Success", action_id, "Value: yes"),
    ]
    async with connect(address(pbx)) as connection:
        answers = await asyncio.gather(*(connection.action("Getvar", {"Variable": "X"}) for _ in range(5)))

    assert [answer["Value"] for answer in answers] == ["yes"] * 5


async def test_an_error_answer_is_an_exception_with_its_reason(pbx: AmiPeer) -> None:
    async with connect(address(pbx)) as connection:
        with pytest.raises(ActionFailed, match="Nonsense: Invalid/unknown command"):
            await connection.action("Nonsense")
        with pytest.raises(ActionFailed):
            await connection.list_action("Nonsense")


@pytest.mark.parametrize("kind", ["action", "list_action", "feed"])
async def test_every_action_has_a_deadline(pbx: AmiPeer, kind: str) -> None:
    pbx.answers["Slow"] = lambda _: []
    async with connect(address(pbx), timeouts=CALM) as connection:
        with pytest.raises(NotReachable, match=r"Slow was not answered within 0\.2 s"):
            await getattr(connection, kind)("Slow")


async def test_a_newline_in_a_field_is_refused_and_nothing_is_sent(pbx: AmiPeer) -> None:
    async with connect(address(pbx)) as connection:
        with pytest.raises(LocalProtocolError):
            await connection.action("Setvar", {"Variable": "N", "Value": "x\r\n\r\nAction: Originate"})
        await connection.action("Ping")

    assert {"Setvar", "Originate"}.isdisjoint(pbx.names())


def channels(action_id: str) -> list[bytes]:
    return [
        frame("Response: Success", action_id, "EventList: start", "Message: Channels will follow"),
        frame("Event: CoreShowChannel", action_id, "Uniqueid: 1"),
        frame("Event: Hangup", "Uniqueid: 1"),
        frame("Event: CoreShowChannel", action_id, "Uniqueid: 2"),
        frame("Event: CoreShowChannelsComplete", action_id, "EventList: Complete", "ListItems: 2"),
    ]


async def test_a_list_is_its_items(pbx: AmiPeer) -> None:
    pbx.answers["CoreShowChannels"] = channels
    events = Events()
    async with connect(address(pbx), on_event=events) as connection:
        items = await connection.list_action("CoreShowChannels")

    assert [item["Uniqueid"] for item in items] == ["1", "2"]
    assert events.names() == ["Hangup"]


async def test_a_list_that_is_fed_takes_its_place_among_the_events(pbx: AmiPeer) -> None:
    """Collected and fed afterwards, channel 1 would live for ever: its Hangup would come first."""
    pbx.answers["CoreShowChannels"] = channels
    events = Events()
    async with connect(address(pbx), on_event=events, wanted={"Hangup"}) as connection:
        await connection.feed("CoreShowChannels")

    assert events.names() == ["CoreShowChannel", "Hangup", "CoreShowChannel", "CoreShowChannelsComplete"]


async def test_a_success_that_opens_no_list_is_an_empty_one(pbx: AmiPeer) -> None:
    pbx.answers["Odd"] = lambda action_id: [frame("Response: Success", action_id)]
    async with connect(address(pbx)) as connection:
        assert await connection.list_action("Odd") == []


async def test_items_of_a_list_that_was_given_up_are_no_events(pbx: AmiPeer) -> None:
    pbx.answers["CoreShowChannels"] = lambda _: []
    events = Events()
    async with connect(address(pbx), on_event=events, wanted={"Hangup"}, timeouts=CALM) as connection:
        with pytest.raises(NotReachable):
            await connection.feed("CoreShowChannels")
        action_id = (await pbx.seen("CoreShowChannels"))["ActionID"]
        pbx.send(*channels(f"ActionID: {action_id}")[1:], frame("Event: Hangup", "Uniqueid: 3"))
        await events.count(2)

    assert [(event.event, event["Uniqueid"]) for event in events.seen] == [("Hangup", "1"), ("Hangup", "3")]


async def test_a_disconnect_ends_the_block_and_later_actions_are_refused_at_once(pbx: AmiPeer) -> None:
    with pytest.raises(ConnectionLost, match=r"closed the connection|broke"):
        async with lasting(address(pbx)) as connection:
            pbx.drop()

    with pytest.raises(ConnectionLost, match="Ping was not sent"):
        await connection.action("Ping")


async def test_another_tasks_pending_action_fails_with_the_connection(pbx: AmiPeer) -> None:
    """The click-to-call of a web request, which is no part of the connection's own block."""
    pbx.answers["Originate"] = lambda _: []
    client = AmiClient(address(pbx), on_event=Events(), on_connected=None, timeouts=AmiTimeouts(action=60))
    async with running(client):
        await pbx.seen("Ping")
        async with asyncio.TaskGroup() as tasks:
            request = tasks.create_task(outcome(client.action("Originate")), name="a web request")
            await pbx.seen("Originate")
            pbx.drop()

    assert isinstance(request.result(), ConnectionLost)


async def outcome(action: Awaitable[Message]) -> Message | NotReachable:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await action
    except NotReachable as exc:
        return exc


async def test_an_error_of_the_block_itself_is_what_the_caller_sees(pbx: AmiPeer) -> None:
    with pytest.raises(KeyError):
        async with connect(address(pbx)):
            raise KeyError("ours")


async def test_a_frozen_peer_is_noticed(pbx: AmiPeer) -> None:
    with pytest.raises(ConnectionLost, match="silent"):
        async with lasting(address(pbx), timeouts=QUICK):
            pbx.mute = True


def test_the_usual_timing_notices_a_frozen_peer_within_ten_seconds() -> None:
    usual = AmiTimeouts()

    assert usual.ping_every + usual.pong < 10


async def test_a_late_pong_behind_a_flood_of_events_is_no_silence(pbx: AmiPeer) -> None:
    pbx.answers["Ping"] = lambda _: [frame("Event: Newexten")]
    async with connect(address(pbx), on_event=Events(), timeouts=QUICK) as connection:
        await pbx.seen("Ping", times=4)

        with pytest.raises(ActionFailed):
            await connection.action("Nonsense")


async def test_a_pbx_that_shuts_down_is_followed_to_its_last_call(pbx: AmiPeer) -> None:
    """It refuses every action, Ping too, and still tells how its calls end."""
    pbx.answers["Ping"] = lambda action_id: [frame("Response: Error", action_id, "Message: Asterisk is shutting down")]
    async with connect(address(pbx), on_event=Events(), timeouts=QUICK) as connection:
        await pbx.seen("Ping", times=4)

        with pytest.raises(ActionFailed, match="shutting down"):
            await connection.action("Ping")


async def test_pong_tells_how_far_the_clock_of_the_pbx_is_off(pbx: AmiPeer) -> None:
    pbx.pbx_time = "1000.250000"
    async with connect(address(pbx), timeouts=QUICK, clock=lambda: 990.0) as connection:
        await pbx.seen("Ping", times=2)

        assert connection.clock_offset == pytest.approx(10.25)


async def test_a_step_of_our_clock_is_known_with_the_next_pong_whoever_asked(pbx: AmiPeer) -> None:
    pbx.pbx_time = "1000.0"
    ours = [990.0]
    async with connect(address(pbx), clock=lambda: ours[0]) as connection:
        await pbx.seen("Ping")
        ours[0] += 3600
        await connection.action("Ping")

        assert connection.clock_offset == pytest.approx(10 - 3600)


async def test_an_endless_message_ends_the_connection(pbx: AmiPeer) -> None:
    with pytest.raises(RemoteProtocolError):
        async with lasting(address(pbx)):
            pbx.send(b"Event: " + b"x" * (1 << 20))


# -- many lives -------------------------------------------------------------------------------------------------------


def quick_backoff() -> Backoff:
    return Backoff(0.01, 0.05)


async def test_after_an_outage_the_client_is_back_and_says_each_edge_once(
    pbx: AmiPeer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    steps: list[str] = []
    changed = asyncio.Event()

    async def on_connected(connection: AmiConnection) -> None:
        steps.append("connected")
        changed.set()

    def on_disconnected() -> None:
        steps.append("disconnected")
        changed.set()

    client = AmiClient(
        address(pbx),
        on_event=Events(),
        on_connected=on_connected,
        on_disconnected=on_disconnected,
        timeouts=QUICK,
        backoff=quick_backoff(),
    )
    async with running(client):
        await until(lambda: len(steps) == 1, changed)
        pbx.banner = b"starting\r\n"
        pbx.drop()
        await until(lambda: len(steps) == 2, changed)
        await pbx.connected(times=4)
        assert client.state.connected_since is None
        assert client.state.last_error
        pbx.banner = b"Asterisk Call Manager/11.0.0\r\n"
        await until(lambda: len(steps) == 3, changed)
        assert client.state.connected_since is not None
        assert client.state.reconnects == 1
        assert client.state.last_error == ""

    assert steps == ["connected", "disconnected", "connected", "disconnected"]
    assert [(record.levelname, record.__dict__["action"]) for record in caplog.records] == [
        ("INFO", "service_up"),
        ("WARNING", "service_lost"),
        ("INFO", "service_back"),
    ]


async def test_an_originate_asked_for_during_an_outage_is_refused_and_never_placed(pbx: AmiPeer) -> None:
    """Panoramisk kept it and placed it after the reconnect."""
    client = AmiClient(address(pbx), on_event=Events(), timeouts=QUICK, backoff=quick_backoff())
    with pytest.raises(NotReachable, match="Originate was not sent"):
        await client.action("Originate")
    async with running(client):
        await pbx.seen("Ping", times=2)
        pbx.drop()
        await pbx.seen("Login", times=2)
        await pbx.seen("Ping", times=4)

    assert "Originate" not in pbx.names()


async def test_an_originate_that_got_no_answer_is_not_repeated_after_the_reconnect(pbx: AmiPeer) -> None:
    pbx.answers["Originate"] = lambda _: []
    client = AmiClient(address(pbx), on_event=Events(), timeouts=QUICK, backoff=quick_backoff())
    async with running(client):
        await pbx.seen("Ping")
        async with asyncio.TaskGroup() as tasks:
            request = tasks.create_task(outcome(client.action("Originate")), name="a web request")
            await pbx.seen("Originate")
            pbx.drop()
        await pbx.seen("Login", times=2)
        await pbx.seen("Ping", times=pbx.names().count("Ping") + 2)

    assert isinstance(request.result(), ConnectionLost)
    assert pbx.names().count("Originate") == 1


async def test_a_refused_login_raises_one_alarm_and_is_tried_again_slowly(
    pbx: AmiPeer, caplog: pytest.LogCaptureFixture
) -> None:
    client = AmiClient(address(pbx, "wrong"), on_event=Events(), backoff=quick_backoff(), refused_wait=0.1)
    async with running(client):
        await pbx.seen("Login", times=3)
        assert client.state.login_refused
        pbx.secret = "wrong"
        await pbx.seen("Ping")
        assert not client.state.login_refused

    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["ERROR"]


async def test_the_lists_after_a_login_go_through_the_same_callback(pbx: AmiPeer) -> None:
    pbx.answers["CoreShowChannels"] = channels
    events = Events()

    async def snapshot(connection: AmiConnection) -> None:
        await connection.feed("CoreShowChannels")

    client = AmiClient(address(pbx), on_event=events, on_connected=snapshot, wanted={"Hangup"})
    async with running(client):
        await events.count(4)

    assert events.names()[-1] == "CoreShowChannelsComplete"


async def test_a_right_that_is_missing_costs_the_list_and_not_the_connection(
    pbx: AmiPeer, caplog: pytest.LogCaptureFixture
) -> None:
    events = Events()

    async def snapshot(connection: AmiConnection) -> None:
        await connection.feed("CoreShowChannels")

    client = AmiClient(address(pbx), on_event=events, on_connected=snapshot, timeouts=QUICK)
    async with running(client):
        await pbx.seen("CoreShowChannels")
        pbx.send(frame("Event: Hangup", "Uniqueid: 1"))
        await events.count(1)
        assert client.state.last_event_at is not None

    assert [record.__dict__["action"] for record in caplog.records if record.levelname == "WARNING"] == ["ami_refused"]
    assert pbx.connections == 1


async def test_the_clock_of_the_pbx_is_known_while_connected_only(pbx: AmiPeer) -> None:
    pbx.pbx_time = "1000.0"
    client = AmiClient(address(pbx), on_event=Events(), timeouts=QUICK, clock=lambda: 990.0)
    assert client.pbx_time() is None
    async with running(client):
        await pbx.seen("Ping", times=2)
        assert client.pbx_time() == pytest.approx(1000.0)

    assert client.pbx_time() is None


def heard(event: str, uniqueid: str, channel: str, *more: str) -> bytes:
    """An event of a call at 900 by the clock of the PBX."""
    return frame(
        f"Event: {event}", "Timestamp: 900.0", f"Channel: {channel}", f"Uniqueid: {uniqueid}", "Linkedid: 1.0", *more
    )


async def test_a_conversation_that_a_killed_pbx_ended_lasted_until_the_connection_broke_by_its_own_clock(
    pbx: AmiPeer,
) -> None:
    """Ten seconds ahead of ours; an hour later it is back, and knows of no channel."""
    for name in ("CoreShowChannels", "BridgeList"):
        pbx.answers[name] = lambda action_id, name=name: [
            frame("Response: Success", action_id, "EventList: start"),
            frame(f"Event: {name}Complete", action_id, "EventList: Complete"),
        ]
    told: list[CallUpdate] = []
    changed, now = asyncio.Event(), 990.0

    def tell(update: CallUpdate) -> None:
        told.append(update)
        changed.set()

    login = {"ami": f"127.0.0.1:{pbx.port}", "ami_username": "vochi", "ami_secret": "secret"}
    watch = PbxWatch(
        Layout(load(LAB).enterprises[0]),
        AsteriskConfig.model_validate(login),
        tell=tell,
        connected=lambda _: changed.set(),
        interrupted=changed.set,
        metrics=Metrics(),
        clock=lambda: now,
    )
    pbx.pbx_time = "1000.0"
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch.run(), name="watch")
        await until(lambda: watch.connected, changed)
        customer, phone = ("1.0", "PJSIP/trunk-01"), ("1.1", "PJSIP/101-02")
        pbx.send(
            heard("Newchannel", *customer, "ChannelState: 4", "Exten: 375172000000", "CallerIDNum: 375290000001"),
            heard("Newchannel", *phone, "ChannelState: 0", "Exten: s", "CallerIDNum: 101"),
            heard("BridgeEnter", *customer, "BridgeUniqueid: b"),
            heard("BridgeEnter", *phone, "BridgeUniqueid: b"),
        )
        await until(lambda: len(told) == 2, changed)
        pbx.drop()
        await until(lambda: not watch.connected, changed)
        now, pbx.pbx_time = 4590.0, "4600.0"
        await until(lambda: watch.connected, changed)
        ended = watch.tracker.expire(4603.0)
        running.cancel()

    (update,) = ended
    assert isinstance(update, CallFinished)
    assert (update.call.reason, update.call.talk_seconds) == (Reason.UNKNOWN_END, 100.0)
    assert update.call.ended_at.timestamp() == 1000.0
