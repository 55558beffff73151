"""What people install, built once a test run from a clean copy of this tree: the wheel and the Debian package."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["built"]

ROOT = Path(__file__).resolve().parents[2]
BUILD_TIMEOUT_S = 600.0


def built(target: str, pattern: str, factory: pytest.TempPathFactory) -> Path:
    """The file that `make TARGET` leaves in `dist/`; workers of one run share it.

    The copy holds what git knows and what it would take in, nothing that an earlier build left behind.
    """
    shared = factory.getbasetemp()
    shared = (shared.parent if os.getenv("PYTEST_XDIST_WORKER") else shared) / "clean tree"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tree = shared / "tree"
        if not tree.exists():
            _copy(tree)
        folder = shared / target  # apart from the tree, where a later build may write over it
        if not folder.exists():
            environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
            done = subprocess.run(
                ["make", "--no-print-directory", target],
                cwd=tree, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
            shutil.copytree(tree / "dist", folder)
    (file,) = folder.glob(pattern)
    return file


def _copy(tree: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("tests/"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
