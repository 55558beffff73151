"""`vochi-agent check`: is the configuration sound, as far as that can be known without connecting anywhere?

With `--explain KEY` it says what a key means instead, and reads no configuration.
"""

import argparse
from collections.abc import Callable

from vochi_agent.config import Config
from vochi_agent.config.explain import Explanation, explain

from .presentation import add_json, print_facts, print_json


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which key to explain."""
    help_text = "what a key means, which values it takes, its default; as a mistake names it, or only its last word"
    parser.add_argument("--explain", metavar="KEY", help=help_text)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """0 when it is; `main` prints the mistakes and exits 2 when it is not, or when there is no such key."""
    if args.explain is not None:
        _explain(explain(args.explain), as_json=args.json)
        return 0
    loaded = config()
    counted = [
        {
            "number": enterprise.number,
            "name": enterprise.name,
            "lines": len(enterprise.lines),
            "agents": len(enterprise.agents),
            "crms": list(enterprise.crm),
            "chats": len(enterprise.chats),
        }
        for enterprise in loaded.enterprises
    ]
    if args.json:
        print_json({"enterprises": counted})
        return 0
    for enterprise in loaded.enterprises:
        print(
            f"{enterprise.number} {enterprise.name}: {len(enterprise.lines)} lines, {len(enterprise.agents)} agents, "
            f"{len(enterprise.crm)} CRMs, {len(enterprise.chats)} chats"
        )
    print("The configuration is sound.")
    return 0


def _explain(found: list[Explanation], *, as_json: bool) -> None:
    if as_json:
        print_json([each.as_json() for each in found])
        return
    for position, each in enumerate(found):
        if position:
            print()
        default = "none: it has to be given" if each.default is None else each.default
        print(each.key)
        print_facts(
            [
                ("  means", each.meaning),
                ("  allowed", each.allowed),
                ("  default", default),
                ("  secret", "better in a file: the same key with _file" if each.secret else ""),
            ]
        )
