"""The only reader of the environment: the configuration's place, systemd's credentials, its socket, its watchdog."""

import os
from pathlib import Path

__all__ = ["ami_secret", "credentials_directories", "default_path", "notify_socket", "watchdog_interval_s"]

SYSTEM_PATH = Path("/etc/vochi-agent/config.toml")


def default_path() -> Path:
    """`$VOCHI_CONFIG`, else `/etc/vochi-agent/config.toml`."""
    return Path(_variable("VOCHI_CONFIG") or SYSTEM_PATH)


def ami_secret() -> str:
    """`$VOCHI_AMI_SECRET`, for the command that needs no configuration; "" when it is not set."""
    return _variable("VOCHI_AMI_SECRET")


def credentials_directories() -> list[Path]:
    """Where systemd put the files of `LoadCredential=`; nowhere outside a unit that has any."""
    directory = _variable("CREDENTIALS_DIRECTORY")
    return [Path(directory)] if directory else []


def notify_socket() -> str | None:
    """The address that `sd_notify` messages go to; None when nobody listens."""
    return _variable("NOTIFY_SOCKET") or None


def watchdog_interval_s() -> float | None:
    """How often systemd must hear from this process, in seconds; None without a watchdog.

    sd_watchdog_enabled(3): `WATCHDOG_PID`, when set, names the process that is meant.
    """
    microseconds, process = _variable("WATCHDOG_USEC"), _variable("WATCHDOG_PID")
    if not microseconds.isdecimal() or int(microseconds) == 0 or process not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 1_000_000


def _variable(name: str) -> str:
    return os.environ.get(name, "")  # noqa: TID251 - this module is the door the rule points to
