"""Values out of hostile JSON."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.crm.fields import identifier, mapping, objects, same_number, search_digits, text


@pytest.mark.parametrize(
    ("written", "phone"),
    [
        ("+375290000022", "+375290000022"),
        ("375 29 000-00-22", "+375290000022"),
        ("8 (029) 000-00-22", "+375290000022"),
        ("029 000 00 22", "+375290000022"),
        ("290000022", "+375290000022"),
        ("+7 (900) 000-00-01", "+79000000001"),
        ("89000000001", "+79000000001"),
        ("9000000001", "+79000000001"),
        ("8\N{EN DASH}900\N{EN DASH}000\N{EN DASH}00\N{EN DASH}01", "+79000000001"),
        ("+7 900 000-00-01 доб. 12", "+79000000001"),
        ("+7 900 000-00-09, +7 900 000-00-01", "+79000000001"),
        ("+49 30 000001", "+4930000001"),
    ],
)
def test_a_number_is_known_in_every_way_it_is_written(written: str, phone: str) -> None:
    assert same_number(written, phone)


@pytest.mark.parametrize(
    ("written", "phone"),
    [
        ("+375290000023", "+375290000022"),
        ("+1 900 000 00 01", "+79000000001"),
        ("+380290000022", "+375290000022"),
        ("0000022", "+375290000022"),
        ("3752900000221", "+375290000022"),
        ("030000001", "+4930000001"),
        ("", "+375290000022"),
        ("", ""),
        ("имя", "+79000000001"),
    ],
)
def test_another_number_is_another_number(written: str, phone: str) -> None:
    assert not same_number(written, phone)


def test_the_search_goes_from_all_digits_to_the_national_ones() -> None:
    assert search_digits("+375290000022") == ("375290000022", "290000022")
    assert search_digits("+79000000001") == ("79000000001", "9000000001")
    assert search_digits("+4930000001") == ("4930000001",)


def test_every_number_is_found_by_its_own_digits() -> None:
    for phone in ("+375290000022", "+79000000001", "+4930000001"):
        assert all(same_number(digits, phone) for digits in search_digits(phone))


def test_text_is_one_printable_line() -> None:
    assert text(" Анна\x00\r\n\t«Мир»\u202e\ud800 ") == "Анна «Мир»"


@pytest.mark.parametrize("value", [None, 1, ["a"], {"a": 1}, True])
def test_what_is_no_text_is_empty(value: object) -> None:
    assert text(value) == ""


@pytest.mark.parametrize("value", [None, 0, "0", "", " ", "unknown", "None", "null", True, 1.5, [], "x" * 65])
def test_a_placeholder_is_no_id(value: object) -> None:
    assert identifier(value) == ""


def test_an_id_is_text_whatever_the_crm_sends() -> None:
    assert identifier(2003) == identifier("2003") == "2003"


def test_an_array_with_gaps_printed_as_an_object_is_still_an_array() -> None:
    assert objects({"0": {"id": 1}, "2": {"id": 2}, "3": 7}) == [{"id": 1}, {"id": 2}]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(value=JSON)
def test_nothing_raises_for_any_json(value: object) -> None:
    printable = text(value)
    printable.encode()
    assert "\x00" not in printable
    identifier(value)
    assert all(isinstance(item, dict) for item in objects(value))
    assert isinstance(mapping(value), dict)
