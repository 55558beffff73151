"""`vochi-agent report` on files as Asterisk writes them, small, huge and hostile, without any configuration."""

import csv
import gzip
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.commands import Workplace
from vochi_agent.asterisk.cdr import MASTER
from vochi_agent.asterisk.record_report import Records, cdr_calls, cel_calls, newest_of
from vochi_agent.calls.layout import Layout
from vochi_agent.calls.model import Call
from vochi_agent.cli.unconfigured import guessed_layout

SCENARIOS = Path(__file__).parent.parent / "scenarios"
START = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)
# For about 60 000 rows; measured 79 MiB, of which the program itself takes 74.
MOST_MIB = 110


def row(minute: float, *, src: str, dst: str, channel: str, leg: str, data: str, answered: bool) -> str:
    """A row of Master.csv, the order of cdr_csv; `leg` is what Dial() with `data` made."""
    start, number = START + timedelta(minutes=minute), f"{minute * 100:08.0f}"
    end = start + timedelta(seconds=40)
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow([
        "", src, dst, "from-trunk", f'"{src}" <{src}>', f"{channel}-{number}", f"{leg}-a{number}", "Dial", data,
        f"{start:%F %T}", f"{start + timedelta(seconds=10):%F %T}" if answered else "", f"{end:%F %T}", "40",
        "30" if answered else "0", "ANSWERED" if answered else "NO ANSWER", "DOCUMENTATION",
        f"{start.timestamp():.0f}.{minute * 100:.0f}", "",
    ])  # fmt: skip
    return text.getvalue()


def missed(minute: float, src: str, phone: str = "150") -> str:
    return row(minute, src=src, dst="0001701", channel="PJSIP/gsm1", leg=f"PJSIP/{phone}", data=f"PJSIP/{phone},20",
               answered=False)  # fmt: skip


def called_back(minute: float, to: str) -> str:
    return row(minute, src="150", dst=to, channel="PJSIP/150", leg="PJSIP/gsm1", data=f"PJSIP/{to}@gsm1,40",
               answered=True)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """No configuration is there at all."""
    return Workplace(tmp_path)


async def test_missed_and_never_called_back_by_hour_line_and_agent(place: Workplace) -> None:
    (place.folder / "Master.csv").write_text(
        missed(0, "375290000033") + missed(70, "375290000044", "151") + called_back(80, "80290000033")
    )
    answer = await place.vochi("report", str(place.folder / "Master.csv"), "--timezone", "Europe/Minsk")

    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "2026-10-03 10:20 to 2026-11-02 10:20: 2 calls came in, 2 were missed, 1 of them never called back",
        "",
        "hour   missed  called back  came again  hidden  never called back",
        "09:00       1            1           0       0                  0",
        "10:00       1            0           0       0                  1",
        "",
        "line  missed  called back  came again  hidden  never called back",
        "gsm1       2            1           0       0                  1",
        "",
        "agent  missed  called back  came again  hidden  never called back",
        "150         1            1           0       0                  0",
        "151         1            0           0       0                  1",
        "",
        "never called back    times  last              line",
        "+375 (29) 000-00-44      1  2026-11-02 10:10  gsm1",
    ]


async def test_programs_get_the_same_as_json(place: Workplace) -> None:
    (place.folder / "Master.csv").write_text(missed(0, "375290000033"))
    found = (await place.vochi("report", str(place.folder / "Master.csv"), "--timezone", "UTC", "--json")).json()

    assert found["total"] == {"missed": 1, "called_back": 0, "came_again": 0, "hidden": 0, "never": 1}
    assert found["hours"] == {"6": found["total"]}
    assert found["lines"] == {"gsm1": found["total"]}
    assert found["agents"] == {"150": found["total"]}
    assert found["owed"] == [
        {"phone": "+375290000033", "missed": 1, "last": "2026-11-02T06:00:00.000Z", "line": "gsm1"}
    ]
    assert found["passed_over"] == []


async def test_hostile_lines_are_counted_and_named(place: Workplace) -> None:
    hostile = b'\x00\xff\n"","""\n' + b"x" * 300_000 + b"\n" + b'"a","\x1b[31m"\n'
    (place.folder / "Master.csv").write_bytes(
        missed(0, "375290000033").encode() + hostile + missed(5, "375290000044").encode()
    )
    answer = await place.vochi("report", str(place.folder / "Master.csv"), "--json")

    assert answer.code == 0
    assert answer.json()["total"]["missed"] == 2
    passed = {each["kind"]: (each["lines"], each["places"]) for each in answer.json()["passed_over"]}
    assert passed == {
        "endless line": (1, ["Master.csv:4"]),
        "unreadable row": (3, ["Master.csv:2", "Master.csv:3", "Master.csv:4"]),
    }
    people = await place.vochi("report", str(place.folder / "Master.csv"))
    assert "passed over: 1 × endless line: Master.csv:4\n" in people.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("absent.csv",), "absent.csv: No such file or directory"),
        (("empty.csv",), "empty.csv: the end holds no line of CDR"),
        (("Master.csv", "--month", "2026-13"), "--month '2026-13'; allowed: a year and a month, such as 2026-10"),
        (("Master.csv", "--cel", "absent.csv"), "absent.csv: No such file or directory"),
    ],
)
async def test_what_cannot_be_read_is_a_sentence(place: Workplace, arguments: tuple[str, ...], said: str) -> None:
    (place.folder / "empty.csv").write_text("")
    (place.folder / "Master.csv").write_text(missed(0, "375290000033"))
    paths = [str(place.folder / each) if each.endswith(".csv") else each for each in arguments]
    answer = await place.vochi("report", *paths)

    assert answer.code == 2
    assert said in answer.err


async def test_a_month_and_compressed_predecessors(place: Workplace) -> None:
    with gzip.open(place.folder / "Master.csv.1.gz", "wt") as old:
        old.write(missed(0, "375290000033"))
    (place.folder / "Master.csv").write_text(called_back(60 * 24 * 40, "80290000033"))
    files = [str(place.folder / name) for name in ("Master.csv.1.gz", "Master.csv")]
    november = (await place.vochi("report", *files, "--month", "2026-11", "--json")).json()
    october = (await place.vochi("report", *files, "--month", "2026-10", "--json")).json()

    assert november["total"]["missed"] == november["total"]["called_back"] == 1
    assert october["total"]["missed"] == 0


@pytest.mark.parametrize(
    "scenario", ["inbound-noanswer", "inbound-queue-abandoned", "inbound-caller-hangup-while-ringing", "inbound-busy"]
)
async def test_recorded_calls_are_missed_by_cdr_and_by_cel(place: Workplace, scenario: str) -> None:
    """CEL knows more: it is believed for the time it covers, and no call is counted twice."""
    folder = SCENARIOS / scenario
    cdr = (await place.vochi("report", str(folder / "cdr.csv"), "--json")).json()
    both = (await place.vochi("report", str(folder / "cdr.csv"), "--cel", str(folder / "cel.csv"), "--json")).json()

    assert cdr["total"]["missed"] == both["total"]["missed"] == 1
    assert both["incoming"] == 1
    assert list(both["lines"]) == ["trunk"]


async def test_a_call_that_went_on_when_cel_began_is_counted_once(place: Workplace) -> None:
    """CEL was switched on in its middle: CDR tells of all of it."""
    folder = SCENARIOS / "inbound-queue-abandoned"
    header, *rows = (folder / "cel.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (place.folder / "late.csv").write_text(header + "".join(rows[3:]), encoding="utf-8")
    (place.folder / "garbage.csv").write_text(header)
    for cel in ("late.csv", "garbage.csv"):
        answer = await place.vochi("report", str(folder / "cdr.csv"), "--cel", str(place.folder / cel), "--json")
        assert (answer.json()["incoming"], answer.json()["total"]["missed"]) == (1, 1), cel


async def test_memory_does_not_grow_with_the_file(place: Workplace) -> None:
    with (place.folder / "Master.csv").open("w") as file:
        file.writelines(year())
    answer, peak_mib = await place.vochi_with_peak(
        "report", str(place.folder / "Master.csv"), "--days", "366", "--json"
    )

    assert answer.json()["total"]["missed"] == 60_000
    assert peak_mib < MOST_MIB


def year() -> Iterator[str]:
    """A call every nine minutes for a year, from a thousand people."""
    for number in range(60_000):
        yield missed(number * 8.7, f"37529{number % 1000:07d}")


def test_headings_say_what_the_end_of_a_large_file_means(tmp_path: Path) -> None:
    """As a table is exported: its columns in another order than those of Asterisk's own files."""
    rows = [next(csv.reader([missed(minute, "375290000033")])) for minute in range(0, 14_000, 2)]
    headings = (*MASTER[1:9], "calldate", *MASTER[10:18], "accountcode")
    with (tmp_path / "cdr.csv").open("w", newline="") as file:
        csv.writer(file).writerows([headings, *([*row[1:], row[0]] for row in rows)])

    assert (tmp_path / "cdr.csv").stat().st_size > 1 << 20
    assert newest_of(tmp_path / "cdr.csv", UTC) == (START + timedelta(minutes=13_998)).timestamp()


@pytest.mark.parametrize("scenario", ["inbound-queue-local-members", "inbound-queue-answered", "inbound-noanswer"])
def test_calls_are_known_without_unique_ids(tmp_path: Path, scenario: str) -> None:
    """`loguniqueid` is off unless cdr.conf says otherwise. Asterisk was started again, its channels are named anew."""
    with (SCENARIOS / scenario / "cdr.csv").open(newline="") as recorded:
        rows = list(csv.DictReader(recorded))
    with (tmp_path / "Master.csv").open("w", newline="") as file:
        for month in ("2026-10", "2026-11"):
            csv.writer(file).writerows(
                [row[column].replace("2026-11", month) for column in MASTER[:16]] for row in rows
            )
    with_ids = list(report_calls(SCENARIOS / scenario / "cdr.csv"))
    without = list(report_calls(tmp_path / "Master.csv"))

    assert newest_of(tmp_path / "Master.csv", UTC) is not None
    facts = [(call.direction, call.status, call.phone, call.path, call.rung, call.talk_seconds) for call in without]
    assert facts == 2 * [
        (call.direction, call.status, call.phone, call.path, call.rung, call.talk_seconds) for call in with_ids
    ]
    assert len({call.linkedid for call in without}) == len(without)


def report_calls(path: Path) -> Iterator[Call]:
    return cdr_calls(Records([path]), guessed_layout([], "BY"), UTC, since=0.0, until=4e9)


def test_of_whom_no_configuration_tells_cdr_says_what_cel_says() -> None:
    """A mobile behind an extension is somebody outside then, to whom the caller was forwarded."""
    for scenario in sorted(SCENARIOS.glob("*/cdr.csv")):
        if scenario.parent.name == "conference":
            continue  # of a room CDR pairs its last two
        by_cel = cel_calls(Records([scenario.parent / "cel.csv"]), guessed_layout([], "BY"), UTC)
        facts = [
            {(call.direction, call.status, call.phone, call.path, call.first_agent, call.last_agent) for call in calls}
            for calls in (by_cel, report_calls(scenario))
        ]
        assert facts[0] == facts[1], scenario.parent.name


def test_a_call_of_cel_is_given_once_as_it_is_in_the_end() -> None:
    layout: Layout = guessed_layout([], "BY")
    for scenario in ("attended-transfer", "blind-transfer", "pickup"):
        calls = list(cel_calls(Records([SCENARIOS / scenario / "cel.csv"]), layout, UTC))
        assert len({call.linkedid for call in calls}) == len(calls)
        assert [call for call in calls if call.status == "answered"], scenario


def test_cdr_of_every_recording_is_read_without_a_word() -> None:
    for scenario in sorted(SCENARIOS.glob("*/cdr.csv")):
        records = Records([scenario])
        list(cdr_calls(records, guessed_layout([], "BY"), UTC, since=0.0, until=4e9))
        assert records.kinds == {}, scenario
