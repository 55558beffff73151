"""Which security fixes a version of Asterisk lacks."""

import pytest

from vochi_agent.asterisk.advisories import ADVISORIES, open_advisories

ALL = [each.id for each in ADVISORIES]
JUNE_2026 = ALL[-4:]


@pytest.mark.parametrize(
    ("version", "lacking"),
    [
        ("22.10.1", []),
        ("22.10.0", JUNE_2026),
        ("22.10.0~dfsg+~cs6.15", JUNE_2026),
        ("23.4.1", []),
        ("24.0.0", []),
        ("20.9.1", ALL[1:]),
        ("20.9.2", ALL[2:]),
        ("16.28.0", ALL),
        ("16.30.1", ALL[1:]),
        ("certified/20.7-cert11", []),
        ("certified-20.7-cert4", ALL[3:]),
        ("22.8-cert2", JUNE_2026),
        ("certified-22.8-cert4", []),
        ("certified-18.9-cert99", JUNE_2026),
    ],
)
def test_a_version_lacks_what_was_fixed_later_or_never_in_its_branch(version: str, lacking: list[str]) -> None:
    found = open_advisories(version)

    assert found is not None
    assert [each.id for each in found] == lacking


@pytest.mark.parametrize("version", ["", "GIT-master-1234", "unknown"])
def test_a_version_that_cannot_be_read_says_nothing(version: str) -> None:
    assert open_advisories(version) is None


def test_the_table_is_in_order_and_names_what_is_at_stake() -> None:
    assert [each.month for each in ADVISORIES] == sorted(each.month for each in ADVISORIES)
    assert all(each.what and each.fixed and each.certified for each in ADVISORIES)
