"""The doors of strangers take whatever is made of what comes in by them in life; `make fuzz` tries more of it."""

import gc
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.shares import SHARES
from tests.fuzz.targets import MOST_BYTES, TARGETS

ROOT = Path(__file__).parents[2]
EXAMPLES = {"config": 40, "cel": 120, "cdr": 120}
SEEDS = {name: list(target.seeds()) for name, target in TARGETS.items()}
# Signs that mean something to some reader, and some that mean nothing to any.
SPICE = [b"", b"\r\n", b"\n\n", b'"', b",", b"\0", b"\xff\xfe", b"=", b"[", b"{", b": ", b"&", b"%00", b"-1", b"1e999"]
edits = st.lists(
    st.tuples(st.integers(0, MOST_BYTES), st.integers(0, 40), st.sampled_from(SPICE) | st.binary(max_size=8)),
    max_size=6,
)


def mutated(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """The seed with some pieces put in place of others."""
    for place, length, piece in changes:
        here = place % (len(seed) + 1)
        seed = seed[:here] + piece + seed[here + length :]
    return seed[:MOST_BYTES]


@pytest.mark.parametrize("name", TARGETS)
def test_a_door_takes_any_bytes(name: str) -> None:
    @settings(max_examples=EXAMPLES.get(name, 250), suppress_health_check=list(HealthCheck))
    @example(b"", [])
    @given(st.sampled_from(SEEDS[name]) | st.binary(max_size=300), edits)
    def take(seed: bytes, changes: list[tuple[int, int, bytes]]) -> None:
        TARGETS[name].run(mutated(seed, changes))

    take()


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "config"])
def test_a_door_keeps_nothing_of_what_it_took(name: str) -> None:
    def held(rounds: int) -> int:
        for number in range(rounds):
            for seed in SEEDS[name][:20]:
                TARGETS[name].run(mutated(seed, [(number * 7, 3, b"%d" % number)]))
        gc.collect()
        return sys.getallocatedblocks()

    before = held(6)

    assert held(12) - before < 2000


def test_every_door_has_its_share() -> None:
    assert SHARES.keys() == TARGETS.keys()
