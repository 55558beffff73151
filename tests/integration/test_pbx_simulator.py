"""The PBX simulator says what a real Asterisk said: its events against recordings, its answers, its dialplan."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from vochi_agent.asterisk.fastagi import FastAgiServer, Script
from vochi_agent.errors import PortTaken
from vochi_agent.protocols.agi import AgiRequest
from vochi_agent.protocols.ami import AmiReader, Message, encode_action
from vochi_agent.simulator.pbx import CallerIdSubroutine, ClickToCall, Display, Far, Pbx, User

SCENARIOS = Path(__file__).parent.parent / "scenarios"
PHONES = {"101": "Анна Отдел продаж", "102": "Борис", "103": "Вера", "104": "Глеб", "105": "Дарья",
          "106": "Егор Секретарь", "108": "Зоя", "109": "Игорь", "110": "Кира"}  # fmt: skip
TRUNK = "PJSIP/trunk"
USERS = {
    "vochi": User(secret="s3cret"),
    "calls": User(secret="s3cret", read=frozenset({"call"}), write=frozenset({"call"})),
}
# The events a call log needs; the rest of what Asterisk says (VarSet, Newexten, RTCP…) is not simulated.
COMPARED = frozenset(
    [
        "Newchannel",
        "NewCallerid",
        "NewConnectedLine",
        "Newstate",
        "DialBegin",
        "DialState",
        "DialEnd",
        "BridgeCreate",
        "BridgeEnter",
        "BridgeLeave",
        "BridgeDestroy",
        "HangupRequest",
        "SoftHangupRequest",
        "Hangup",
        "OriginateResponse",
        "QueueCallerJoin",
        "QueueCallerAbandon",
        "QueueCallerLeave",
        "BlindTransfer",
    ]
)
MOBILE = "80290000010"


class Client:
    """An AMI client that keeps every message."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._ami = AmiReader()
        self._pending: list[Message] = []

    @property
    def banner(self) -> str | None:
        """The greeting."""
        return self._ami.banner

    async def next(self) -> Message:
        """The next message; fails at the end of the stream."""
        while not self._pending:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionError("the simulator closed")
            self._pending = self._ami.receive_data(data)
        return self._pending.pop(0)

    async def ask(self, action: str, **fields: str) -> list[Message]:
        """The response to an action, and the items and end of the list when it is one."""
        self.writer.write(encode_action(action, fields, "x1"))
        answer: list[Message] = []
        while True:
            message = await self.next()
            if message.action_id != "x1":
                continue
            answer.append(message)
            if answer[0].get("EventList") != "start" or message.get("EventList") == "Complete":
                return answer

    async def until(self, event: str, **fields: str) -> list[Message]:
        """Every message up to and with this event."""
        seen: list[Message] = []
        while True:
            seen.append(await self.next())
            if seen[-1].event == event and all(seen[-1].get(name) == value for name, value in fields.items()):
                return seen


@asynccontextmanager
async def client(pbx: Pbx, user: str = "vochi") -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", pbx.manager.port)
    ami = Client(reader, writer)
    try:
        (response,) = await ami.ask("Login", Username=user, Secret="s3cret")
        assert response.response == "Success"
        yield ami
    finally:
        writer.close()


@pytest.fixture
async def pbx() -> AsyncIterator[Pbx]:
    async with asyncio.timeout(30), Pbx(phones=PHONES, trunks=[TRUNK], users=USERS, speed=50.0) as simulator:
        yield simulator


def recorded(scenario: str) -> list[Message]:
    return AmiReader().receive_data((SCENARIOS / scenario / "ami.raw").read_bytes())


def told(messages: list[Message]) -> dict[str, list[tuple[str, str, tuple[str, ...]]]]:
    """Per channel, in order of appearance: each event with what it decides and the names of its headers.

    Only the order within a channel is Asterisk's promise; across channels it differs from run to run.
    """
    names: dict[str, str] = {}
    story: dict[str, list[tuple[str, str, tuple[str, ...]]]] = defaultdict(list)
    for message in messages:
        if message.event not in COMPARED:
            continue
        channel = message.get("DestChannel") or message.get("Channel") or "bridge"
        if message.event == "OriginateResponse":
            channel = "response"  # comes from a thread of its own: before or after what the channel does next
        names.setdefault(channel, f"{channel.rpartition('-')[0] or channel} #{len(names)}")
        decides = message.get("DialStatus") or message.get("Cause") or message.get("ChannelStateDesc")
        headers = tuple(name for name, _ in message.headers)
        story[names[channel]].append((message.event, decides, headers))
    return dict(story)


Play = Callable[[Pbx], Awaitable[object]]


def inbound(**plan: object) -> Play:
    defaults = {"trunk": TRUNK, "did": "375172000001", "caller": "375290000001"}
    return lambda pbx: pbx.inbound(**{**defaults, **plan})  # type: ignore[arg-type]


def outbound(**plan: object) -> Play:
    defaults = {"extension": "101", "number": MOBILE, "trunk": TRUNK, "shown": "375172000000"}
    return lambda pbx: pbx.outbound(**{**defaults, **plan})  # type: ignore[arg-type]


PLAYS: Mapping[str, Play] = {
    "inbound-answered": inbound(ring=["101"], answer="101"),
    "inbound-answered-callee-hangs-up": inbound(ring=["102"], answer="102", caller_hangs_up=False),
    "inbound-anonymous": inbound(caller="anonymous", caller_name="Anonymous", ring=["101"], answer="101"),
    "inbound-noanswer": inbound(ring=["103"], timeout_s=4.0),
    "inbound-busy": inbound(ring=["105"], far={"105": Far.BUSY}),
    "inbound-declined": inbound(ring=["108"], far={"108": Far.DECLINES}),
    "inbound-offline": inbound(ring=["110"], far={"110": Far.OFFLINE}),
    "inbound-unreachable": inbound(ring=["109"], far={"109": Far.UNREACHABLE}, timeout_s=4.0),
    "inbound-caller-hangup-while-ringing": inbound(ring=["103"], gives_up_s=2.5),
    "inbound-ringgroup-one-answers": inbound(ring=["101", "103", "104"], answer="101"),
    "inbound-ringgroup-none": inbound(ring=["103", "104", "105"], far={"105": Far.BUSY}, timeout_s=4.0),
    "inbound-hunt": inbound(ring=["103"], then=[["101"]], answer="101", timeout_s=2.0),
    "outbound-answered": outbound(),
    "outbound-busy": outbound(far=Far.BUSY),
    "outbound-noanswer": outbound(answered=False, timeout_s=4.0),
    "outbound-congestion": outbound(far=Far.CONGESTED),
    "outbound-wrong-number": outbound(far=Far.WRONG_NUMBER),
    "outbound-caller-cancels": outbound(gives_up_s=2.0, answered=False),
    "blind-transfer": inbound(did="375172000040", ring=["106"], answer="106", transfer_to="101"),
    "internal-answered": lambda pbx: pbx.internal(extension="103", to="101"),
    "internal-missed": lambda pbx: pbx.internal(extension="101", to="103", answered=False, timeout_s=4.0),
}


async def heard(pbx: Pbx, play: Play) -> list[Message]:
    """Every event of a call."""
    async with client(pbx) as ami:
        await play(pbx)
        pbx.manager.publish("user", [("Event", "TheEnd")])
        return await ami.until("TheEnd")


@asynccontextmanager
async def daemon(
    pbx: Pbx, answer: Callable[[AgiRequest, float], Awaitable[Mapping[str, str]]], *, instance: str | None = None
) -> AsyncIterator[FastAgiServer]:
    """A FastAGI server that the dialplan of the PBX asks."""
    server = FastAgiServer(
        "127.0.0.1",
        0,
        scripts={"callerid": Script(answer, lambda _request, status: {"VOCHI_STATUS": status})},
        allow=[ip_network("127.0.0.0/8")],
        deadline_s=1.5,
    )
    async with server:
        pbx.subroutine = CallerIdSubroutine(
            host="127.0.0.1", port=server.port, arguments=("0901", "0001701"), instance=instance
        )
        yield server


async def name_the_caller(request: AgiRequest, cut: float) -> Mapping[str, str]:
    """As the laboratory's own server did: a hidden caller has no name."""
    return {} if request.caller_number == "anonymous" else {"CALLERID(name)": "Иван Петров"}


@pytest.mark.parametrize("scenario", PLAYS)
async def test_a_call_is_told_as_asterisk_told_it(scenario: str, pbx: Pbx) -> None:
    async with daemon(pbx, name_the_caller):
        simulated = told(await heard(pbx, PLAYS[scenario]))

    assert simulated == told(recorded(scenario))


async def test_a_caller_in_a_queue_is_told_as_asterisk_told_it(pbx: Pbx) -> None:
    """But for the cause of his hangup: the recorded caller named none, ours names 16."""
    play = inbound(did="375172000020", ring=["101", "103"], answer="101", queue="sales")
    async with daemon(pbx, name_the_caller):
        simulated = told(await heard(pbx, play))

    assert without_requests(simulated) == without_requests(told(recorded("inbound-queue-answered")))


async def test_a_caller_who_leaves_a_queue_is_told_as_asterisk_told_it(pbx: Pbx) -> None:
    """The recorded telephones rang twice, so only the caller's channel is compared."""
    play = inbound(did="375172000021", caller="+375290000003", ring=["103", "104"], queue="support", gives_up_s=4.5)
    async with daemon(pbx, name_the_caller):
        simulated = told(await heard(pbx, play))

    caller = f"{TRUNK} #0"
    assert without_requests(simulated)[caller] == without_requests(told(recorded("inbound-queue-abandoned")))[caller]


def without_requests(story: Mapping[str, list[tuple[str, str, tuple[str, ...]]]]) -> dict[str, object]:
    return {name: [each for each in events if each[0] != "HangupRequest"] for name, events in story.items()}


async def test_a_click_to_call_is_told_as_asterisk_told_it(pbx: Pbx) -> None:
    pbx.click = ClickToCall(trunk=TRUNK, shown="375172000000", talk_s=3600.0)
    async with client(pbx) as ami:
        (queued,) = await originate(ami, "101")
        story = await ami.until("BridgeEnter", BridgeNumChannels="2")
        ami.writer.write(encode_action("Hangup", {"Channel": story[-1].get("Channel")}, "x2"))
        story += await ami.until("Hangup")
        story += await ami.until("Hangup")

    assert queued.get("Message") == "Originate successfully queued"
    assert told(story) == told(recorded("click2call-answered"))
    assert pbx.displays[0].extension == "101"
    assert (pbx.displays[0].name, pbx.displays[0].number) == ("Заказ 42", MOBILE)


async def test_a_click_to_call_that_the_agent_does_not_answer_is_told_as_asterisk_told_it(pbx: Pbx) -> None:
    pbx.click = ClickToCall(trunk=TRUNK, agent_answers_after_s=None)
    async with client(pbx) as ami:
        await originate(ami, "103", Timeout="6000")
        story = await ami.until("Hangup")

    assert told(story) == told(recorded("click2call-agent-noanswer"))


async def originate(ami: Client, extension: str, **fields: str) -> list[Message]:
    return await ami.ask(
        "Originate",
        Channel=f"PJSIP/{extension}",
        Exten=MOBILE,
        Context="internal",
        Priority="1",
        CallerID=f'"Заказ 42" <{MOBILE}>',
        Async="true",
        **fields,
    )


async def test_a_handset_shows_what_the_daemon_set(pbx: Pbx) -> None:
    shown: list[Display] = []
    pbx._displayed = shown.append

    async def answer(request: AgiRequest, cut: float) -> Mapping[str, str]:
        assert request.arguments == ("0901", "0001701")
        return {"CALLERID(name)": 'ООО "Ромашка" | МТС Центр', "VOCHI_STATUS": "ok"}

    async with daemon(pbx, answer):
        linkedid = await pbx.inbound(trunk=TRUNK, did="0001701", caller="375290000022", ring=["101", "103"])

    assert [(display.extension, display.name, display.number) for display in pbx.displays] == [
        ("101", 'ООО "Ромашка" | МТС Центр', "375290000022"),
        ("103", 'ООО "Ромашка" | МТС Центр', "375290000022"),
    ]
    assert shown == pbx.displays
    assert float(linkedid) <= pbx.displays[0].at
    assert pbx.switch.channels == {}
    assert pbx.switch.bridges == {}


async def test_without_a_daemon_the_phone_rings_with_the_number(pbx: Pbx) -> None:
    pbx.subroutine = CallerIdSubroutine(host="127.0.0.1", port=1, instance=None)
    await pbx.inbound(trunk=TRUNK, did="0001701", caller="375290000022", ring=["101"], answer="101")

    assert [(display.name, display.number) for display in pbx.displays] == [("", "375290000022")]


@pytest.mark.parametrize(("age_s", "asked"), [(0, True), (4, True), (6, False), (None, False)])
async def test_the_dialplan_asks_only_a_daemon_whose_heart_beats(age_s: int | None, asked: bool, pbx: Pbx) -> None:
    async with daemon(pbx, name_the_caller, instance="a") as server, client(pbx) as ami:
        if age_s is not None:
            beat = str(int(pbx.switch.clock()) - age_s)
            await ami.ask("Setvar", Variable="VOCHI_ALIVE_a", Value=beat)
        await pbx.inbound(trunk=TRUNK, did="0001701", caller="375290000022", ring=["101"], answer="101")

    assert server.stats.requests == asked
    assert pbx.displays[0].name == ("Иван Петров" if asked else "")


@pytest.mark.parametrize("mischief", [b"", b'SET VARIABLE A "1"\nSET VARIABLE B "2"\n'])
async def test_a_daemon_that_hangs_the_session_is_left_after_two_seconds(mischief: bytes, pbx: Pbx) -> None:
    gone = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\n\n")
        writer.write(mischief)
        await reader.read()
        writer.close()
        gone.set()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pbx.subroutine = CallerIdSubroutine(host="127.0.0.1", port=port, instance=None)
        started = asyncio.get_running_loop().time()
        await pbx.inbound(trunk=TRUNK, did="0001701", caller="375290000022", ring=["101"], answer="101")
        took = asyncio.get_running_loop().time() - started
        await gone.wait()

    assert 2.0 <= took < 3.0
    assert len(pbx.displays) == 1


async def test_a_caller_who_leaves_during_the_lookup_ends_it(pbx: Pbx) -> None:
    cancelled = asyncio.Event()

    async def slow(request: AgiRequest, cut: float) -> Mapping[str, str]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return {}

    async with daemon(pbx, slow) as server:
        story = told(await heard(pbx, inbound(ring=["101"], gives_up_s=10.0)))
        await cancelled.wait()

    assert server.stats.hangups == 1
    assert [event for event, _, _ in story["PJSIP/trunk #0"]] == [
        "Newchannel",
        "HangupRequest",
        "SoftHangupRequest",
        "Hangup",
    ]


async def test_a_caller_who_leaves_in_the_greeting_reached_no_phone(pbx: Pbx) -> None:
    story = told(await heard(pbx, inbound(ring=["101"], greeting_s=10.0, gives_up_s=5.0)))

    assert list(story) == ["PJSIP/trunk #0"]
    assert [(event, decides) for event, decides, _ in story["PJSIP/trunk #0"]] == [
        ("Newchannel", "Ring"),
        ("Newstate", "Up"),
        ("HangupRequest", "16"),
        ("SoftHangupRequest", "16"),
        ("Hangup", "16"),
    ]


async def test_the_dialplan_tells_the_line_of_an_outgoing_call(pbx: Pbx) -> None:
    story = await heard(pbx, outbound(line="0001701"))

    marks = [(m.get("Variable"), m.get("Value")) for m in story if m.event == "VarSet" and "LINE" in m.get("Variable")]
    assert marks == [("__VOCHI_LINE", "0001701")]


async def test_live_channels_and_bridges_are_listed(pbx: Pbx) -> None:
    async with asyncio.TaskGroup() as calls, client(pbx) as ami:
        call = calls.create_task(
            pbx.inbound(
                trunk=TRUNK, did="0001701", caller="375290000022", caller_name="О'Нил", ring=["101"], answer="101",
                talk_s=3600.0,
            )
        )  # fmt: skip
        await ami.until("BridgeEnter", BridgeNumChannels="2")
        _, *channels, channels_end = await ami.ask("CoreShowChannels")
        _, bridge, bridges_end = await ami.ask("BridgeList")
        _, *members, members_end = await ami.ask("BridgeInfo", BridgeUniqueid=bridge.get("BridgeUniqueid"))
        (ended,) = await ami.ask("Hangup", Channel=channels[0].get("Channel"))
        await call

    assert [channel.event for channel in channels] == ["CoreShowChannel"] * 2
    assert {channel.get("BridgeId") for channel in channels} == {bridge.get("BridgeUniqueid")}
    assert {channel.get("Linkedid") for channel in channels} == {call.result()}
    assert "О'Нил" in {channel.get("CallerIDName") for channel in channels}
    assert (channels_end.event, channels_end.get("ListItems")) == ("CoreShowChannelsComplete", "2")
    assert (bridge.get("BridgeNumChannels"), bridges_end.get("ListItems")) == ("2", "1")
    assert [member.event for member in members] == ["BridgeInfoChannel"] * 2
    assert members_end.get("BridgeUniqueid") == bridge.get("BridgeUniqueid")
    assert ended.get("Message") == "Channel Hungup"


async def test_a_call_that_is_cancelled_in_the_middle_leaves_nothing(pbx: Pbx) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await inbound(ring=["101"], answer="101", talk_s=3600.0)(pbx)

    assert pbx.switch.channels == {}
    assert pbx.switch.bridges == {}


async def test_closing_ends_what_was_originated() -> None:
    async with asyncio.timeout(10), Pbx(phones=PHONES, trunks=[TRUNK], users=USERS, speed=50.0) as pbx:
        pbx.click = ClickToCall(trunk=TRUNK, talk_s=3600.0)
        async with client(pbx) as ami:
            await originate(ami, "101")
            await ami.until("BridgeEnter", BridgeNumChannels="2")

    assert pbx.switch.channels == {}


async def test_the_states_of_telephones_are_told(pbx: Pbx) -> None:
    async with client(pbx) as ami:

        async def state(device: str) -> str:
            (answer,) = await ami.ask("Getvar", Variable=f"DEVICE_STATE({device})")
            return answer.get("Value")

        assert [await state(device) for device in ("PJSIP/101", "PJSIP/999", "SIP/101")] == [
            "NOT_INUSE",
            *["INVALID"] * 2,
        ]
        pbx.click = ClickToCall(trunk=TRUNK, agent_answers_after_s=0.5, talk_s=3600.0)
        await originate(ami, "101")
        await ami.until("DialState")
        assert await state("PJSIP/101") == "RINGING"
        await ami.until("BridgeEnter", BridgeNumChannels="2")
        assert (await state("PJSIP/101"), await state(TRUNK)) == ("INUSE", "INUSE")


@pytest.mark.parametrize(
    ("action", "fields", "sentence"),
    [
        ("Nonsense", {}, "Invalid/unknown command: Nonsense. Use Action: ListCommands to show available commands."),
        ("Setvar", {}, "No variable specified"),
        ("Setvar", {"Variable": "A", "Channel": "PJSIP/none"}, "No such channel"),
        ("Getvar", {}, "No variable specified"),
        ("Getvar", {"Variable": "A", "Channel": "PJSIP/none"}, "No such channel"),
        ("Hangup", {}, "No channel specified"),
        ("Hangup", {"Channel": "PJSIP/none"}, "No such channel"),
        ("BridgeInfo", {}, "BridgeUniqueid must be provided"),
        ("BridgeInfo", {"BridgeUniqueid": "x"}, "Specified BridgeUniqueid not found"),
        ("Originate", {}, "Channel not specified"),
        ("Originate", {"Channel": "PJSIP"}, "Invalid channel"),
        ("Originate", {"Channel": "PJSIP/101"}, "Extension does not exist."),
        ("Challenge", {"AuthType": "SHA"}, "Must specify AuthType"),
    ],
)
async def test_refusals_are_worded_as_asterisk_words_them(
    action: str, fields: dict[str, str], sentence: str, pbx: Pbx
) -> None:
    async with client(pbx) as ami:
        (refusal,) = await ami.ask(action, **fields)

    assert (refusal.response, refusal.get("Message")) == ("Error", sentence)


async def test_simple_actions_answer(pbx: Pbx) -> None:
    async with client(pbx) as ami:
        (pong,) = await ami.ask("Ping")
        await ami.ask("Setvar", Variable="X", Value="1")
        (value,) = await ami.ask("Getvar", Variable="X")
        (settings,) = await ami.ask("CoreSettings")
        (status,) = await ami.ask("CoreStatus")
        (goodbye,) = await ami.ask("Logoff")
        with pytest.raises(ConnectionError):
            await ami.next()

        assert ami.banner == "Asterisk Call Manager/11.0.0"
    assert pong.get("Ping") == "Pong"
    assert abs(float(pong.get("Timestamp")) - pbx.switch.clock()) < 5
    assert value.get("Value") == "1"
    assert settings.get("AsteriskVersion") == "22.10.1"
    assert status.get("CoreCurrentCalls") == "0"
    assert goodbye.response == "Goodbye"


async def test_a_login_by_challenge_is_accepted_and_a_wrong_one_closed(pbx: Pbx) -> None:
    for secret, response in (("s3cret", "Success"), ("wrong", "Error")):
        reader, writer = await asyncio.open_connection("127.0.0.1", pbx.manager.port)
        ami = Client(reader, writer)
        (challenge,) = await ami.ask("Challenge", AuthType="MD5")
        key = hashlib.md5((challenge.get("Challenge") + secret).encode()).hexdigest()
        (answer,) = await ami.ask("Login", AuthType="MD5", Username="vochi", Key=key)
        assert answer.response == response
        if response == "Error":
            with pytest.raises(ConnectionError):
                await ami.next()
        writer.close()


async def test_a_stranger_may_nothing_and_a_poor_user_little(pbx: Pbx) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", pbx.manager.port)
    (refusal,) = await Client(reader, writer).ask("Ping")
    writer.close()
    async with client(pbx, "calls") as ami:
        (channels,) = await ami.ask("CoreShowChannels")
        (pong,) = await ami.ask("Ping")
        await pbx.inbound(trunk=TRUNK, did="0001701", caller="375290000022", ring=["101"], answer="101")
        pbx.manager.publish("call", [("Event", "TheEnd")])
        events = {message.event for message in await ami.until("TheEnd")}

    assert refusal.get("Message") == "Permission denied"
    assert channels.get("Message") == "Permission denied"
    assert pong.response == "Success"
    assert "Hangup" in events
    assert "VarSet" not in events


async def test_a_frozen_manager_keeps_the_connection_and_says_nothing(pbx: Pbx) -> None:
    async with client(pbx) as ami:
        pbx.manager.freeze(frozen=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await ami.ask("Ping")
        pbx.manager.freeze(frozen=False)
        assert (await ami.next()).get("Ping") == "Pong"


async def test_a_restart_cuts_every_session(pbx: Pbx) -> None:
    async with client(pbx) as first, client(pbx) as second:
        pbx.manager.disconnect()
        for ami in (first, second):
            with pytest.raises(ConnectionError):
                await ami.until("nothing")


async def test_a_taken_ami_port_is_named(pbx: Pbx) -> None:
    second = Pbx(phones=PHONES, trunks=[TRUNK], users=USERS, port=pbx.manager.port)
    with pytest.raises(PortTaken, match="AMI of the simulator"):
        await second.__aenter__()
