"""Which numbers a click in a CRM may call."""

import pytest

from vochi_agent.calls.outward import outward
from vochi_agent.errors import NotPossible


@pytest.mark.parametrize("written", ["+375290000022", "375290000022", "80290000022", "8 (029) 000-00-22"])
def test_a_number_is_read_as_at_home(written: str) -> None:
    assert outward(written, country="BY") == "+375290000022"


@pytest.mark.parametrize(
    "written",
    ["", "101", "*72", "*21*80290000022#", "80290000022,,1", "112", "call me", "sip:101@pbx", "80290000022" * 9,
     "80290000022&80290000023", "anonymous", "Local/101@internal"],
)  # fmt: skip
def test_codes_colleagues_and_sentences_are_no_numbers(written: str) -> None:
    with pytest.raises(NotPossible, match="no phone number"):
        outward(written, country="BY")


def test_other_countries_are_called_only_when_they_are_configured() -> None:
    with pytest.raises(NotPossible, match="click_prefixes"):
        outward("+79000000001", country="BY")

    assert outward("+79000000001", country="BY", prefixes=("+375", "+7")) == "+79000000001"


def test_a_premium_number_wants_more_than_its_country() -> None:
    premium = "+78091234567"
    for prefixes in ((), ("+7",)):
        with pytest.raises(NotPossible, match="premium"):
            outward(premium, country="RU", prefixes=prefixes)

    assert outward(premium, country="RU", prefixes=("+7", "+7809")) == premium
