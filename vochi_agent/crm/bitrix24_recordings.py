"""Recordings of finished calls in a Bitrix24 portal, which fetches each from the address it is given and then answers.

So the answer takes as long as the file, and comes last: what becomes of a recording never undoes its call. Whether a
file is added each time it is asked for is not documented, so it is asked for twice at most.
Source: the vendor's documentation of its REST API.
"""

import logging
from pathlib import PurePosixPath
from typing import Final

from vochi_agent.crm.bitrix24_portal import Portal
from vochi_agent.errors import CrmRejected, CrmUncertain
from vochi_agent.ports import Post

__all__ = ["Recordings"]

log = logging.getLogger(__name__)

FETCHED_S: Final = 30.0  # a long conversation on its way from the PBX to the portal


class Recordings:
    """The recordings of one portal.

    Args:
        portal: Its breaker stays out of this: an address that the portal does not reach costs no call.
    """

    def __init__(self, portal: Portal) -> None:
        self._portal = portal.apart("recordings", attempt_s=FETCHED_S)
        self._said = ""

    async def attach(self, post: Post, call_id: str, recording_url: str) -> None:
        """Let the portal fetch the recording of a call that is finished; what it refuses is said in the log.

        Args:
            call_id: The portal's own id of the call.

        Raises:
            CrmUncertain: once, when the answer is lost.
            CrmUnavailable, CrmAuthFailed: the portal was not asked.
        """
        # The portal takes .mp3 and .wav, and looks at the name alone.
        suffix = PurePosixPath(post.call.recording or "").suffix.lower() or ".mp3"
        facts = {"CALL_ID": call_id, "FILENAME": f"{post.call.linkedid}{suffix}", "RECORD_URL": recording_url}
        method, deadline = "telephony.externalCall.attachRecord", self._portal.http.deadline()
        try:
            await self._portal.call(method, facts, deadline=deadline, repeatable=False)
        except CrmRejected as refusal:
            self._say_once(str(refusal))
        except CrmUncertain as doubt:
            if not post.uncertain:
                raise
            self._say_once(str(doubt))
        else:
            self._said = ""

    def _say_once(self, why: str) -> None:
        """What is wrong with one recording is mostly wrong with all."""
        if why != self._said:
            log.warning("Bitrix24 lists calls without their recordings: %s", why, extra={"action": "crm_recording"})
        self._said = why
