import os
from pathlib import Path

from vochi_agent.cli.doctor_host import examine_disk
from vochi_agent.diagnosis import Level, closed, fine, problem, unknown, warning, worst

NOBODY = 65534


def test_a_part_that_does_not_let_us_in_is_a_problem_and_not_reachable() -> None:
    assert closed("ami 0901", "refused", "mend it").as_json() == {
        "part": "ami 0901",
        "level": "problem",
        "sentence": "refused",
        "cure": "mend it",
        "reachable": False,
    }


def test_the_gravest_finding_counts() -> None:
    found = [fine("a", "."), unknown("b", "."), warning("c", ".", "!"), problem("d", ".", "!")]

    assert [worst(found[:count]) for count in range(5)] == [
        Level.OK,
        Level.OK,
        Level.UNKNOWN,
        Level.WARNING,
        Level.PROBLEM,
    ]


def test_a_disk_that_nobody_can_look_at_is_a_problem(tmp_path: Path) -> None:
    (found,) = examine_disk(tmp_path / ("x" * 300), spool_bytes=0)

    assert (found.level, "File name too long" in found.sentence) == (Level.PROBLEM, True)


def test_a_disk_that_is_closed_to_this_user_is_unknown(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    user = os.geteuid()
    os.seteuid(user or NOBODY)  # nothing is closed to root
    try:
        (found,) = examine_disk(closed / "state", spool_bytes=0)
    finally:
        os.seteuid(user)

    assert (found.level, "closed to this user" in found.sentence) == (Level.UNKNOWN, True)
