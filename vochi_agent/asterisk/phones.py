"""Which telephone is there and free, asked of the PBX at the moment it matters.

The question is the dialplan's own, `DEVICE_STATE(TECH/endpoint)`, put over the AMI connection that is open anyway: any
write class our user has allows it, it takes 0.1 ms on loopback (16.28, 22.10), and nothing is remembered, so nothing
is stale. REST's `/endpoints` would say the same for the price of an HTTP request, and only to a user more.
"""

from typing import Final

from vochi_agent.errors import ActionFailed

from .watch import PbxWatch

__all__ = ["PbxPhones"]

# Of main/devicestate.c: registered and in no call. INVALID is no such endpoint, UNAVAILABLE one that is not registered,
# the others ring, talk or hold; UNKNOWN and an empty answer say nothing.
FREE: Final = "NOT_INUSE"


class PbxPhones:
    """Fulfils `ports.Phones` for one PBX."""

    def __init__(self, watch: PbxWatch) -> None:
        self._watch = watch

    async def is_free(self, extension: str) -> bool:
        """See `ports.Phones.is_free`; one who talks on his mobile is not free, though his desk phone is."""
        tracker = self._watch.tracker
        if tracker.is_engaged(extension):
            return False
        endpoint = tracker.layout.phone_of(extension)
        return bool(endpoint) and await self._state(endpoint) == FREE

    async def _state(self, endpoint: str) -> str:
        """What the PBX says of a device, "" when it refuses to say. Raises NotReachable."""
        try:
            answer = await self._watch.ami.action("Getvar", {"Variable": f"DEVICE_STATE({endpoint})"})
        except ActionFailed:
            return ""
        return answer.get("Value")
