"""`python -m tests.peers`: every trial, one table. Exit 0 when each defect was seen and ours is free of it, else 1."""

import asyncio
import importlib
import inspect
import subprocess
import sys

from tests.peers.finding import Finding

TRIALS = {
    "split_letter": "ami",
    "empty_header": "ami",
    "repeated_header": "ami",
    "newline_in_a_value": "ami",
    "originate_during_an_outage": "ami",
    "frozen_peer": "ami",
    "failed_list": "ami",
    "close_early": "fastagi",
    "newline_in_a_name": "fastagi",
    "import_it": "ari",
}
TRIAL_DEADLINE_S = 30
HEADINGS = ("input", "panoramisk 1.4, ari 0.1.3", "vochi-agent", "")


def main(arguments: list[str]) -> int:
    """Run one trial in this process when it is named, else all of them in their own."""
    if arguments:
        _run_here(arguments[0])
        return 0
    findings = [_run_apart(trial) for trial in TRIALS]
    rows = [(found.defect, found.peer, found.ours, "" if found.reproduced else "NOT SEEN") for found in findings]
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    for row in (HEADINGS, tuple("-" * width for width in widths), *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0 if all(found.reproduced for found in findings) else 1


def _run_here(name: str) -> None:
    trial = getattr(importlib.import_module(f"tests.peers.{TRIALS[name]}"), name)
    found = asyncio.run(trial()) if inspect.iscoroutinefunction(trial) else trial()
    print(found.to_json(), flush=True)
    if TRIALS[name] == "fastagi":
        importlib.import_module("tests.peers.fastagi").leave()


def _run_apart(name: str) -> Finding:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.peers", name],
            capture_output=True,
            text=True,
            timeout=TRIAL_DEADLINE_S,
            check=False,
        )
        return Finding.from_json(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return Finding(defect=name, peer=f"no end in {TRIAL_DEADLINE_S} s", ours="", reproduced=False)
    except (IndexError, ValueError):
        return Finding(defect=name, peer=done.stderr.strip().splitlines()[-1], ours="", reproduced=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
