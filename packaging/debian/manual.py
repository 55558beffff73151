"""The manual page vochi-agent(1) on stdout: every command as argparse knows it, and what no parser says.

python packaging/debian/manual.py    (needs the library argparse-manpage)
"""

import argparse

from argparse_manpage.manpage import Manpage

from vochi_agent import __version__
from vochi_agent.cli import whole_parser

SECTIONS = {
    "EXIT STATUS": (
        "0 done; 1 the answer is no, or a check found something; 2 bad usage or bad configuration, nothing was "
        "changed; 3 something outside is not reachable."
    ),
    "SIGNALS": (
        "SIGTERM and SIGINT end run: what has ended is stored first, 10 seconds at most. SIGHUP lets it read lines, "
        "agents and chats again; a broken configuration is refused and the old one stays."
    ),
    "ENVIRONMENT": (
        "VOCHI_CONFIG names the configuration; CREDENTIALS_DIRECTORY, set by systemd, the folder where secrets are "
        "looked for first; NOTIFY_SOCKET and WATCHDOG_USEC are systemd's."
    ),
    "FILES": (
        "/etc/vochi-agent/config.toml and conf.d/*.toml beside it: the configuration. /etc/vochi-agent/secrets: one "
        "file a secret, root's alone. /var/lib/vochi-agent: the embedded database, and calls that are not stored yet. "
        "/usr/share/doc/vochi-agent/examples: every key with its default, and what Asterisk is given."
    ),
    "SEE ALSO": "systemctl(1), journalctl(1), asterisk(8)",
}


def main() -> None:
    """Print it."""
    parser = whole_parser()
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to its commands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                command.description = None  # what `--help` says of a command stands in its heading already
    page = Manpage(
        parser,
        {
            "description": "names on handsets, one true record a call, customers and cards for Asterisk",
            "project_name": "vochi-agent",
            "version": __version__,
            "manual_title": "System administration",
        },
        format="single-commands-section",
    )
    for title, text in SECTIONS.items():
        page.add_section(title, ">", text)
    print(page)


if __name__ == "__main__":
    main()
