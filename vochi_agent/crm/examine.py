"""Whether a CRM answers us and accepts our key: one search for a number that nobody can have; how changes come."""

from typing import Final

from vochi_agent.config.tables import CrmConfig, RetailCrmConfig, UonConfig
from vochi_agent.diagnosis import Finding, closed, fine, problem, unknown, warning
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable
from vochi_agent.ports import ProfileSource

__all__ = ["examine_crm", "examine_webhook"]

# The country code 999 is assigned to nobody (ITU-T E.164).
NOBODY: Final = "+999000000000"


async def examine_crm(enterprise_number: str, source: ProfileSource) -> list[Finding]:
    """Ask the adapter itself, so that what is tried is what a call will need."""
    part, keys = f"{source.name} {enterprise_number}", f"enterprises.crm.{source.name}"
    try:
        await source.profile(NOBODY)
    except CrmAuthFailed as exc:
        return [closed(part, f"it refuses our key: {exc}", f"{keys}.api_key_file: a key of this account, not blocked")]
    except CrmUnavailable as exc:
        cost = "names come from our own table"
        return [closed(part, f"it gives no usable answer ({exc}); {cost}", f"{keys}.url: is the address right?")]
    except CrmRejected as exc:
        return [problem(part, f"it refuses a search: {exc}", f"{keys}.api_key_file: let this key read customers")]
    return [fine(part, "it accepts our key and searches customers")]


def examine_webhook(enterprise_number: str, name: str, config: CrmConfig, public_url: str) -> list[Finding]:
    """How changes of this CRM reach us; connects nowhere.

    Args:
        public_url: `http.public_url`, "" when it is not configured.
    """
    part, keys = f"{name} {enterprise_number}", f"enterprises.crm.{name}"
    if not config.webhook_secret.get_secret_value():
        looked_at = isinstance(config, RetailCrmConfig) and config.history_s > 0
        if looked_at or not isinstance(config, RetailCrmConfig | UonConfig):
            return []
        sentence = "a change in the CRM reaches customers with the next call only"
        return [warning(part, sentence, f"{keys}.webhook_secret_file, and webhooks in the CRM: docs/{name}.md")]
    address = f"{public_url.rstrip('/') or 'http.public_url'}/webhooks/{enterprise_number}/{name}/<webhook_secret>"
    found = [unknown(part, "whether its webhooks reach us cannot be seen from here", f"they go to {address}")]
    if isinstance(config, UonConfig) and not (config.account_id or config.subdomain):
        sentence = "webhooks of another account that knows the address would be taken for its own"
        found.append(warning(part, sentence, f"{keys}.account_id or {keys}.subdomain"))
    return found
