"""`python -m tests.fuzz`: so many mutated inputs at every door, each door in a process of its own.

Exit 0 when all were taken; 1 when one was not: its file and the traceback are shown, and the same seed finds it again.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.shares import SHARES

FOLDER = Path("var/fuzz")


def main() -> int:
    """Run the doors one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="in all (1000000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("targets", nargs="*", default=list(SHARES), metavar="TARGET", help=", ".join(SHARES))
    args = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    whole, failed = sum(SHARES[name] for name in args.targets), []
    for name in args.targets:
        inputs = -(-args.inputs * SHARES[name] // whole)
        began = time.monotonic()
        one = [sys.executable, "-m", "tests.fuzz.one", name, str(inputs), str(args.seed), str(FOLDER)]
        done = subprocess.run(one, capture_output=True, text=True, errors="replace", check=False)
        seconds = time.monotonic() - began
        said = [line for line in done.stdout.splitlines() if line.startswith(f"{name}: ")]
        if done.returncode or not said:
            failed.append(name)
            print(done.stdout[-4000:], done.stderr[-8000:], sep="\n")
        print(f"{' '.join(said) or f'{name}: NOT TAKEN, see above'}, {seconds:.0f} s", flush=True)
    print(f"not taken: {', '.join(failed)}" if failed else "every input was taken")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
