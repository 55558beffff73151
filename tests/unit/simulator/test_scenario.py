"""Scenario files: what is shipped loads, and every mistake of a wrong one is said at once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vochi_agent.config import load
from vochi_agent.errors import ConfigError
from vochi_agent.simulator.playing import phones_of, unplayable
from vochi_agent.simulator.scenario import load_scenario, shipped

ROOT = Path(__file__).parents[3]
WRONG = """
titles = "x"
speed = "fast"
[[queues]]
name = "sales"
agents = ["150"]
[[queues]]
name = "sales"
[[calls]]
kind = "inn"
[[calls]]
count = 0
callers = ["80290000011"]
"""
QUARRELLING = """
[[queues]]
name = "sales"
agents = ["150"]
[[calls]]
queue = "sale"
[[calls]]
queue = "sales"
ring = ["151"]
answer = "152"
[[calls]]
kind = "out"
transfer_to = "152"
[[calls]]
to = ["+375290000011"]
answer = "nobody"
transfer_to = "150"
[[calls]]
kind = "internal"
to = ["+375290000011"]
[[troubles]]
part = "pbx"
how = "html"
from_s = 5
to_s = 5
"""


def written(folder: Path, text: str | bytes) -> str:
    path = folder / "scenario.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def problems(name: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_scenario(name)
    return list(caught.value.problems)


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_scenario_can_be_played_by_the_shipped_configuration(name: str) -> None:
    scenario = load_scenario(name)
    enterprise = load(ROOT / "config.simulate.toml").enterprises[0]

    assert list(unplayable(scenario, enterprise, crm_is_played=True)) == []
    assert set(phones_of(scenario, enterprise)) == {"150", "151", "152"}


def test_office_is_fifty_calls_two_queues_a_transfer_and_a_dead_crm() -> None:
    office = load_scenario("office")

    assert sum(call.count for call in office.calls) == 50
    assert len(office.queues) == 2
    assert [call.transfer_to for call in office.calls if call.transfer_to] == ["152"]
    assert [trouble.part for trouble in office.troubles] == ["crm"]


def test_every_wrong_value_is_said_at_once_with_file_key_and_what_is_allowed(tmp_path: Path) -> None:
    name = written(tmp_path, WRONG)

    assert problems(name) == [
        f'{name}: speed is "fast"; allowed: how many times faster than life, from 0.1 to 1000',
        f'{name}: calls[#1].kind is "inn"; allowed: in, out, internal',
        f"{name}: calls[#2].count is 0; allowed: a whole number from 1 to 1000000",
        (
            f'{name}: calls[#2].callers[#1] is "80290000011"; '
            'allowed: a number with + and country code, such as "+375290000011", or "hidden"'
        ),
        f"{name}: titles is not a known key; did you mean title?",
    ]


def test_every_disagreement_is_said_at_once(tmp_path: Path) -> None:
    name = written(tmp_path, QUARRELLING)

    assert [each.removeprefix(f"{name}: ") for each in problems(name)] == [
        'calls[#1].queue is "sale"; allowed: sales',
        'calls[#2].ring does not go with queue = "sales"; allowed: one of the two',
        'calls[#2].answer is "152"; allowed: one who rings: 150',
        'calls[#3].transfer_to is only for calls of kind "in", this is "out"',
        'calls[#4].to is only for calls of kind "out" and "internal", this is "in"',
        'calls[#4].transfer_to does not go with answer = "nobody"; allowed: somebody who answers',
        'calls[#5].to holds "+375290000011"; allowed for internal calls: 2 to 5 digits',
        'troubles[#1].how is "html"; allowed for part "pbx": cut, frozen',
        "troubles[#1].to_s is 5; allowed: more than from_s, 5",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "calls is an empty list; needed: at least one table [[calls]]"),
        (b"calls = []", "calls is an empty list; needed: at least one table [[calls]]"),
        (b"calls = 5", "calls is 5; allowed: a list in [ ] or [[tables]]"),
        (b"[[calls]]\n[[queues]]\n", "queues[#1].name is missing; needed: letters, digits, - and _"),
        (b"[[calls]]\nring = 5", "calls[#1].ring is 5; allowed: a list in [ ] or [[tables]]"),
        (b"calls = [5]", "calls[#1] is 5; allowed: a table"),
        (b"\xff", "the file is not UTF-8 text (byte 0)"),
        (b"a =", "not valid TOML: Invalid value (at end of document)"),
        (b"a = " + b"[" * 5000, "not valid TOML: nested too deeply"),
        (b"#" * (1 << 21), "longer than a scenario may be; allowed: 1 MiB"),
    ],
)
def test_what_is_no_scenario_is_refused_with_a_sentence(text: bytes, said: str, tmp_path: Path) -> None:
    name = written(tmp_path, text)

    assert problems(name) == [f"{name}: {said}"]


def test_an_unknown_name_is_answered_with_those_that_are_shipped(tmp_path: Path) -> None:
    name = str(tmp_path / "morning")

    assert problems(name) == [f"{name}: there is no such file; shipped: first-calls, office, rush"]


def test_what_the_configuration_does_not_have_is_said_at_once(tmp_path: Path) -> None:
    enterprise = load(ROOT / "config.simulate.toml").enterprises[0]
    trouble = '[[troubles]]\npart = "crm"\nhow = "html"\nfrom_s = 1\nto_s = 2\n'
    scenario = load_scenario(written(tmp_path, f'[[calls]]\nline = "5"\n{trouble}'))

    line, crm = unplayable(scenario, enterprise, crm_is_played=False)
    assert line == 'calls[#1].line is "5"; allowed: 0001701'
    assert crm.startswith("troubles[#1]: the CRM is not played; needed: enterprises.crm.retailcrm.url on this machine")


@given(st.binary(max_size=400))
def test_no_bytes_are_answered_with_anything_but_sentences(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    name = written(tmp_path_factory.getbasetemp(), text)

    assert all(problem.startswith(f"{name}: ") for problem in problems(name))
