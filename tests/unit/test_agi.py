"""The FastAGI codec: both halves, cut at every offset, against hostile values."""

import contextlib
import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.errors import LocalProtocolError, RemoteProtocolError
from vochi_agent.protocols.agi import (
    MAX_COMMAND_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADER_LINES,
    AgiEvent,
    AgiHangup,
    AgiReader,
    AgiReply,
    AgiRequest,
    set_variable,
)
from vochi_agent.protocols.agi_pbx import (
    AgiCommandReader,
    encode_environment,
    encode_reply,
    encode_usage_error,
    split_command,
)

# As Asterisk 22.10.1 sent it for a call from a SIP provider.
ENVIRONMENT = """\
agi_network: yes
agi_network_script: callerid
agi_request: agi://127.0.0.1:4577/callerid
agi_channel: PJSIP/trunk-00000000
agi_language: en
agi_type: PJSIP
agi_uniqueid: 1795173719.0
agi_version: 22.10.1+dfsg+~cs6.17.60671434-1
agi_callerid: 375290000001
agi_calleridname: Ёлка Иванова
agi_callingpres: 0
agi_callingani2: 0
agi_callington: 0
agi_callingtns: 0
agi_dnid: 375172000001
agi_rdnis: unknown
agi_context: from-trunk
agi_extension: 375172000001
agi_priority: 4
agi_enhanced: 0.0
agi_accountcode: \n\
agi_threadid: 139619934234304
agi_arg_1: 0901
agi_arg_2: 0001701

""".encode()
USAGE = b" Usage: SET VARIABLE <variablename> <value>\n\tSets a variable to the current channel.\n"
SESSION = (
    ENVIRONMENT
    + b"200 result=1\n"
    + b"520-Invalid command syntax.  Proper usage follows:\n"
    + USAGE
    + b"520 End of proper usage.\n"
    + b"HANGUP\n"
    + b"200 result=1 (\xd0\x81\xd0\xbb\xd0\xba\xd0\xb0 (x))\n"
    + b"511 Command Not Permitted on a dead channel or intercept routine\n"
)


def read(*chunks: bytes) -> list[AgiEvent]:
    reader = AgiReader()
    return [event for chunk in chunks for event in reader.feed(chunk)]


def request(environment: bytes) -> AgiRequest:
    (event,) = read(environment)
    assert isinstance(event, AgiRequest)
    return event


def test_the_environment_of_a_real_call_is_read() -> None:
    call = request(ENVIRONMENT)

    assert call.script == "callerid"
    assert call.arguments == ("0901", "0001701")
    assert call.caller_number == "375290000001"
    assert call.caller_name == "Ёлка Иванова"
    assert call.dnid == "375172000001"
    assert call.extension == "375172000001"
    assert call.context == "from-trunk"
    assert call.channel == "PJSIP/trunk-00000000"
    assert call.uniqueid == "1795173719.0"
    assert call.fields["accountcode"] == ""


def test_a_session_reads_the_same_wherever_tcp_cuts_it() -> None:
    whole = read(SESSION)

    assert [type(event) for event in whole] == [AgiRequest, AgiReply, AgiReply, AgiHangup, AgiReply, AgiReply]
    for cut in range(len(SESSION) + 1):
        assert read(SESSION[:cut], SESSION[cut:]) == whole, f"cut at {cut}"


def test_a_session_reads_the_same_byte_by_byte() -> None:
    assert read(*(bytes([byte]) for byte in SESSION)) == read(SESSION)


@given(st.lists(st.integers(0, len(SESSION)), max_size=12))
def test_a_session_reads_the_same_in_any_chunks(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(SESSION)]

    assert read(*(SESSION[start:end] for start, end in itertools.pairwise(edges))) == read(SESSION)


def test_a_usage_error_of_several_lines_is_one_reply_and_the_next_reply_is_not_shifted() -> None:
    _, first, usage, _, second, dead = read(SESSION)

    assert first == AgiReply(200, "1")
    assert isinstance(usage, AgiReply)
    assert usage.code == 520
    assert "Usage: SET VARIABLE" in usage.data
    assert second == AgiReply(200, "1", "Ёлка (x)")
    assert dead == AgiReply(511, data="Command Not Permitted on a dead channel or intercept routine")


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"200 result=1\n", AgiReply(200, "1")),
        (b"200 result=0\n", AgiReply(200, "0")),
        (b"200 result=-1 (timeout)\n", AgiReply(200, "-1", "timeout")),
        (b"200 result=1 (a) endpos=42\n", AgiReply(200, "1", "a")),
        (b"510 Invalid or unknown command\n", AgiReply(510, data="Invalid or unknown command")),
        (b"520 Invalid command syntax.  Proper usage not available.\n",
         AgiReply(520, data="Invalid command syntax.  Proper usage not available.")),
    ],
)  # fmt: skip
def test_every_form_of_reply_is_read(line: bytes, reply: AgiReply) -> None:
    assert read(ENVIRONMENT, line)[1:] == [reply]


def test_a_name_in_cp1251_costs_letters_and_not_the_session() -> None:
    call = request(ENVIRONMENT.replace("Ёлка Иванова".encode(), "Ёлка Иванова".encode("cp1251")))

    assert call.caller_name == "\ufffd" * 4 + " " + "\ufffd" * 7
    assert call.dnid == "375172000001"


def test_of_a_repeated_field_the_first_value_wins() -> None:
    call = request(b"agi_dnid: 100\nagi_dnid: 200\nagi_arg_1: a\n\n")

    assert call.dnid == "100"
    assert call.arguments == ("a",)


def test_a_line_that_is_no_field_is_skipped() -> None:
    assert request(b"agi_calleridname: x\ny\nEXEC: z\nagi_dnid: 7\n\n").fields == {"calleridname": "x", "dnid": "7"}


def test_what_asterisk_calls_unknown_is_nothing() -> None:
    call = request(b"agi_callerid: unknown\nagi_calleridname: unknown\nagi_dnid: unknown\n\n")

    assert (call.caller_number, call.caller_name, call.dnid) == ("", "", "")


@pytest.mark.parametrize(
    ("script", "path"),
    [
        ("callerid", ("callerid",)),
        ("route", ("route",)),
        ("callerid/0901/0001701", ("callerid", "0901", "0001701")),
        ("/callerid//", ("callerid",)),
        ("callerid?line=7", ("callerid",)),
        ("", ()),
    ],
)
def test_the_path_of_the_url_is_split(script: str, path: tuple[str, ...]) -> None:
    assert request(f"agi_network: yes\nagi_network_script: {script}\n\n".encode()).path == path


def test_an_empty_argument_keeps_its_place() -> None:
    assert request(encode_environment({}, ["", "0001701"])).arguments == ("", "0001701")


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02", b"\n\n", b"ag!", b"\0"])
def test_what_is_not_agi_is_refused_at_its_first_bytes(garbage: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read(garbage)


def test_an_environment_of_the_largest_size_is_read_and_one_byte_more_is_refused() -> None:
    def environment(size: int) -> bytes:
        return b"agi_a: ".ljust(size, b"x") + b"\n\n"

    assert request(environment(MAX_HEADER_BYTES)).fields["a"]
    assert request_of_single_bytes(environment(MAX_HEADER_BYTES)).fields["a"]
    with pytest.raises(RemoteProtocolError, match="longer"):
        read(environment(MAX_HEADER_BYTES + 1))
    with pytest.raises(RemoteProtocolError, match="longer"):
        read(b"agi_a: " + b"x" * MAX_HEADER_BYTES)


def test_an_environment_of_the_most_lines_is_read_and_one_line_more_is_refused() -> None:
    lines = b"agi_a: 1\n" * MAX_HEADER_LINES

    assert request(lines + b"\n").fields == {"a": "1"}
    assert request_of_single_bytes(lines + b"\n").fields == {"a": "1"}
    with pytest.raises(RemoteProtocolError, match="lines"):
        read(lines + b"agi_a: 1\n\n")
    with pytest.raises(RemoteProtocolError, match="lines"):
        read(lines + b"agi_a: 1\n")


def request_of_single_bytes(environment: bytes) -> AgiRequest:
    (event,) = read(*(bytes([byte]) for byte in environment))
    assert isinstance(event, AgiRequest)
    return event


@pytest.mark.parametrize("endless", [b"x" * 9000, b"200 result=" + b"1" * 9000, b"520-x\n" + b"usage\n" * 2000])
def test_an_endless_reply_is_refused(endless: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read(ENVIRONMENT, endless)


def test_a_reply_without_a_code_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="code"):
        read(ENVIRONMENT, b"hello\n")


@given(st.lists(st.binary(max_size=64), max_size=8), st.booleans())
def test_no_bytes_break_the_reader_in_another_way(chunks: list[bytes], after_environment: bool) -> None:
    with contextlib.suppress(RemoteProtocolError):
        read(*([ENVIRONMENT] if after_environment else []), *chunks)


def test_a_value_is_quoted_and_escaped() -> None:
    command = set_variable("CALLERID(name)", 'ООО "Ромашка" \\ Центр')

    assert command == 'SET VARIABLE CALLERID(name) "ООО \\"Ромашка\\" \\\\ Центр"\n'.encode()


def test_a_line_end_in_a_name_is_no_second_command() -> None:
    command = set_variable("CALLERID(name)", 'x"\r\nEXEC System "id\0\x1b\x85\u2028')

    assert command.count(b"\n") == 1
    assert split_command(command.decode().rstrip("\n"))[3:] == ['x"EXEC System "id']


def test_an_empty_value_is_sent_as_a_value() -> None:
    assert split_command('SET VARIABLE VOCHI_ROUTE ""') == ["SET", "VARIABLE", "VOCHI_ROUTE", ""]
    assert set_variable("VOCHI_ROUTE", "") == b'SET VARIABLE VOCHI_ROUTE ""\n'


@pytest.mark.parametrize("name", ["", "A B", 'A"', "A\n", "A(b)c", "1A", "CALLERID(na me)", "A;B", "SHELL(rm -rf)"])
def test_a_name_that_is_no_variable_is_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        set_variable(name, "x")


def test_a_lone_surrogate_does_not_stop_the_answer() -> None:
    assert set_variable("A", "x\ud800y") == b'SET VARIABLE A "x?y"\n'


@given(st.text())
def test_asterisk_reads_back_what_was_sent_without_controls(value: str) -> None:
    words = AgiCommandReader().feed(set_variable("CALLERID(name)", value))

    printable = "".join(sign for sign in value if unicodedata.category(sign) not in ("Cc", "Zl", "Zp"))
    assert words == ["SET", "VARIABLE", "CALLERID(name)", printable]


@given(st.text(alphabet=st.sampled_from('ЁaЯ"\\ 𝄞'), min_size=400, max_size=3000))
def test_a_long_value_is_cut_between_characters_and_fits_the_oldest_buffer(value: str) -> None:
    command = set_variable("CALLERID(name)", value)

    words = AgiCommandReader().feed(command)
    assert len(command) <= MAX_COMMAND_BYTES
    assert words is not None
    assert value.startswith(words[3])
    assert words[3] == value or len(command) > MAX_COMMAND_BYTES - 4


def test_asterisk_is_not_sent_a_command_before_its_reply() -> None:
    with pytest.raises(RemoteProtocolError, match="before the reply"):
        AgiCommandReader().feed(set_variable("A", "1") + set_variable("B", "2"))


def test_a_command_is_read_wherever_it_is_cut() -> None:
    command = set_variable("CALLERID(name)", 'Ёлка \\ «x» "y"')
    for cut in range(1, len(command)):
        reader = AgiCommandReader()
        assert reader.feed(command[:cut]) is None
        assert reader.feed(command[cut:]) == ["SET", "VARIABLE", "CALLERID(name)", 'Ёлка \\ «x» "y"']


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("SET  VARIABLE\tA b", ["SET", "VARIABLE", "A", "b"]),
        ('A "b c"d e', ["A", "b cd", "e"]),
        (r"A \"b c", ["A", '"b', "c"]),
        (r"A b\ c", ["A", "b c"]),
        (r'A "b\\" c', ["A", "b\\", "c"]),
        ('A "" b', ["A", "", "b"]),
        ('A "b', ["A", "b"]),
        ("", []),
    ],
)
def test_words_are_split_as_asterisk_splits_them(line: str, words: list[str]) -> None:
    assert split_command(line) == words


def test_a_line_end_in_an_environment_is_never_sent() -> None:
    with pytest.raises(LocalProtocolError):
        encode_environment({"calleridname": "x\ny"})


def test_replies_of_the_simulator_are_read_as_replies() -> None:
    replies = encode_reply("1") + encode_reply("1", "a b") + encode_usage_error("Usage: SET VARIABLE")

    assert read(ENVIRONMENT, replies)[1:3] == [AgiReply(200, "1"), AgiReply(200, "1", "a b")]
    usage = read(ENVIRONMENT, replies)[3]
    assert isinstance(usage, AgiReply)
    assert usage.code == 520


def test_a_caller_who_writes_lines_of_his_own_changes_no_argument() -> None:
    """`%0a` in the number of a SIP caller is a line end in `agi_callerid`."""
    written = b"1\nagi_channel: x\nagi_arg_1: 0902"
    read = request(b"agi_channel: PJSIP/gsm1-1\nagi_callerid: " + written + b"\nagi_arg_1: 0901\nagi_arg_2: 7\n\n")

    assert (read.channel, read.caller_number, read.arguments) == ("PJSIP/gsm1-1", "1", ("0901", "7"))
