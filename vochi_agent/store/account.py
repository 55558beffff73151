"""The system account the embedded PostgreSQL runs as, and the command line that becomes it.

PostgreSQL refuses to run as root. Started by root the server drops to an unprivileged account that exists already;
started by anybody else it runs as that user. The folder of the server belongs to its account, so that root and that
user may take turns. No permission outside that folder is ever changed.
"""

import errno
import os
import pwd
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vochi_agent.errors import ConfigError

__all__ = ["PASSWORD", "ServerAccount", "choose_account", "open_own", "password_in"]

# In this order; Debian has `nobody` always and `postgres` where its own packages are installed.
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")
# Bits of CapEff in /proc/self/status (capabilities(7)). A container's root often holds only the second one.
BORROWED_CAPABILITIES = {"dac_read_search": 2, "dac_override": 1}

# The file, in the folder of the server, that holds the password of its only user.
PASSWORD = "password"  # noqa: S105 - its name


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAccount:
    """Who the server runs as.

    Attributes:
        drops: We are root and become this account; False when we are it.
    """

    uid: int
    gid: int
    name: str
    drops: bool

    def own(self, what: Path | int) -> None:
        """Give a file or folder of the server, or one that is open, to its account; a link is not followed."""
        if self.drops and isinstance(what, int):
            os.fchown(what, self.uid, self.gid)
        elif self.drops:
            os.chown(what, self.uid, self.gid, follow_symlinks=False)

    def command(self, arguments: Sequence[str], *, capability: str = "") -> list[str]:
        """The command line that runs `arguments` as this account and ends it together with us.

        SIGINT at our death is PostgreSQL's fast shutdown: connections are cut, nothing committed is lost.

        Args:
            arguments: The program, by absolute path, and its arguments.
            capability: What root lends so that the account may pass folders closed to it; "" for nothing.
        """
        command = [_setpriv(), "--no-new-privs", "--pdeathsig=INT"]
        if self.drops:
            command += [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        if capability:
            # access(2), by which PostgreSQL checks its own binaries, ignores the capabilities of an ordinary user
            # unless no_setuid_fixup is set.
            command += [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}", "--securebits=+no_setuid_fixup"]
        return [*command, "--", *arguments]


def choose_account(folder: Path) -> ServerAccount:
    """The account for the server whose files lie, or will lie, in `folder`.

    Root follows the owner of the nearest existing folder unless that is root itself; so a state_dir that an ordinary
    user began stays his.

    Raises:
        ConfigError: the folder belongs to somebody else, or root finds no account to drop to.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    owner = existing.stat().st_uid
    if os.geteuid() != 0:
        if existing == folder and owner != os.geteuid():
            raise ConfigError(
                [
                    (
                        f'database.url = "embedded": {folder} belongs to {_name(owner)}; '
                        f"start as {_name(owner)} or as root, or give another daemon.state_dir"
                    )
                ]
            )
        return ServerAccount(uid=os.geteuid(), gid=os.getegid(), name=_name(os.geteuid()), drops=False)
    if owner != 0 and existing in (folder, folder.parent):
        return ServerAccount(uid=owner, gid=existing.stat().st_gid, name=_name(owner), drops=True)
    return _unprivileged_account()


def open_own(path: Path, flags: int) -> int:
    """Open a file of the server's folder, for its owner alone when it is made.

    The folder is the account's. A link that it left there must not make root read, write or give away what is not ours.

    Raises:
        ConfigError: it is a link.
        OSError: it cannot be opened.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        if exc.errno != errno.ELOOP:
            raise
        raise ConfigError([f"daemon.state_dir: {path} is a link and has to be a file of its own"]) from exc


def password_in(folder: Path) -> str:
    """The password of the server whose folder it is. Raises as `open_own`."""
    with os.fdopen(open_own(folder / PASSWORD, os.O_RDONLY), encoding="ascii") as file:
        return file.read().strip()


def borrowed_capability() -> str:
    """The capability that root can lend to pass closed folders; "" when it has none itself."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    return next((name for name, bit in BORROWED_CAPABILITIES.items() if effective >> bit & 1), "")


def _unprivileged_account() -> ServerAccount:
    for name in UNPRIVILEGED_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerAccount(uid=entry.pw_uid, gid=entry.pw_gid, name=name, drops=True)
    raise ConfigError(
        [
            (
                'database.url = "embedded": PostgreSQL does not run as root and none of the accounts '
                f"{', '.join(UNPRIVILEGED_ACCOUNTS)} exists; start as an ordinary user or give database.url"
            )
        ]
    )


def _setpriv() -> str:
    path = shutil.which("setpriv", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise ConfigError(['database.url = "embedded" needs the program setpriv (package util-linux)'])
    return path


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
