"""The AMI codec. The first tests are defects that other clients really have."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.errors import LocalProtocolError, RemoteProtocolError
from vochi_agent.protocols.ami import AmiReader, Message, encode_action, encode_message, escape_c, unescape_c

SCENARIOS = Path(__file__).parents[2] / "scenarios"
BANNER = b"Asterisk Call Manager/11.0.0\r\n"
STREAM = (
    BANNER
    + (
        "Response: Success\r\nActionID: 1\r\nMessage: Authentication accepted\r\n\r\n"
        'Event: Newchannel\r\nPrivilege: call,all\r\nChannel: PJSIP/trunk-1\r\nCallerIDName: Ёлка \\"И\\" О\\\'Нил\r\n'
        "AccountCode: \r\nUniqueid: 1.0\r\n\r\n"
        "Event: TestEvent\r\nState: CallIDChange\r\nState: Second\r\nToken: ALL\r\n\r\n\r\n"
        "Event: Hangup\r\nUniqueid: 1.0\r\nCause: 16\r\nCause-txt: \r\n\r\n"
    ).encode()
)


def read(*chunks: bytes) -> list[Message]:
    reader = AmiReader()
    return [message for chunk in chunks for message in reader.receive_data(chunk)]


def test_a_letter_split_between_two_segments_arrives_whole() -> None:
    """Panoramisk decodes each segment alone and drops the halves: `Ёлка` became `лка`."""
    wire = "Event: NewCallerid\r\nCallerIDName: Ёлка\r\n\r\n".encode()
    cut = wire.index("Ё".encode()) + 1

    (message,) = read(BANNER, wire[:cut], wire[cut:])

    assert message["CallerIDName"] == "Ёлка"


def test_a_second_event_header_is_kept_and_the_first_one_counts() -> None:
    """Panoramisk makes a list of it, fails, and asyncio closes the connection."""
    (message,) = read(BANNER, b"Event: UserEvent\r\nUserEvent: Mark\r\nEvent: Hangup\r\n\r\n")

    assert message.event == "UserEvent"
    assert message.all("Event") == ["UserEvent", "Hangup"]


def test_an_empty_last_header_is_there() -> None:
    """Panoramisk strips lines; 59 of 502 recorded events lost a header so."""
    (message,) = read(BANNER, b"Event: Hangup\r\nUniqueid: 1.0\r\nAccountCode: \r\n\r\n")

    assert "AccountCode" in message
    assert message["AccountCode"] == ""


def test_events_of_one_segment_come_in_the_order_of_the_wire() -> None:
    """wazo-amid published the newest first."""
    wire = b"".join(b"Event: E%d\r\nN: %d\r\n\r\n" % (number, number) for number in range(50))

    assert [f"E{number}" for number in range(50)] == [message.event for message in read(BANNER, wire)]


@pytest.mark.parametrize("evil", ["a\r\nAction: Originate", "a\nb", "a\rb", "a\0b"])
def test_a_value_cannot_break_out_of_its_line(evil: str) -> None:
    """Panoramisk executed a Setvar that stood inside another Setvar's value."""
    with pytest.raises(LocalProtocolError) as caught:
        encode_action("Setvar", {"Variable": "NAME", "Value": evil}, "1")
    with pytest.raises(LocalProtocolError):
        encode_action(evil, {}, "1")
    with pytest.raises(LocalProtocolError):
        encode_action("Setvar", {evil: "1"}, "1")
    with pytest.raises(LocalProtocolError):
        encode_action("Ping", {}, evil)

    assert evil not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a:b"])
def test_a_header_name_is_neither_empty_nor_holds_a_colon(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        encode_action("Setvar", [(name, "1")], "1")


def test_half_a_surrogate_pair_is_refused_and_not_raised_as_a_unicode_error() -> None:
    with pytest.raises(LocalProtocolError):
        encode_action("Setvar", {"Value": "\udcff"}, "1")


def test_every_cut_of_the_stream_gives_the_same_messages() -> None:
    whole = read(STREAM)

    assert [len(message.headers) + (index == 0) for index, message in enumerate(whole)] == [4, 6, 4, 4]
    for cut in range(len(STREAM) + 1):
        assert whole == read(STREAM[:cut], STREAM[cut:]), cut
    assert whole == read(*(bytes([byte]) for byte in STREAM))


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=12))
def test_any_chunking_gives_the_same_messages(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]

    assert read(STREAM) == read(*(STREAM[start:end] for start, end in pairwise(edges)))


def test_any_chunking_leaves_the_same_filter_decisions() -> None:
    for size in (1, 3, 97, 1448):
        reader = AmiReader({"Hangup"})
        chunks = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]

        kinds = [message.headers[0] for chunk in chunks for message in reader.receive_data(chunk)]

        assert kinds == [("Response", "Success"), ("Event", "Hangup")]


def test_recordings_read_the_same_in_small_and_in_large_chunks() -> None:
    recordings = sorted(SCENARIOS.rglob("ami.raw"))
    assert recordings
    for recording in recordings:
        wire = recording.read_bytes()
        pieces = [wire[start : start + 97] for start in range(0, len(wire), 97)]

        assert read(wire) == read(*pieces), recording


def test_the_banner_is_taken_off_even_in_pieces() -> None:
    reader = AmiReader()

    assert reader.receive_data(b"Asterisk Call Mana") == []
    assert reader.banner is None
    assert reader.receive_data(b"ger/5.0.4\r") == []
    assert reader.receive_data(b"\nEvent: FullyBooted\r\n\r\n")[0].event == "FullyBooted"
    assert reader.banner == "Asterisk Call Manager/5.0.4"


def test_a_stream_without_a_banner_is_read_too() -> None:
    """The server side reads actions, and a recording may begin anywhere."""
    reader = AmiReader()

    (action,) = reader.receive_data(encode_action("Ping", {}, "7"))

    assert reader.banner is None
    assert action.headers == (("Action", "Ping"), ("ActionID", "7"))


def test_line_ends_of_unicode_are_part_of_a_name() -> None:
    """str.splitlines() would cut here and let a caller's name forge headers."""
    (message,) = read(BANNER, "Event: E\r\nCallerIDName: a\u2028Linkedid: b\x85c\x0bd\ne\r\n\r\n".encode())

    assert message["CallerIDName"] == "a\u2028Linkedid: b\x85c\x0bd\ne"
    assert "Linkedid" not in message


def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    """A name in CP1251, from whatever printed it raw."""
    (message,) = read(BANNER, b"Event: E\r\nCallerIDName: \xc8\xe2\xe0\xed\r\nUniqueid: 1.0\r\n\r\n")

    assert message["Uniqueid"] == "1.0"
    assert set(message["CallerIDName"]) == {"\ufffd"}


def test_colons_and_leading_blanks_of_a_value_stay() -> None:
    (message,) = read(BANNER, b"Event: E\r\nAppData:  a: b \r\nNoBlank:x\r\nno colon\r\n\r\n")

    assert message["AppData"] == " a: b "
    assert message["NoBlank"] == "x"
    assert message.get("no colon", "missing") == ""


def test_another_spelling_of_a_header_counts_when_there_is_none_as_asterisk_writes_it() -> None:
    (message,) = read(BANNER, b"Event: E\r\nA:1\r\nB:2\r\nC\r\nA: 3\r\n\r\n")

    assert message.values(("A", "B", "C", "D")) == ["3", "2", "", ""]
    assert [message.get(name, "-") for name in "ABCD"] == ["3", "2", "", "-"]
    assert message.headers == (("Event", "E"), ("A", "1"), ("B", "2"), ("C", ""), ("A", "3"))


def test_repeated_headers_keep_their_order_and_lookups_give_the_first() -> None:
    (message,) = read(BANNER, b"Response: Success\r\nActionID: 3\r\nOutput: one\r\nOutput: \r\nOutput: two\r\n\r\n")

    assert message.all("Output") == ["one", "", "two"]
    assert message["Output"] == "one"
    assert (message.response, message.action_id, message.event) == ("Success", "3", "")


def test_missing_headers() -> None:
    (message,) = read(BANNER, b"Event: Hangup\r\n\r\n")

    assert message.get("Cause") == ""
    assert message.get("Cause", "0") == "0"
    assert message.action_id == ""
    with pytest.raises(KeyError):
        message["Cause"]


def test_only_the_first_header_says_what_a_frame_is() -> None:
    """The value of a variable that Getvar prints must not turn its response into an event."""
    (message,) = read(BANNER, b"Response: Success\r\nValue: x\r\nEvent: Hangup\r\n\r\n")

    assert (message.response, message.event) == ("Success", "")


def test_the_repr_shows_no_values() -> None:
    (message,) = read(BANNER, b"Event: Newchannel\r\nCallerIDNum: 375290000001\r\n\r\n")

    assert repr(message) == "<Message Event: Newchannel, 2 headers>"


@pytest.mark.parametrize(
    ("frame", "kept"),
    [
        (b"Event: Hangup\r\nUniqueid: 1", True),
        (b"Event: Hangup", True),
        (b"Event: Newexten\r\nUniqueid: 1", False),
        (b"Event: Newexten", False),
        (b"\r\nEvent: Newexten\r\nUniqueid: 1", False),
        (b"Event: HangupRequest\r\nUniqueid: 1", False),
        (b"Event: CoreShowChannel\r\nActionID: 4\r\nUniqueid: 1", True),
        (b"Response: Success\r\nPing: Pong", True),
        (b"Event: VarSet\r\nUniqueid: 1\r\nVariable: DIALSTATUS\r\nValue: BUSY", True),
        (b"Event: VarSet\r\nUniqueid: 1\r\nVariable: DIALSTATUS2\r\nValue: BUSY", False),
        (b"Event: VarSet\r\nUniqueid: 1\r\nVariable: SIPDOMAIN\r\nValue: DIALSTATUS", False),
        (b"Event: VarSet\r\nUniqueid: 1", False),
    ],
)
def test_an_event_is_read_when_its_name_is_wanted_or_it_may_answer_an_action(frame: bytes, *, kept: bool) -> None:
    reader = AmiReader({"Hangup", "VarSet"}, only={"VarSet": ("Variable", {"DIALSTATUS"})})

    messages = reader.receive_data(BANNER + b"Event: Hangup\r\n\r\n" + frame + b"\r\n\r\n")

    assert kept == (len(messages) == 2)


def test_an_action_id_saves_no_event_while_nobody_waits_for_an_answer() -> None:
    item = BANNER + b"Event: CoreShowChannel\r\nActionID: 4\r\n\r\nResponse: Success\r\nActionID: 4\r\n\r\n"

    assert [message.event for message in AmiReader({"Hangup"}).receive_data(item)] == ["CoreShowChannel", ""]
    assert [message.event for message in AmiReader({"Hangup"}).receive_data(item, answers=False)] == [""]
    assert len(AmiReader().receive_data(item, answers=False)) == 2


def test_every_variable_is_read_unless_some_are_named() -> None:
    reader = AmiReader({"VarSet"})

    assert len(reader.receive_data(BANNER + b"Event: VarSet\r\nVariable: X\r\nValue: 1\r\n\r\n")) == 1


@pytest.mark.parametrize("size", [1, 7, 1001])
def test_a_frame_without_an_end_is_refused_at_the_limit(size: int) -> None:
    reader = AmiReader(max_frame=1000)
    reader.receive_data(BANNER)
    for _ in range(1000 // size):
        assert reader.receive_data(b"x" * size) == []

    with pytest.raises(RemoteProtocolError):
        reader.receive_data(b"x" * size)


def test_a_frame_over_the_limit_is_refused_even_when_it_comes_whole() -> None:
    with pytest.raises(RemoteProtocolError):
        AmiReader(max_frame=1000).receive_data(BANNER + b"Event: E\r\nA: " + b"x" * 1000 + b"\r\n\r\n")


def test_many_frames_in_one_chunk_may_be_longer_than_the_limit_together() -> None:
    assert len(AmiReader(max_frame=20).receive_data(b"A: 1\r\n\r\n" * 100)) == 100


def test_a_greeting_without_an_end_is_refused_at_the_limit() -> None:
    with pytest.raises(RemoteProtocolError):
        AmiReader(max_frame=1000).receive_data(b"\xff" * 1001)


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=20))
def test_garbage_gives_messages_or_a_protocol_error_and_nothing_else(garbage: bytes, size: int) -> None:
    reader = AmiReader({"Hangup"}, max_frame=100, only={"Hangup": ("Cause", {"16"})})
    try:
        for start in range(0, len(garbage), size):
            for message in reader.receive_data(garbage[start : start + size]):
                assert message.headers
    except RemoteProtocolError:
        pass


def test_the_end_of_the_stream_drops_half_a_message_and_says_so() -> None:
    reader = AmiReader()
    reader.receive_data(BANNER + b"Event: Hangup\r\n\r\nEvent: Han")

    assert reader.receive_eof() == len(b"Event: Han")
    assert reader.receive_eof() == 0


ESCAPED = r"Пётр \"Кавычки\" О\'Нил \\ \t \?"
PLAIN = 'Пётр "Кавычки" О\'Нил \\ \t ?'


@pytest.mark.parametrize(
    ("event", "header"),
    [
        ("Newchannel", "CallerIDName"),
        ("NewCallerid", "ConnectedLineName"),
        ("DialBegin", "DestCallerIDName"),
        ("LocalBridge", "LocalTwoConnectedLineName"),
        ("CoreShowChannel", "CallerIDName"),
        ("VarSet", "Value"),
    ],
)
def test_escapes_are_undone_where_asterisk_escapes(event: str, header: str) -> None:
    wire = f"Event: {event}\r\n{header}: {ESCAPED}\r\n\r\n".encode()

    assert read(BANNER, wire)[0][header] == PLAIN
    assert encode_message([("Event", event), (header, PLAIN)]) == wire


@pytest.mark.parametrize(
    ("event", "header"),
    [
        ("OriginateResponse", "CallerIDName"),
        ("QueueEntry", "ConnectedLineName"),
        ("Status", "EffectiveConnectedLineName"),
        ("CEL", "CallerIDname"),
        ("UserEvent", "Value"),
        ("Newexten", "AppData"),
        ("AGIExecStart", "Command"),
    ],
)
def test_backslashes_stay_where_asterisk_prints_raw_text(event: str, header: str) -> None:
    wire = f"Event: {event}\r\n{header}: {ESCAPED}\r\n\r\n".encode()

    assert read(BANNER, wire)[0][header] == ESCAPED


def test_the_value_of_getvar_is_raw() -> None:
    assert read(BANNER, b"Response: Success\r\nVariable: G\r\nValue: a\\\\b\r\n\r\n")[0]["Value"] == "a\\\\b"


def test_every_escape_of_asterisk_is_known() -> None:
    assert escape_c("\a\b\f\n\r\t\v\\'\"?") == r"\a\b\f\n\r\t\v\\\'\"\?"
    assert unescape_c(r"\a\b\f\n\r\t\v\\\'\"\?") == "\a\b\f\n\r\t\v\\'\"?"


def test_an_unknown_escape_and_a_last_backslash_stay() -> None:
    assert unescape_c("a\\qb\\") == "a\\qb\\"
    assert unescape_c(r"\\n") == r"\n"


@given(st.text())
def test_unescaping_undoes_escaping(text: str) -> None:
    assert unescape_c(escape_c(text)) == text


LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(st.lists(st.tuples(st.sampled_from(["CallerIDName", "Variable", "Value", "Output"]), LINE)))
def test_what_a_pbx_sends_is_what_a_client_reads(fields: list[tuple[str, str]]) -> None:
    for opening in (("Event", "VarSet"), ("Event", "QueueEntry"), ("Response", "Success")):
        (message,) = AmiReader().receive_data(encode_message([opening, *fields]))

        assert list(message.headers) == [opening, *fields]


def test_an_action_keeps_repeated_fields_in_order() -> None:
    wire = encode_action("Originate", [("Variable", "A=1"), ("Variable", "B=Ё")], "9")

    assert wire == "Action: Originate\r\nActionID: 9\r\nVariable: A=1\r\nVariable: B=Ё\r\n\r\n".encode()


def test_an_action_needs_neither_fields_nor_an_id() -> None:
    assert encode_action("Logoff") == b"Action: Logoff\r\n\r\n"
