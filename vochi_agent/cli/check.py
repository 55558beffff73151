"""`vochi-agent check`: is the configuration sound, as far as that can be known without connecting anywhere?"""

import argparse
from collections.abc import Callable

from vochi_agent.config import Config


def arguments(_parser: argparse.ArgumentParser) -> None:
    """None."""


def run(_args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when it is; `main` prints the mistakes and exits 2 when it is not."""
    loaded = config()
    for enterprise in loaded.enterprises:
        print(
            f"{enterprise.number} {enterprise.name}: {len(enterprise.lines)} lines, {len(enterprise.agents)} agents, "
            f"{len(enterprise.crm)} CRMs, {len(enterprise.chats)} chats"
        )
    print("The configuration is sound.")
    return 0
