"""Every test: `make test`, after the checks.

Most run several at once. Long ones, which break things at random and mostly wait, run by themselves; what measures time
runs while nothing else does. A test that failed is tried once more alone: on a shared machine a neighbour may have
taken the second it needed. One that fails again, or more than a few at once, fails the run; one that did not is named
in the last lines, for it still wants a look.
"""

import subprocess
import sys
from typing import Final

PYTEST: Final = (sys.executable, "-m", "pytest")
PARTS: Final = (
    ("-m", "not alone and not long", "-n", "4", "--dist", "loadfile", "--cache-clear"),
    ("-m", "long", "-n", "3", "--dist", "load"),
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
    codes = [pytest(*part) for part in PARTS]
    if any(code not in (PASSED, SOME_FAILED) for code in codes):
        return max(codes)
    if not any(codes):
        return PASSED
    suspects = failed()
    if not 0 < len(suspects) <= MANY:
        return SOME_FAILED
    code = pytest(*AGAIN)
    verdict = "passed alone; look at them all the same" if code == PASSED else "some again"
    print(f"\n{len(suspects)} tests failed, {verdict}:", *suspects, sep="\n  ")  # noqa: T201 - the last lines
    return code


if __name__ == "__main__":
    sys.exit(main())
