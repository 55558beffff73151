"""Every key can be explained, from the same tables that the configuration is read with."""

import pytest

from vochi_agent.cli import main
from vochi_agent.config.explain import explain, explanations
from vochi_agent.config.tables import CRM_TABLES, Table
from vochi_agent.errors import ConfigError


def every_key() -> set[str]:
    """Names of all keys, counted without the code under test."""
    tables = [Table]
    while any(child not in tables for table in tables for child in table.__subclasses__()):
        tables = list(dict.fromkeys([*tables, *(child for table in tables for child in table.__subclasses__())]))
    return {name for table in tables for name in table.model_fields}


def test_no_key_and_no_table_lacks_an_explanation() -> None:
    silent = [each.key for each in explanations() if not each.meaning or not each.allowed]

    assert silent == []


def test_every_key_of_every_table_is_among_them() -> None:
    named = {word for each in explanations() for word in each.key.split(".")}

    assert every_key() | set(CRM_TABLES) == named


def test_an_explanation_says_what_is_meant_allowed_and_default() -> None:
    (rule,) = explain("enterprises[0901].lines[0001701].number_rule")

    assert rule.key == "enterprises.lines.number_rule"
    assert rule.allowed.startswith("a list in [ ], each a prefix and how many last digits follow it")
    assert rule.default == "[]"
    assert "first match wins" in rule.meaning


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("daemon.timezone", '"UTC"'),
        ("daemon.state_dir", '"/var/lib/vochi-agent"'),
        ("fastagi.listen", '"127.0.0.1:4577"'),
        ("fastagi.allow", '["127.0.0.0/8", "::1/128"]'),
        ("fastagi.deadline_s", "1.5"),
        ("log.mask_phones", "true"),
        ("enterprises.chats.directions", '["in", "out"]'),
        ("enterprises.crm.retailcrm.agents", "{}"),
        ("enterprises.number", None),
        ("enterprises.asterisk.ami_secret_file", None),
    ],
)
def test_defaults_are_written_as_in_the_file(key: str, default: str | None) -> None:
    (found,) = explain(key)

    assert found.default == default


def test_a_secret_is_said_to_belong_into_a_file() -> None:
    assert [each.secret for each in explain("ami_secret_file")] == [True]
    assert {each.secret for each in explain("timezone")} == {False}


def test_the_last_word_of_a_key_is_enough_and_gives_all_that_have_it() -> None:
    assert [each.key for each in explain("number_rule")] == ["enterprises.lines.number_rule"]
    assert {"daemon.timezone", "enterprises.timezone"} <= {each.key for each in explain("timezone")}


def test_a_table_is_explained_by_its_keys() -> None:
    (lines,) = explain("enterprises.lines")

    assert lines.meaning == "a trunk, or one number of a trunk."
    assert lines.allowed.startswith("id, endpoint, dids")


@pytest.mark.parametrize(("wrong", "near"), [("number_rul", "number_rule"), ("daemon.timezon", "daemon.timezone")])
def test_an_unknown_key_is_answered_with_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        explain(wrong)

    assert str(caught.value) == f"--explain {wrong}: is not a known key; did you mean {near}?"


def test_the_command_reads_no_configuration_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["-c", "/nowhere/config.toml", "check", "--explain", "ring_s"])

    assert (code, capsys.readouterr().out.splitlines()) == (
        0,
        [
            "enterprises.lines.ring_s",
            "  means    For how many seconds.",
            "  allowed  whole seconds, from 1 to 600",
            "  default  30",
        ],
    )
