"""Whether a CRM answers us and accepts our key: one search for a number that nobody can have; how changes come."""

from typing import Final

from vochi_agent.config.tables import (
    AmoCrmConfig,
    Bitrix24Config,
    CrmConfig,
    MoySkladConfig,
    RetailCrmConfig,
    UonConfig,
)
from vochi_agent.crm.amocrm import AmoCrm
from vochi_agent.crm.bitrix24 import Bitrix24
from vochi_agent.crm.bitrix24_handlers import clicks_come
from vochi_agent.crm.clocks import TOLERANCE_S, Clocks
from vochi_agent.crm.moysklad import MoySklad
from vochi_agent.diagnosis import Finding, closed, fine, problem, unknown, warning
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable
from vochi_agent.ports import ProfileSource

__all__ = ["credential_of", "examine_clock", "examine_crm", "examine_webhook"]

# The country code 999 is assigned to nobody (ITU-T E.164).
NOBODY: Final = "+999000000000"
TELLING: Final = (RetailCrmConfig, UonConfig, MoySkladConfig, Bitrix24Config, AmoCrmConfig)
SCOPES: Final = ("crm", "telephony", "user")
TASK_SCOPE: Final = "task"


def credential_of(config: CrmConfig) -> str:
    """The key of the table that lets us in: an application must not be given an `api_key`."""
    is_application = isinstance(config, (Bitrix24Config, AmoCrmConfig)) and config.client_id
    return "refresh_token_file" if is_application else "api_key_file"


async def examine_crm(
    enterprise_number: str, source: ProfileSource, *, makes_tasks: bool = False, credential: str = "api_key_file"
) -> list[Finding]:
    """Ask the adapter itself, so that what is tried is what a call will need.

    Args:
        makes_tasks: Missed calls become tasks there (`missed_task`).
        credential: See `credential_of`.
    """
    part, keys = f"{source.name} {enterprise_number}", f"enterprises.crm.{source.name}"
    try:
        await source.profile(NOBODY)
    except CrmAuthFailed as exc:
        return [closed(part, f"it refuses our key: {exc}", f"{keys}.{credential}: one of this account, not blocked")]
    except CrmUnavailable as exc:
        cost = "names come from our own table"
        return [closed(part, f"it gives no usable answer ({exc}); {cost}", f"{keys}.url: is the address right?")]
    except CrmRejected as exc:
        return [problem(part, f"it refuses a search: {exc}", f"{keys}.{credential}: let it read customers")]
    return [
        fine(part, "it accepts our key and searches customers"),
        *await _examine_telephony(part, keys, source, makes_tasks),
    ]


async def _examine_telephony(part: str, keys: str, source: ProfileSource, makes_tasks: bool) -> list[Finding]:
    """What lists and cards of calls need besides; nothing is written, so what writing meets is not seen."""
    try:
        if isinstance(source, MoySklad):
            return await _moysklad(part, keys, source)
        if isinstance(source, Bitrix24):
            return await _bitrix24(part, keys, source, makes_tasks)
    except CrmAuthFailed as exc:
        return [closed(part, f"its telephony refuses our key: {exc}", f"{keys}: see docs/{source.name}.md")]
    except (CrmUnavailable, CrmRejected) as exc:
        return [problem(part, f"its telephony does not answer: {exc}", f"see docs/{source.name}.md")]
    if isinstance(source, AmoCrm) and not source.knows_users:
        return [
            warning(
                part, "no popup is shown and no call has a responsible user", f"{keys}.agents: user id -> extension"
            )
        ]
    return []


async def _moysklad(part: str, keys: str, source: MoySklad) -> list[Finding]:
    if not source.telephony:
        sentence = "calls are not listed and cards are not shown: there is no key of the telephony solution"
        return [warning(part, sentence, f"{keys}.phone_key_file, or log_calls = false: docs/moysklad.md")]
    extensions = [each for each in (await source.extensions()).values() if each]
    if not extensions:
        return [warning(part, "no employee has an extension there", "MoySklad, employees: fill in the inner number")]
    return [fine(part, f"its telephony knows {len(extensions)} extensions")]


async def _bitrix24(part: str, keys: str, source: Bitrix24, makes_tasks: bool) -> list[Finding]:
    scopes = await source.scopes()
    found = []
    if makes_tasks and TASK_SCOPE not in scopes:
        sentence = f"missed calls become no tasks: we lack its right {TASK_SCOPE}"
        found.append(problem(part, sentence, f"give it in Bitrix24, or {keys}.missed_task = 0: docs/bitrix24.md"))
    if missing := [scope for scope in SCOPES if scope not in scopes]:
        cure = "Bitrix24, the webhook's or application's rights: docs/bitrix24.md"
        found.append(problem(part, f"we lack its rights {', '.join(missing)}", cure))
    if not source.portal.telephony:
        sentence = "calls are not listed and cards are not shown: a webhook may not touch telephony"
        found.append(warning(part, sentence, f"{keys}.client_id, an application: docs/bitrix24.md"))
    elif not await clicks_come(source.portal):
        sentence = "a click on a phone rings nobody: the portal tells us of none"
        found.append(warning(part, sentence, "vochi-agent crm register bitrix24, or events_s: docs/bitrix24.md"))
    if source.portal.moved_to:
        found.append(warning(part, f"the portal has moved to {source.portal.moved_to}", f"{keys}.url: its new address"))
    return found or [fine(part, "an application with the rights for telephony")]


def examine_clock(enterprise_number: str, name: str, clocks: Clocks) -> list[Finding]:
    """Whether this CRM's clock agrees with ours, after it was asked something; nothing when it does."""
    offset = max(clocks.offsets.values(), key=abs, default=0.0)
    if abs(offset) <= TOLERANCE_S:
        return []
    sentence = f"its clock is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} ours: calls are listed there"
    return [warning(f"{name} {enterprise_number}", f"{sentence} at our times", "let this machine keep time by NTP")]


def examine_webhook(enterprise_number: str, name: str, config: CrmConfig, public_url: str) -> list[Finding]:
    """How changes of this CRM reach us; connects nowhere.

    Args:
        public_url: `http.public_url`, "" when it is not configured.
    """
    part, keys = f"{name} {enterprise_number}", f"enterprises.crm.{name}"
    if not config.webhook_secret.get_secret_value():
        if _looked_at(config) or not isinstance(config, TELLING):
            return []
        sentence = "a change in the CRM reaches customers with the next call only"
        return [warning(part, sentence, f"{keys}.webhook_secret_file, and webhooks in the CRM: docs/{name}.md")]
    address = f"{public_url.rstrip('/') or 'http.public_url'}/webhooks/{enterprise_number}/{name}/<webhook_secret>"
    found = [unknown(part, "whether its webhooks reach us cannot be seen from here", f"they go to {address}")]
    if isinstance(config, UonConfig) and not (config.account_id or config.subdomain):
        sentence = "webhooks of another account that knows the address would be taken for its own"
        found.append(warning(part, sentence, f"{keys}.account_id or {keys}.subdomain"))
    if isinstance(config, MoySkladConfig) and not config.account_id:
        sentence = "webhooks of another account that knows the address would be taken for its own"
        found.append(warning(part, sentence, f"{keys}.account_id"))
    if isinstance(config, Bitrix24Config) and not config.application_token.get_secret_value():
        sentence = "every webhook is refused: nothing proves that it is the portal's"
        found.append(problem(part, sentence, f"{keys}.application_token_file, as the portal shows it"))
    return found


def _looked_at(config: CrmConfig) -> bool:
    """Whether changes are fetched by ourselves."""
    if isinstance(config, Bitrix24Config):
        return config.events_s > 0
    return isinstance(config, RetailCrmConfig) and config.history_s > 0
