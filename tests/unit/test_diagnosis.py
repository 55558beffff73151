from vochi_agent.diagnosis import Level, closed, fine, problem, unknown, warning, worst


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
