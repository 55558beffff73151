"""Every test: `make test`, after the checks.

Most run several at once. Long ones, which break things at random and mostly wait, run by themselves; what measures time
runs while nothing else does. A test that failed is tried once more alone: on a shared machine a neighbour may have
taken the second it needed. One that fails again, or more than a few at once, fails the run; one that did not is named
in the last lines, for it still wants a look. A long test is never tried again: what breaks at random and only sometimes
is what it is there to find. All examples are drawn by one seed, so that a second attempt meets the same.
"""

import os
import random
import subprocess
import sys
from typing import Final

SEED: Final = os.environ.setdefault("VOCHI_SEED", str(random.randrange(1 << 32)))
PYTEST: Final = (sys.executable, "-m", "pytest", f"--hypothesis-seed={SEED}")
LONG: Final = ("-m", "long", "-n", "3", "--dist", "load")
PARTS: Final = (
    ("-m", "not alone and not long", "-n", "4", "--dist", "loadfile", "--cache-clear"),
    LONG,
    ("-m", "alone"),
)
AGAIN: Final = ("--last-failed", "--last-failed-no-failures", "none", "-rA", "--tb", "short")
PASSED, SOME_FAILED = 0, 1
# So many failures are no accident of a busy machine.
MANY: Final = 8


def pytest(*arguments: str) -> int:
    """Run pytest; returns its exit code."""
    return subprocess.run([*PYTEST, *arguments], check=False).returncode


def failed() -> list[str]:
    """The tests that failed and have not passed since."""
    listed = subprocess.run([*PYTEST, "--collect-only", "-q", *AGAIN[:3]], check=False, capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if "::" in line]


def main() -> int:
    """The exit code: 0 when everything has passed."""
    print(f"VOCHI_SEED={SEED}", flush=True)  # noqa: T201 - who wants the same examples again gives it
    codes = {part: pytest(*part) for part in PARTS}
    if not any(codes.values()):
        return PASSED
    # Anything but a failed test (nothing collected, a crash, an interruption) leaves tests that were not run.
    if codes[LONG] or not set(codes.values()) <= {PASSED, SOME_FAILED}:
        return SOME_FAILED
    suspects = failed()
    if not 0 < len(suspects) <= MANY:
        return SOME_FAILED
    code = pytest(*AGAIN)
    verdict = "passed alone; look at them all the same" if code == PASSED else "some again"
    print(f"\n{len(suspects)} tests failed, {verdict}:", *suspects, sep="\n  ")  # noqa: T201 - the last lines
    return code


if __name__ == "__main__":
    sys.exit(main())
