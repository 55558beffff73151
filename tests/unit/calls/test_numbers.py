"""Numbers: every shape that lines and recordings are known to deliver, and the traps."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.calls.numbers import NumberRule, dialled, display, mask, to_e164

BY_RULE = NumberRule.parse("+375{9}")
RU_RULE = NumberRule.parse("+7{10}")
MINSK_RULE = NumberRule.parse("+37517{7}")


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("+375290000011", "+375290000011"),  # gateways, number and name alike
        ("375290000011", "+375290000011"),  # other gateways
        ("80290000011", "+375290000011"),  # national form with the trunk prefix
        ("+0290000011", "+375290000011"),  # garbled by one operator
        ("0290000011", "+375290000011"),
        ("290000011", "+375290000011"),  # exactly N digits
        ("+375 (29) 000-00-11", "+375290000011"),
        ("00375290000011", "+375290000011"),
        ("+79000000011", "+79000000011"),  # foreign callers
        ("79000000011", "+79000000011"),
        ("0079000000011", "+79000000011"),
        ("89000000011", "+79000000011"),  # Russia's national form
        ("380670000011", "+380670000011"),
        ("48500000011", "+48500000011"),
        ("81048500000011", "+48500000011"),  # behind the way out of the country
        ("810375290000011", "+375290000011"),
        ("88011000011", "+3758011000011"),  # the free numbers of Belarus; the rule would make a zero of them
        ("+15550000000", "+15550000000"),
        ("152", None),
        ("901", None),
        ("+152", None),
        ("0001701", None),  # a gateway's own line id: hidden caller
        ("+0001701", None),
        ("+7900000001", None),  # a digit is missing; the rule would join it to a stranger
    ],
)
def test_a_line_with_a_belarusian_rule(raw: str, wanted: str | None) -> None:
    assert to_e164(raw, country="BY", rules=[BY_RULE]) == wanted


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("375290000001", "+375290000001"),
        ("80290000002", "+375290000002"),
        ("+375290000003", "+375290000003"),
        ("0290000004", "+375290000004"),
        ("290000001", "+375290000001"),
        ("+0290000011", "+375290000011"),
        ("79000000011", "+79000000011"),
        ("89000000011", "+79000000011"),
        ("88011000011", "+3758011000011"),  # the free numbers of Belarus are dialled so
        ("810790000000 11", "+79000000011"),  # the way out of the country
        ("15550000000", "+15550000000"),
        ("12345", None),
        ("101", None),
    ],
)
def test_a_belarusian_line_without_a_rule(raw: str, wanted: str | None) -> None:
    assert to_e164(raw, country="BY") == wanted


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("89000000011", "+79000000011"),
        ("79000000011", "+79000000011"),
        ("9000000011", "+79000000011"),
        ("+79000000011", "+79000000011"),
        ("80290000011", "+70290000011"),  # eight and ten digits are Russian here
        ("375290000011", "+375290000011"),
        ("+375290000011", "+375290000011"),
        ("810375290000011", "+375290000011"),
    ],
)
@pytest.mark.parametrize("rules", [(), (RU_RULE,)])
def test_a_russian_line_with_and_without_its_rule(raw: str, wanted: str | None, rules: Sequence[NumberRule]) -> None:
    assert to_e164(raw, country="RU", rules=rules) == wanted


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("80290000011", "+375290000011"),
        ("290000011", "+375290000011"),
        ("89000000011", "+79000000011"),
        ("79000000011", "+79000000011"),
    ],
)
def test_a_belarusian_rule_on_a_line_of_a_russian_enterprise_says_how_its_numbers_are_read(
    raw: str, wanted: str | None
) -> None:
    assert to_e164(raw, country="RU", rules=[BY_RULE]) == wanted


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("2000011", "+375172000011"),
        ("80172000011", "+375172000011"),
        ("2901234", "+375172901234"),  # +290 1234 would be possible on Saint Helena
        ("375290000011", "+375290000011"),  # complete: the town's rule must not move it to Minsk
        ("+375290000011", "+375290000011"),
        ("79000000011", "+79000000011"),
    ],
)
def test_a_rule_of_one_town_leaves_complete_numbers_alone(raw: str, wanted: str | None) -> None:
    assert to_e164(raw, country="BY", rules=[MINSK_RULE]) == wanted


def test_the_first_rule_that_gives_a_number_wins() -> None:
    rules = [NumberRule.parse("+375{9}"), NumberRule.parse("+37517{7}")]

    assert to_e164("80290000011", country="BY", rules=rules) == "+375290000011"
    assert to_e164("2000011", country="BY", rules=rules) == "+375172000011"


def test_a_rule_that_makes_no_possible_number_is_passed_over() -> None:
    assert to_e164("80290000011", country="BY", rules=[NumberRule.parse("+999{9}"), BY_RULE]) == "+375290000011"


@pytest.mark.parametrize("rule", ["375{9}", "80{9}", "{9}"])
def test_a_rule_without_a_plus_gives_a_national_form(rule: str) -> None:
    assert to_e164("80290000011", country="BY", rules=[NumberRule.parse(rule)]) == "+375290000011"


@pytest.mark.parametrize(
    "raw",
    [
        "", " ", "(", "()", "(+)", "anonymous", "Anonymous", "<unknown>", "unknown", "s", "restricted", "private", "+",
        "unavailable",
        "-", "00", "000", "0" * 12, "1" * 30, "9" * 100_000, "sip:375290000011@host", "37529000O011", "٣٧٥٢٩٠٠٠٠٠١١",
        "375290000011\r\nAction: Originate", "'; DROP TABLE calls", "-375290000011", "+-375290000011", "\x00", "\ud800",
    ],
)  # fmt: skip
def test_what_is_no_number_is_none(raw: str) -> None:
    assert to_e164(raw, country="BY", rules=[BY_RULE]) is None
    assert dialled(raw, country="BY", dial_prefix="21") is None


@pytest.mark.parametrize(
    "raw",
    [
        "(029) 000-00-11", "8 (029) 000-00-11", "(8029) 0000011", "+(375) 29 000-00-11", "(+375 29) 000-00-11",
        "+375\u00a029\u00a0000\u201100\u201111",  # as an iPhone writes it
        "8\u202f029\u2009000\u201300\u201011",
        "\u202a+375 29 000-00-11\u202c", "\ufeff80290000011",  # as it was copied from a screen
    ],
)  # fmt: skip
def test_a_number_may_be_written_as_people_write_it(raw: str) -> None:
    assert to_e164(raw, country="BY") == dialled(raw, country="BY") == "+375290000011"


def test_an_unknown_country_still_reads_international_numbers() -> None:
    assert to_e164("+375290000011", country="ZZ") == "+375290000011"
    assert to_e164("80290000011", country="ZZ") is None


@pytest.mark.parametrize(
    ("raw", "prefix", "wanted"),
    [
        ("80290000011", "", "+375290000011"),
        ("21375290000011", "21", "+375290000011"),  # a gateway's slot
        ("375290000011", "21", "+375290000011"),  # another line's leg carries no prefix
        ("2180290000011", "21", "+375290000011"),
        ("*31#80290000011", "*31#", "+375290000011"),
        ("0079000000011", "", "+79000000011"),
        ("+79000000011", "", "+79000000011"),
        ("80290000011", "8", "+375290000011"),  # the prefix may look like a part of the number
        ("101", "", None),
        ("750", "", None),
    ],
)
def test_a_dialled_number_loses_the_prefix_of_its_line(raw: str, prefix: str, wanted: str | None) -> None:
    assert dialled(raw, country="BY", dial_prefix=prefix) == wanted


@pytest.mark.parametrize(
    ("text", "prefix", "digits"), [("+375{9}", "+375", 9), ("375{9}", "375", 9), ("{7}", "", 7), (" +7{10} ", "+7", 10)]
)
def test_a_rule_is_a_prefix_and_a_count(text: str, prefix: str, digits: int) -> None:
    assert NumberRule.parse(text) == NumberRule(prefix, digits)


@pytest.mark.parametrize("text", ["", "+375", "{}", "{0}", "{16}", "{-1}", "+{a}", "375{9}x", "+375{9}{9}", "++7{10}"])
def test_a_text_that_is_no_rule_is_refused_with_the_text_in_the_message(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        NumberRule.parse(text)


@pytest.mark.parametrize(
    ("number", "shown", "masked"),
    [
        ("+375290000011", "+375 (29) 000-00-11", "+375 (29) ***-**-11"),
        ("+79000000011", "+7 (900) 000-00-11", "+7 (900) ***-**-11"),
        ("+380670000011", "+380 (67) 000-00-11", "+380 (67) ***-**-11"),
        ("+15550000000", "+1 (555) 000-0000", "+1 (555) ***-**00"),
        ("+48500000011", "+48 (500) 000 011", "+48 (500) *** *11"),
        ("+37129000011", "+371 (29) 000 011", "+371 (29) *** *11"),
        ("+442079460011", "+44 (20) 7946 0011", "+44 (20) **** **11"),
        ("151", "151", "151"),
        ("", "", ""),
        ("<b>", "<b>", "<b>"),
    ],
)
def test_numbers_as_people_see_them(number: str, shown: str, masked: str) -> None:
    assert display(number) == shown
    assert mask(number) == masked


digits_and_noise = st.text(alphabet="0123456789+ ()-.<>s", max_size=20)
rule_lists = st.lists(
    st.from_regex(r"(\+?[0-9]{1,4})?\{(1[0-5]|[1-9])\}", fullmatch=True).map(NumberRule.parse), max_size=3
)


@given(
    raw=st.text(max_size=30) | digits_and_noise,
    country=st.sampled_from(["BY", "RU", "US", "DE", "ZZ"]),
    rules=rule_lists,
)
def test_any_text_gives_a_number_of_e164_or_none(raw: str, country: str, rules: Sequence[NumberRule]) -> None:
    for number in (to_e164(raw, country=country, rules=rules), dialled(raw, country=country, dial_prefix="9")):
        assert number is None or re.fullmatch(r"\+[1-9]\d{6,14}", number)
        if number:
            assert re.sub(r"\D", "", display(number)) == number[1:]
            assert mask(number)[-2:] == number[-2:]
            assert display(mask(number)) == mask(number)


@given(st.from_regex(r"\+375(29|33|44|25)[0-9]{7}", fullmatch=True))
def test_what_is_complete_stays_whatever_rule_the_line_has(number: str) -> None:
    for rules in ([], [BY_RULE], [RU_RULE], [MINSK_RULE]):
        assert to_e164(number, country="BY", rules=rules) == number
        assert to_e164(number, country="RU", rules=rules) == number
