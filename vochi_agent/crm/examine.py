"""Whether a CRM answers us and accepts our key: one search for a number that nobody can have."""

from typing import Final

from vochi_agent.diagnosis import Finding, closed, fine, problem
from vochi_agent.errors import CrmAuthFailed, CrmRejected, CrmUnavailable
from vochi_agent.ports import ProfileSource

__all__ = ["examine_crm"]

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
