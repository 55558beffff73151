"""An apt of our own beside the machine's: the same mirror, keys and proxies, but own lists, cache and package status.

Invariant: nothing outside the given folder is written, no hook of the machine's apt runs, no package is installed.
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Apt", "ToolMissing", "machine_mirror"]

APT_TIMEOUT_S = 300.0
COMMAND_NOT_FOUND = 127
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# `-c` is read after the machine's own configuration: its proxies stay, its hooks go.
CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}/state";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Log "{folder}";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::Retries "3";
"""


class ToolMissing(Exception):
    """A program for the tests cannot be had on this machine; the message says why."""


class Apt:
    """One suite of one mirror, resolved as if nothing were installed."""

    def __init__(self, folder: Path, mirror: str, suite: str) -> None:
        self.suite = suite
        self._folder = folder
        for name in ("state", "lists/partial", "cache/archives/partial", "packages"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (folder / "sources.list").write_text(f"deb {signed}{mirror} {suite} main\n")
        (folder / "apt.conf").write_text(CONFIGURATION.format(folder=folder))

    def update(self) -> None:
        """Fetch the suite's index.

        Raises:
            ToolMissing: The mirror cannot be reached or does not hold the suite.
        """
        said = self._run("apt-get", "-q", "update", "--error-on=any")
        if not any((self._folder / "lists").glob("*_Packages*")):
            raise ToolMissing(f"the mirror of this machine's apt has no {self.suite}: {said[-300:]}")

    def depends(self, package: str) -> list[str]:
        """What a package depends on directly; of alternatives each."""
        said = self._run("apt-cache", "depends", package)
        return re.findall(r"^[ |]*(?:Pre)?Depends: ([a-z0-9][a-z0-9+.-]*)", said, re.MULTILINE)

    def closure(self, packages: Sequence[str]) -> list[str]:
        """The packages and all that they need, as apt would install them on an empty system."""
        if not packages:
            return []
        return re.findall(r"^Inst (\S+)", self._run("apt-get", "-q", "-s", "install", *packages), re.MULTILINE)

    def download(self, packages: Sequence[str]) -> list[Path]:
        """The archives of exactly these packages."""
        self._run("apt-get", "-q", "download", *packages, folder=self._folder / "packages")
        return sorted((self._folder / "packages").glob("*.deb"))

    def _run(self, program: str, *arguments: str, folder: Path | None = None) -> str:
        return _run([program, "-c", str(self._folder / "apt.conf"), *arguments], folder=folder)


def machine_mirror() -> str:
    """The Debian mirror that the machine's own apt uses.

    Raises:
        ToolMissing: There is no apt, or none of its sources is Debian.
    """
    known = _mirrors()
    if not known:
        # A fresh container has sources but no lists yet, and only lists tell which source is Debian.
        with tempfile.TemporaryDirectory(prefix="lists-") as lists:
            own = (f"-oDir::State::lists={lists}", "-oAPT::Sandbox::User=root", "-oAcquire::Languages=none")
            _run(["apt-get", "-q", "update", *own])
            known = _mirrors(*own)
    if not known:
        raise ToolMissing("no source of this machine's apt is Debian's main archive")
    return known[0]


def _mirrors(*options: str) -> list[str]:
    form = "$(ORIGIN)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)"
    said = _run(["apt-get", *options, "indextargets", "--format", form, "Created-By: Packages"])
    # Suites with a hyphen (updates, security, backports) may live on a mirror that holds nothing else.
    return re.findall(r"^Debian\|main\|[^|-]+\|(\S+)$", said, re.MULTILINE)


def _run(command: list[str], folder: Path | None = None) -> str:
    try:
        # What apt prints is read here, so it must not be translated.
        plain = ["/usr/bin/env", "LC_ALL=C.UTF-8", *command]
        done = subprocess.run(plain, cwd=folder, capture_output=True, text=True, timeout=APT_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as exc:
        raise ToolMissing(f"{command[0]} did not finish in {APT_TIMEOUT_S:.0f} s") from exc
    if done.returncode == COMMAND_NOT_FOUND:
        raise ToolMissing(f"{command[0]} is not on this machine")
    if done.returncode:
        raise ToolMissing(f"{' '.join(command[:1] + command[3:6])} failed: {done.stderr.strip()[-400:]}")
    return done.stdout
