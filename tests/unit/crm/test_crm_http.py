"""The pure parts of the HTTP client: what counts as JSON, what is masked."""

import pytest

from vochi_agent.crm.http import Answer, json_object, mask
from vochi_agent.errors import CrmUnavailable


def test_a_json_object_is_read() -> None:
    assert json_object(Answer(200, b'{"success": true}')) == {"success": True}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n<html><body>{}</body></html>",
        b'{"success":true,"customers":[{"id":1,"first',
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"id":' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "web page", "cut", "array", "text", "null", "no utf-8", "deep", "huge number"],
)
def test_what_is_no_complete_json_object_is_no_answer(body: bytes) -> None:
    with pytest.raises(CrmUnavailable):
        json_object(Answer(200, body))


def test_secrets_are_masked_plain_and_percent_encoded() -> None:
    told = mask("GET /a+b/c/x?key=a%2Bb%2Fc and a%2Bb/c", ["a+b/c"])

    assert told == "GET /***/x?key=*** and ***"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    assert mask("abcdef", ["abc", "abcdef"]) == "***"


def test_an_empty_secret_masks_nothing() -> None:
    assert mask("text", [""]) == "text"
