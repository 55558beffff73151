"""`python -m tests.fuzz.one TARGET INPUTS SEED FOLDER`: one door under atheris, guided by the coverage of our own code.

libFuzzer ends the process itself: 0 when all inputs were taken, else the input that was not lies in FOLDER.
"""

import gc
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vochi_agent"]):
    from tests.fuzz.targets import MOST_BYTES, TARGETS

SECONDS_AN_INPUT = 10
MOST_MIB = 1024
# Memory is looked at from here on: caches are full and modules imported by then.
WARM = 0.25
# What Python's own free lists and libFuzzer's corpus may move, of some hundred thousand blocks.
GROWTH = 1.03


def main(name: str, inputs: int, seed: int, folder: Path) -> None:
    """Does not return."""
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(TARGETS[name].seeds()):
        (corpus / f"seed-{number:04d}").write_bytes(data)
    run, taken, warm = TARGETS[name].run, 0, 0

    def take(data: bytes) -> None:
        nonlocal taken, warm
        run(data)
        taken += 1
        if taken == int(inputs * WARM):
            warm = blocks()
        elif taken == inputs:
            now = blocks()
            print(
                f"\n{name}: {taken} inputs taken, {warm} blocks of memory after a quarter, {now} at the end", flush=True
            )
            assert now <= warm * GROWTH, "memory grows"

    options = [
        f"-runs={inputs}", f"-seed={seed}", f"-max_len={MOST_BYTES}", f"-timeout={SECONDS_AN_INPUT}",
        f"-rss_limit_mb={MOST_MIB}", f"-artifact_prefix={folder}/{name}-", "-print_final_stats=0", "-verbosity=0",
        str(corpus),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], take)
    atheris.Fuzz()


def blocks() -> int:
    """Blocks of memory that Python holds for living objects."""
    gc.collect()
    return sys.getallocatedblocks()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
