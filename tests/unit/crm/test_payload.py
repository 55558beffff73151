import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.crm.payload import MAX_DEPTH, MAX_FIELDS, read_payload
from vochi_agent.errors import NotUnderstood

FORM = "application/x-www-form-urlencoded"


def test_brackets_become_nested_fields() -> None:
    assert read_payload(FORM, "", b"type_id=4&client[u_id]=7&client[u_phone]=1&a[b][c]=d") == {
        "type_id": "4",
        "client": {"u_id": "7", "u_phone": "1"},
        "a": {"b": {"c": "d"}},
    }


def test_encoded_brackets_cyrillic_and_pluses_are_decoded() -> None:
    body = b"client%5Bu_surname%5D=%D0%90%D0%BD%D0%BD%D0%B0+%D0%91"

    assert read_payload(FORM, "", body) == {"client": {"u_surname": "Анна Б"}}


def test_names_of_fields_are_read_in_any_case() -> None:
    assert read_payload("", "", "Тип=3&CLIENT[U_ID]=7".encode()) == {"тип": "3", "client": {"u_id": "7"}}
    assert read_payload("application/json", "", b'{"Type_ID": 3}') == {"type_id": 3}


def test_json_that_calls_itself_a_form_is_json() -> None:
    assert read_payload(FORM, "", b' {"type_id": 4}') == {"type_id": 4}


def test_parameters_of_the_address_count_and_the_body_wins() -> None:
    assert read_payload("", "id=1&event=changed", b"id=2") == {"id": "2", "event": "changed"}


def test_a_plain_field_makes_room_for_its_brackets() -> None:
    assert read_payload(FORM, "", b"client=x&client[u_id]=7") == {"client": {"u_id": "7"}}


@pytest.mark.parametrize("key", ["a[", "a]", "[a]", "a[b", "a]b["])
def test_brackets_that_do_not_close_are_letters(key: str) -> None:
    assert read_payload(FORM, "", f"{key}=1".encode()) == {key: "1"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"{", "broken JSON"),
        (b'"text"', "neither"),
        (b"hello", "neither"),
        (b"a" + b"[b]" * MAX_DEPTH + b"=1", "without end"),
        (b"&".join(b"%d=1" % number for number in range(MAX_FIELDS + 1)), "more than"),
        (b'{"a":' * 100_000, "broken JSON"),
    ],
    ids=["empty", "cut", "text", "word", "deep", "many", "deep-json"],
)
def test_what_is_neither_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(NotUnderstood, match=reason):
        read_payload(FORM, "", body)


@given(st.binary(max_size=300), st.text(max_size=50))
def test_no_bytes_do_more_than_being_refused(body: bytes, query: str) -> None:
    try:
        fields = read_payload("", query, body)
    except NotUnderstood:
        return
    assert fields
    json.dumps(fields)
