"""A Debian 12 with a systemd of its own, booted in a folder: for what only an installed service can show.

`mmdebstrap` makes the image once, from the mirror of the machine's own apt; `systemd-nspawn` boots it. What a test does
to it lives in memory and is gone with it. The network is ours, so a test's servers on loopback are those of the PBX;
everything else (processes, mounts, users, cgroups) is the machine's own. Needs root.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from tests.support.fetch import COMPLETE, TOOLS, ToolMissing, fetch, locked
from tests.support.private_apt import KEYRING, machine_mirror

__all__ = ["Machine", "image"]

SUITE = "bookworm"
# What every Debian has, systemd, and what the package of ours depends on: so that dpkg alone can install it.
PACKAGES = ("adduser", "ca-certificates", "init-system-helpers", "python3", "systemd", "systemd-sysv", "tzdata")
IMAGE_TIMEOUT_S = 600.0
BOOT_S = 60.0
CGROUPS = Path("/sys/fs/cgroup")
COMMAND_TIMEOUT_S = 120.0


def image() -> Path:
    """The folder of the image, made now if it is not there (about a minute).

    Raises:
        ToolMissing: It cannot be had here; the message says why.
    """
    folder = TOOLS / "debian12"
    if os.geteuid() != 0:
        raise ToolMissing("a Debian of our own can only be made and booted by root")
    if not (folder / COMPLETE).exists():
        mmdebstrap = fetch("mmdebstrap").program("mmdebstrap")
        with locked("debian12"):
            if not (folder / COMPLETE).exists():
                _make(mmdebstrap, folder)
    return folder / "root"


def _make(mmdebstrap: Path, folder: Path) -> None:
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    with tempfile.TemporaryDirectory(prefix=".debian12-", dir=TOOLS) as scratch:
        root = Path(scratch) / "made" / "root"
        root.parent.mkdir()
        command = [mmdebstrap, "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        command += ['--aptopt=APT::Sandbox::User "root"', SUITE, root, f"deb {signed}{machine_mirror()} {SUITE} main"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMAGE_TIMEOUT_S, check=False)
        if done.returncode:
            raise ToolMissing(f"no Debian could be made: {done.stderr.strip()[-400:]}")
        (root.parent / COMPLETE).touch()
        if folder.exists():
            shutil.rmtree(folder)
        root.parent.rename(folder)


class Machine:
    """A booted machine.

    Args:
        folders: Folders of ours and where the machine sees them, read-only.
        shared: The same, to be written by both.
    """

    def __init__(self, folders: Mapping[Path, str], shared: Mapping[Path, str] = MappingProxyType({})) -> None:
        self._folders = dict(folders)
        self._shared = dict(shared)
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._name = f"vochi-{os.getpid()}"
        # Two machines at once must not share one; of old and new hierarchies each that is there.
        roots = (CGROUPS / "unified", CGROUPS / "systemd", CGROUPS)
        self._cgroups = [root / self._name for root in roots if (root / "cgroup.procs").exists()]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - nobody reads a pipe while the machine runs

    def boot(self) -> Self:
        """Return when systemd says that it is up.

        Raises:
            ToolMissing: No such machine can be had here.
        """
        root, nspawn = image(), fetch("nspawn").program("systemd-nspawn")
        command = [
            nspawn, "--quiet", "--boot", f"--directory={root}", "--volatile=overlay",
            "--register=no", "--keep-unit", "--console=pipe", "--link-journal=no", "--resolv-conf=off",
            "--timezone=off", f"--machine={self._name}",
            *(f"--bind-ro={ours}:{theirs}" for ours, theirs in self._folders.items()),
            *(f"--bind={ours}:{theirs}" for ours, theirs in self._shared.items()),
            "systemd.mask=console-getty.service", "systemd.show_status=no",
        ]  # fmt: skip
        try:
            for folder in self._cgroups:
                folder.mkdir()
        except OSError as exc:
            raise ToolMissing(f"no control group can be made here: {exc}") from exc
        enter = 'for folder in $CGROUPS; do echo $$ >"$folder/cgroup.procs"; done; exec "$@"'
        self._process = subprocess.Popen(
            ["sh", "-ec", enter, "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={
                "PATH": os.environ["PATH"],
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                "CGROUPS": " ".join(map(str, self._cgroups)),
            },
        )
        try:
            self._await_boot()
        except BaseException:
            self.end()
            raise
        return self

    def end(self) -> None:
        """Switch it off, as by its plug."""
        if self._process is not None and self._process.poll() is None:
            # Its first process takes all others with it: nothing in the machine has to be kept.
            os.kill(self._first_process() or self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=COMMAND_TIMEOUT_S)
        self._log.close()
        for folder in self._cgroups:
            _remove_cgroup(folder)

    def run(self, *command: str | Path, check: bool = True, text: str = "") -> subprocess.CompletedProcess[str]:
        """A command as root of the machine, `text` on its stdin; what it said is in the error when it fails."""
        enter = [
            "nsenter",
            f"--target={self._leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--cgroup",
            "--root",
            "--wd",
        ]
        done = subprocess.run(
            [*enter, "--", *command],
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """A file of the machine, as root writes it with an editor."""
        self.run("sh", "-c", f'umask 022 && cat >"$0" && chmod {mode:o} "$0"', path, text=content)

    def property(self, unit: str, name: str) -> str:
        """What systemd knows of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def _await_boot(self) -> None:
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            self._leader = self._first_process()
            if self._leader and self.run("systemctl", "is-system-running", check=False).stdout.strip() in (
                "running",
                "degraded",
            ):
                return
            time.sleep(0.1)
        self._log.seek(0)
        raise ToolMissing(f"no Debian of our own boots here: {self._log.read().decode(errors='replace')[-600:]}")

    def _first_process(self) -> int:
        """The child of nspawn that is process 1 of namespaces of its own; 0 while there is none."""
        assert self._process is not None
        pid = self._process.pid
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                # Until it is, it stands on our own root, where no command of a test belongs.
                if re.search(r"^NSpid:.*\t1$", Path(f"/proc/{child}/status").read_text(), re.MULTILINE):
                    return int(child)
        return 0


def _remove_cgroup(folder: Path) -> None:
    """Its processes are dying; the kernel refuses until the last one is gone."""
    deadline = time.monotonic() + COMMAND_TIMEOUT_S
    while folder.exists() and time.monotonic() < deadline:
        for path, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):
                Path(path).rmdir()
        time.sleep(0.02)
