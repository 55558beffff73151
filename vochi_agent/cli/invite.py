"""`vochi-agent invite EXTENSION`: a link by which one person becomes that extension for the Telegram bot."""

import argparse
import asyncio
import re
import sys
from collections.abc import Callable

from vochi_agent.config import Config, Enterprise
from vochi_agent.errors import ConfigError
from vochi_agent.telegram.examine import bot_username

from .presentation import add_json, print_json
from .selection import add_enterprise, enterprise_of
from .stored import prepared_store

NO = 1
# As `[[enterprises.agents]] extension` has it.
EXTENSION = re.compile(r"[0-9]{2,5}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whom."""
    parser.add_argument("extension", metavar="EXTENSION", help="whose telephone the person has")
    parser.add_argument("--dismiss", action="store_true", help="sign the person of this extension out instead")
    add_enterprise(parser)
    add_json(parser)


def run(args: argparse.Namespace, config: Callable[[], Config]) -> int:
    """Prints the link; it is good once, for 24 hours. With --dismiss: 1 when there was nobody to sign out."""
    loaded = config()
    enterprise = enterprise_of(loaded, args.enterprise)
    if not EXTENSION.fullmatch(args.extension):
        raise ConfigError([f"{args.extension!r} is no extension: 2 to 5 digits"])
    if args.dismiss:
        return _dismiss(loaded, enterprise, args.extension)
    token = enterprise.telegram_token.get_secret_value()
    if not token:
        raise ConfigError([f"{enterprise.number} has no Telegram bot; needed: telegram.token_file"])
    if loaded.telegram.updates == "off":
        raise ConfigError(['telegram.updates is "off": the bot reads nothing, nobody can sign up'])
    code, bot = asyncio.run(_invite(loaded, enterprise, args.extension, token))
    link = f"https://t.me/{bot}?start={code}" if bot else ""
    if args.json:
        print_json({"extension": args.extension, "code": code, "link": link})
    elif link:
        print(link)
    else:
        print(f"/start {code}")
        print("Telegram does not say what the bot is called: the person writes this line to it.", file=sys.stderr)
    return 0


async def _invite(config: Config, enterprise: Enterprise, extension: str, token: str) -> tuple[str, str]:
    async with prepared_store(config) as store:
        code = await store.operators.invite(enterprise.number, extension)
    return code, await bot_username(config.telegram, token)


def _dismiss(config: Config, enterprise: Enterprise, extension: str) -> int:
    async def dismiss() -> bool:
        async with prepared_store(config) as store:
            return await store.operators.dismiss(enterprise.number, extension)

    if asyncio.run(dismiss()):
        return 0
    print(f"Nobody is signed up as {extension} of {enterprise.number}.", file=sys.stderr)
    return NO
